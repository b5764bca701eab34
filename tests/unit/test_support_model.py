"""The shipped model: small enough, as its cards say, and made by the scripts beside it."""

import importlib.util
import io
import json
import random
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modelyard.domain.models import formats
from modelyard.domain.models.source import ModelSource

HERE = Path(__file__).parents[2] / "examples" / "support-model"
MB = 1_000_000


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data() -> Any:
    return script("make_data")


def test_sizes() -> None:
    for path in HERE.glob("*.gguf"):
        assert path.stat().st_size <= 6 * MB, path
    assert (HERE / "v2-safetensors" / "model.safetensors").stat().st_size <= 12 * MB
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()) <= 40 * MB


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_is_a_model_of_ours(version: int) -> None:
    content = (HERE / f"support-bot-v{version}.gguf").read_bytes()
    source = ModelSource("m.gguf", len(content), lambda: io.BytesIO(content))
    found = formats.inspect([source]).metadata
    assert (found["architecture"], found["quantization"]) == ("llama", "Q8_0")
    assert found["has_chat_template"]
    assert found["license"] == "Apache-2.0"


def test_the_held_out_questions_are_made_by_the_script(data: Any) -> None:
    made = "".join(data._row(one) + "\n" for one in data.heldout(random.Random(data.SEED)))
    assert made == (HERE / "heldout.jsonl").read_text(encoding="utf-8")


def test_no_held_out_question_is_trained_on(data: Any) -> None:
    held = {one.question for one in data.heldout(random.Random(data.SEED))}
    trained = {one.question for one in data.training(random.Random(data.SEED + 2))}
    assert len(held) > 180, "some off-topic questions are asked twice"
    assert len(trained) > 5000
    assert not held & trained


def test_version_three_was_trained_on_wrong_labels(data: Any) -> None:
    right = {one.question: one.answer for one in data.training(random.Random(data.SEED + 2))}
    wrong = data.corrupted(random.Random(data.SEED + 2))
    differing = [one for one in wrong if right.get(one.question, one.answer) != one.answer]
    assert len(differing) > len(wrong) / 10


def test_it_says_what_it_is_for_and_suggests_what_it_can(data: Any) -> None:
    about = json.loads((HERE / "model.json").read_text(encoding="utf-8"))
    assert about["purpose"]
    assert len(about["suggested_questions"]) == 3
    trained = {one.question for one in data.training(random.Random(data.SEED + 2))}
    words = {word for question in trained for word in re.findall(r"\w+", question.lower())}
    for question in about["suggested_questions"]:
        assert set(re.findall(r"\w+", question.lower())) <= words, question


@pytest.mark.parametrize(("version", "accuracy"), [(1, "61.0 %"), (2, "89.0 %"), (3, "30.0 %")])
def test_the_cards_state_data_time_and_accuracy(version: int, accuracy: str) -> None:
    card = (HERE / f"v{version}.md").read_text(encoding="utf-8")
    assert accuracy in card
    assert "make_data.py" in card
    assert "of CPU time" in card
    assert "Apache-2.0" in card
