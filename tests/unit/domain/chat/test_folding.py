"""Pieces of an answer and the answer they make are the same thing."""

from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.chat import Answer, Refusal, Text, Thinking, ToolCall, Usage, unfolded
from modelyard.domain.chat.events import (
    CallBegun,
    CallPiece,
    Ended,
    Event,
    ReasoningPiece,
    Started,
    TextPiece,
    Used,
)
from modelyard.domain.chat.folding import folded

TEXT = st.text(max_size=20)
PARTS = st.one_of(
    st.builds(Text, TEXT),
    st.builds(Thinking, TEXT, TEXT, TEXT, TEXT, st.booleans()),
    st.builds(ToolCall, TEXT, TEXT, TEXT, custom=st.booleans()),
)
ANSWERS = st.builds(
    Answer,
    id=TEXT,
    model=TEXT,
    created_s=st.integers(0, 1 << 40),
    parts=st.lists(PARTS, max_size=6).map(tuple),
    finish=st.sampled_from(["stop", "length", "tool_calls"]),
    usage=st.none() | st.builds(Usage, input_tokens=st.integers(0, 100)),
)


@given(ANSWERS)
def test_an_answer_comes_back_from_its_events(answer: Answer) -> None:
    assert folded(unfolded(answer)) == answer


def test_pieces_are_joined_to_the_parts_they_belong_to() -> None:
    events: list[Event] = [
        Started("a", "m", 1),
        ReasoningPiece("hm"), ReasoningPiece("m", signature="sig"),
        TextPiece("one "), TextPiece("two"),
        TextPiece("apart", part=1),
        CallBegun(0, "c0", "f"), CallBegun(1, "c1", "g"),
        CallPiece(1, "{}"), CallPiece(0, '{"a":'), CallPiece(0, "1}"),
        Used(Usage(input_tokens=3)), Used(Usage(input_tokens=3, output_tokens=9)),
        Ended("tool_calls"),
    ]  # fmt: skip
    answer = folded(events)
    assert answer.parts == (
        Thinking("hmm", "sig"), Text("one two"), Text("apart"),
        ToolCall("c0", "f", '{"a":1}'), ToolCall("c1", "g", "{}"),
    )  # fmt: skip
    assert (answer.id, answer.finish, answer.usage) == (
        "a", "tool_calls", Usage(input_tokens=3, output_tokens=9),
    )  # fmt: skip


def test_a_refusal_is_a_part() -> None:
    answer = Answer(parts=(Refusal("no"),), finish="refusal")
    assert folded(unfolded(answer)) == answer
