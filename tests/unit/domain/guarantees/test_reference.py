"""What the reference says of engines and providers is what the code holds."""

import re
from pathlib import Path

from modelyard.adapters.engine.xllamacpp import XllamacppEngine
from modelyard.domain.documents import compiled, providers
from modelyard.domain.providers.kinds import KINDS
from modelyard.domain.services import ServiceSpec, parse
from modelyard.domain.snapshot import Revision
from modelyard.ports.engine import ModelFile, ResolvedModel
from modelyard.testing.echo import EchoEngine

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "reference" / "guarantees.md").read_text(encoding="utf-8")


def rows() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """What is kept and lacking, by name."""
    table = PAGE.split("| engine or provider |")[1].split("\n\n")[0]
    found = {}
    for line in table.split("\n")[2:]:
        names, keeps, lacks = (cell.strip() for cell in line.strip("|").split("|"))
        words = tuple(tuple(filter(None, cell.split(", "))) for cell in (keeps, lacks))
        found |= dict.fromkeys(re.findall(r"`([a-z]+)`", names), (words[0], words[1]))
    return found


def test_every_provider_is_in_the_table() -> None:
    said = rows()
    for name, kind in KINDS.items():
        assert said[name] == (kind.keeps, kind.lacks), name


def test_engines_are_in_the_table() -> None:
    said = rows()
    echo = EchoEngine().plan(None, {})
    assert said["echo"] == (echo.keeps, echo.lacks)
    file = ModelFile("a.gguf", "sha256:0", 1, Path("a.gguf"))
    model = ResolvedModel("a", 1, "sha256:0", "gguf", (file,), {})
    llama = XllamacppEngine().plan(model, {})
    assert said["xllamacpp"] == (llama.keeps, llama.lacks)


def test_fields_of_the_service_are_in_the_page() -> None:
    guarantees = ServiceSpec().guarantees
    for name, value in guarantees.model_dump().items():
        assert f"| `{name}` | {f'`{value}`' if isinstance(value, str) else 'true'} |" in PAGE


def test_a_document_says_otherwise() -> None:
    engine = {"name": "echo", "keeps": ["json_schema"], "lacks": [], "tokens": 3}
    document = {"apiVersion": "modelyard/v1", "kind": "Service", "name": "a",
                "spec": {"engine": engine, "guarantees": {"tool_choice": "off"}}}  # fmt: skip
    spec = parse(document).spec
    assert spec.engine.options == {"tokens": 3}
    assert (spec.engine.keeps, spec.engine.lacks) == (("json_schema",), ())
    service = compiled.service("default", "a", Revision(id="a-1"), spec)
    assert service.guarantees.tool_choice == "off"


def test_a_provider_says_otherwise() -> None:
    spec = {"kind": "groq", "keys": ["env:KEY"], "keeps": ["tool_choice"], "lacks": []}
    document = providers.parse(
        {"apiVersion": "modelyard/v1", "kind": "Provider", "name": "a", "spec": spec}
    )
    read = providers.provider("a", document.spec)
    assert (read.keeps, read.lacks) == (("tool_choice",), ())
    usual = document.spec.model_copy(update={"keeps": None, "lacks": None})
    assert providers.provider("a", usual).lacks == ("logprobs", "n")
