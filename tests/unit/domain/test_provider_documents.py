"""Provider documents: every mistake with its place, and what is filled in of a kind."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import services
from modelyard.domain.documents import kinds, providers, upstreams
from modelyard.domain.documents.providers import KindName, ProviderSpec
from modelyard.domain.providers.kinds import DIALECTS, KINDS, Dialect, Upstream
from modelyard.errors import Invalid

KEY = [{"secret": "env:SOME_KEY"}]


def document(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "modelyard/v1", "kind": "Provider", "name": "one", "spec": spec}


def parsed(**spec: Any) -> ProviderSpec:
    return providers.parse(document(**spec)).spec


def said(**spec: Any) -> str:
    with pytest.raises(Invalid) as raised:
        parsed(**spec)
    assert raised.value.hint == "see docs/reference/providers.md"
    return raised.value.message


def test_the_kinds_that_can_be_written_are_those_in_the_table() -> None:
    assert set(get_args(KindName)) == set(KINDS)
    assert set(get_args(Dialect)) == {*DIALECTS, "count_tokens"}
    assert all(set(kind.dialects) <= set(get_args(Dialect)) for kind in KINDS.values())


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({}, "spec.kind"),
        ({"kind": "opnai", "keys": KEY}, "spec.kind: 'opnai' is none of"),
        ({"kind": "opnai", "keys": KEY}, "did you mean 'openai'?"),
        ({"kind": "openai", "key": KEY}, "spec.key: unknown field; did you mean 'keys'?"),
        ({"kind": "openai"}, "keys is missing: kind openai needs one"),
        ({"kind": "openai", "keys": []}, "keys is missing"),
        ({"kind": "openai", "keys": "env:A"}, "spec.keys: must be a list"),
        ({"kind": "openai", "keys": [{"secert": "env:A"}]}, "did you mean 'secret'?"),
        ({"kind": "openai", "keys": ["env:A", "env:A"]}, "keys names env:A twice"),
        ({"kind": "openai", "keys": [{"secret": "env:A", "weight": 0}]}, "spec.keys.0.weight"),
        ({"kind": "openai", "keys": ["env:A B"]}, "spec.keys.0.secret: must be env:NAME"),
        ({"kind": "openai", "keys": ["store:No Name"]}, "spec.keys.0.secret"),
        ({"kind": "openai", "keys": ["file:"]}, "spec.keys.0.secret"),
        ({"kind": "azure", "keys": KEY}, "url is missing: kind azure has no address of its own"),
        ({"kind": "vllm"}, "url is missing: kind vllm"),
        ({"kind": "compatible"}, "url is missing: kind compatible"),
        ({"kind": "vllm", "url": "ftp://a"}, "spec.url: is no http or https URL"),
        ({"kind": "vllm", "url": "http://a b/v1"}, "spec.url: is no http or https URL"),
        ({"kind": "vllm", "url": "http://a:x/v1"}, "spec.url: is no http or https URL"),
        ({"kind": "vllm", "url": "http://u:p@a/v1"}, "spec.url: holds a name or password"),
        ({"kind": "vllm", "url": "http://a/v1?key=1"}, "spec.url: ends in a query"),
        (
            {"kind": "vllm", "url": "http://a", "headers": {"Api-Key": "x"}},
            "written by the gateway",
        ),
        ({"kind": "vllm", "url": "http://a", "headers": {"X-A": "b\r\nc"}}, "is no header"),
        ({"kind": "vllm", "url": "http://a", "headers": {"X A": "b"}}, "is no header"),
        ({"kind": "vllm", "url": "http://a", "dialects": ["chats"]}, "did you mean 'chat'?"),
        ({"kind": "vllm", "url": "http://a", "dialects": []}, "spec.dialects"),
        ({"kind": "vllm", "url": "http://a", "api_version": "2024-10-21"}, "is for kind azure"),
        ({"kind": "vllm", "url": "http://a", "project": "p"}, "are for kind openai"),
        ({"kind": "openai", "keys": KEY, "project": "a\nb"}, "one line of printable ASCII"),
        ({"kind": "azure", "url": "https://a", "keys": KEY, "api_version": "2"}, "must be a date"),
        ({"kind": "vllm", "url": "http://a", "models": [""]}, "what is no name of a model"),
    ],
)
def test_mistakes(spec: dict[str, Any], place: str) -> None:
    assert place in said(**spec)


def test_all_mistakes_are_said_at_once() -> None:
    text = said(kind="opnai", url="nowhere", keys=["sk"], colour=1)
    for place in ("spec.kind", "spec.url", "spec.keys.0.secret", "spec.colour"):
        assert place in text


@given(key=st.text(min_size=1, max_size=60).filter(lambda text: len(text.strip()) > 7))
def test_a_key_that_was_pasted_is_never_repeated(key: str) -> None:
    secret = f"sk-{key}"
    for keys in ([secret], [{"secret": secret}]):
        assert secret not in said(kind="openai", keys=keys)


@pytest.mark.parametrize(
    ("kind", "url", "base"),
    [
        ("openai", "", "https://api.openai.com/v1"),
        ("openai", "https://proxy.test", "https://proxy.test/v1"),
        ("openai", "https://PROXY.test:443/openai/v1/", "https://proxy.test/openai/v1"),
        ("anthropic", "", "https://api.anthropic.com/v1"),
        ("anthropic", "https://proxy.test/anthropic", "https://proxy.test/anthropic/v1"),
        ("anthropic", "https://proxy.test/v1", "https://proxy.test/v1"),
        ("azure", "https://me.test", "https://me.test/openai/v1"),
        ("azure", "https://me.test/openai", "https://me.test/openai/v1"),
        ("azure", "https://me.test/openai/v1/", "https://me.test/openai/v1"),
        ("azure", "https://me.test/apim", "https://me.test/apim/openai/v1"),
        ("gemini", "", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ("mistral", "", "https://api.mistral.ai/v1"),
        ("openrouter", "", "https://openrouter.ai/api/v1"),
        ("ollama", "", "http://127.0.0.1:11434/v1"),
        ("vllm", "http://[::1]:8000", "http://[::1]:8000/v1"),
        ("deepseek", "", "https://api.deepseek.com"),
        ("groq", "", "https://api.groq.com/openai/v1"),
        ("xai", "", "https://api.x.ai/v1"),
        ("compatible", "http://h:80/api/paas/v4", "http://h/api/paas/v4"),
    ],
)
def test_where_each_kind_is(kind: str, url: str, base: str) -> None:
    spec = parsed(kind=kind, url=url, keys=KEY)
    assert spec.base == base
    assert spec.base.startswith(spec.origin)


def test_a_document_survives_json_and_says_only_what_was_written() -> None:
    written = document(
        kind="azure", url="https://me.test", keys=["env:A", {"secret": "store:one-2", "weight": 3}],
        headers={"X-Team": "blue"}, dialects=["chat"], api_version="2024-10-21", models=["gpt"],
    )  # fmt: skip
    first = kinds.parse(written)
    stored = json.loads(
        json.dumps(first.model_dump(by_alias=True, mode="json", exclude_unset=True))
    )
    assert kinds.parse(stored) == first
    assert set(stored["spec"]) == set(written["spec"])
    assert isinstance(first, providers.ProviderDocument)
    assert first.spec.stored == ["one-2"]


def test_what_a_document_says_comes_before_what_its_kind_knows() -> None:
    plain = providers.provider("one", parsed(kind="anthropic", keys=KEY))
    assert plain.headers == (("anthropic-version", "2023-06-01"),)
    assert plain.dialects == ("messages", "count_tokens")
    own = parsed(
        kind="anthropic", keys=KEY, headers={"Anthropic-Version": "2099-01-01", "X-B": "c"},
        dialects=["messages", "chat"],
    )  # fmt: skip
    changed = providers.provider("one", own)
    assert changed.headers == (("Anthropic-Version", "2099-01-01"), ("X-B", "c"))
    assert changed.dialects == ("messages", "chat")
    openai = parsed(kind="openai", keys=KEY, organization="org-1", project="p-2")
    headers = providers.provider("one", openai).headers
    assert headers == (("OpenAI-Organization", "org-1"), ("OpenAI-Project", "p-2"))


# --- what services say of them -----------------------------------------------------------------


def service(**spec: Any) -> services.ServiceSpec:
    data = {"apiVersion": "modelyard/v1", "kind": "Service", "name": "bot", "spec": spec}
    return services.parse(data).spec


def test_one_upstream_or_several() -> None:
    assert upstreams.of_options({"provider": "a", "model": "m"}) == (Upstream("a", "m"),)
    several = [{"provider": "a", "model": "m", "weight": 3}, {"provider": "b", "model": "n"}]
    assert upstreams.of_options({"upstreams": several}) == (
        Upstream("a", "m", 3.0), Upstream("b", "n"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({}, "provider is missing"),
        ({"provider": "a"}, "`modelyard providers models a` lists those there are"),
        ({"provider": "A b", "model": "m"}, "spec.engine.provider: use lower-case letters"),
        (
            {"provider": "a", "modle": "m"},
            "spec.engine.modle: unknown field; did you mean",
        ),
        (
            {"provider": "a", "model": "m", "upstreams": [{"provider": "b", "model": "n"}]},
            "not both",
        ),
        ({"upstreams": [{"provider": "b"}]}, "spec.engine.upstreams.0.model"),
        ({"upstreams": [{"provider": "b", "model": "n", "weight": -1}]}, "upstreams.0.weight"),
        ({"upstreams": 7}, "spec.engine.upstreams: must be a list"),
    ],
)
def test_mistakes_of_an_engine(options: dict[str, Any], place: str) -> None:
    with pytest.raises(Invalid) as raised:
        upstreams.of_options(options)
    assert place in raised.value.message


def test_a_service_names_providers_for_itself_and_its_canary() -> None:
    canary = {"weight": 0.1, "engine": {"name": "provider", "provider": "b", "model": "n"}}
    spec = service(engine={"name": "provider", "provider": "a", "model": "m"}, canary=canary)
    assert upstreams.providers_of(spec) == {"a", "b"}
    allowed = {"a": parsed(kind="openai", keys=KEY, models=["x", "y"])}
    assert upstreams.problems(spec, allowed) == [
        ("spec.engine.model: provider a allows x, y, not 'm'", ""),
        ("spec.canary.engine.provider: no provider 'b'", "b"),
    ]
    assert upstreams.problems(spec, {"a": None, "b": None}) == []
    assert upstreams.providers_of(service(engine={"name": "echo", "provider": "a"})) == set()
    assert upstreams.providers_of(service(engine={"name": "provider", "upstreams": 7})) == set()


def test_any_engine_may_be_told_what_it_speaks() -> None:
    spec = service(engine={"name": "echo", "tokens": 3, "dialects": ["chat", "messages"]})
    assert spec.engine.dialects == ("chat", "messages")
    assert spec.engine.options == {"tokens": 3}, "no adapter sees it"
    with pytest.raises(Invalid, match="did you mean 'chat'"):
        service(engine={"name": "echo", "dialects": ["chats"]})


# --- what is written about them ----------------------------------------------------------------

ROOT = Path(__file__).parents[3]


def documents_in(text: str) -> list[kinds.Written]:
    return [kinds.parse(one) for one in yaml.safe_load_all(text)]


def test_the_example_is_documents_that_fit_together() -> None:
    found = documents_in((ROOT / "examples" / "providers.yaml").read_text(encoding="utf-8"))
    known: dict[str, ProviderSpec | None] = {
        one.name: one.spec for one in found if isinstance(one, providers.ProviderDocument)
    }
    written = [one.spec for one in found if isinstance(one, services.ServiceDocument)]
    assert len(known) == len(written) == 3
    assert all(upstreams.problems(spec, known) == [] for spec in written)


def test_the_reference_shows_documents_and_names_every_kind() -> None:
    text = (ROOT / "docs" / "reference" / "providers.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert [one.kind for one in documents_in(block)] == ["Provider", "Service"]
    for name, kind in KINDS.items():
        (row,) = re.findall(rf"^\| `{name}` \| (.*) \|$", text, re.MULTILINE)
        address, spoken, _ = row.split(" | ")
        assert spoken == ", ".join(kind.dialects), name
        if kind.origin:
            assert f"{kind.origin}{kind.base}".endswith(f"//{address}"), name
    for field in ProviderSpec.model_fields:
        assert f"`spec.{field}`" in text, field
