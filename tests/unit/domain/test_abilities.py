"""What a document says of a model, and of how it fills in the middle."""

import pytest
from pydantic import ValidationError

from modelyard.domain.documents import compiled
from modelyard.domain.services import EngineOptions, ServiceSpec
from modelyard.domain.snapshot import Capabilities, Revision
from modelyard.domain.snapshot.capabilities import common, with_said


def test_a_family_stands_for_its_template() -> None:
    said = EngineOptions(name="xllamacpp", fim="starcoder").says["fim"]
    assert said == "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>"
    own = "<A>{suffix}<B>{prefix}"
    assert EngineOptions(name="xllamacpp", fim=own).says == {"fim": own}
    assert EngineOptions(name="xllamacpp").says == {}


@pytest.mark.parametrize("wrong", ["quen", "{prefix}", "{prefix}{suffix}{suffix}"])
def test_what_has_no_place_for_both_halves_is_refused_with_the_families(wrong: str) -> None:
    with pytest.raises(ValidationError, match="once each, or be one of qwen"):
        EngineOptions(name="xllamacpp", fim=wrong)


def test_what_is_said_counts_and_what_is_not_said_stays_open() -> None:
    found = Capabilities(chat=True, tools=False, context_tokens=4_096)
    said = Capabilities(tools=True, max_output_tokens=512)
    assert with_said(found, said) == Capabilities(
        chat=True, tools=True, context_tokens=4_096, max_output_tokens=512
    )


def test_no_endpoint_can_do_nothing_and_one_alone_can_what_it_can() -> None:
    one = Capabilities(chat=True, images=False, context_tokens=10)
    assert common([]) == Capabilities()
    assert common([one]) == common([one, one]) == one


def test_a_documents_capabilities_reach_the_snapshot() -> None:
    spec = ServiceSpec.model_validate(
        {"engine": {"name": "echo"}, "capabilities": {"images": True, "context_tokens": 9}}
    )
    made = compiled.service("t", "bot", Revision(id="r"), spec)
    assert made.capabilities == Capabilities(images=True, context_tokens=9)
