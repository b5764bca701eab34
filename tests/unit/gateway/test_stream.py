"""A stream on its way through: bytes as they came, usage counted, breaks noticed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.gateway.assemble import Assembler
from modelyard.gateway.stream import StreamBroken, StreamRelay, Tally, says_something


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def token(text: str) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


END = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
USAGE = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2,
               "prompt_tokens_details": {"cached_tokens": 1}}})  # fmt: skip
DONE = b"data: [DONE]\n\n"
STREAM = token("a") + b": ping\n\n" + token("é") + END + USAGE + DONE


def relay(keep_usage: bool = False) -> StreamRelay:
    return StreamRelay(Tally(), keep_usage=keep_usage)


@pytest.mark.parametrize("keep", [False, True])
def test_a_stream_cut_anywhere_passes_unchanged_but_for_usage(keep: bool) -> None:
    expected = STREAM if keep else STREAM.replace(USAGE, b"")
    for cut in range(len(STREAM)):
        one = relay(keep)
        assert one.feed(STREAM[:cut]) + one.feed(STREAM[cut:]) == expected, cut
        assert one.done
        usage = one.tally.usage
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens) == (3, 2)
        assert usage.prompt_tokens_details is not None
        assert usage.prompt_tokens_details.cached_tokens == 1
        assert one.tally.finish_reason == "stop"


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"delta": {"role": "assistant"}}, False),
        ({"delta": {"role": "assistant", "content": ""}}, False),
        ({"delta": {"role": "assistant", "content": None, "tool_calls": []}}, False),
        ({"delta": {"content": "x"}}, True),
        ({"delta": {"reasoning_content": "x"}}, True),
        ({"delta": {"tool_calls": [{"index": 0}]}}, True),
        ({"delta": {}, "finish_reason": "stop"}, True),
        ({"text": ""}, False),
        ({"text": "x"}, True),
    ],
)
def test_what_an_event_says(choice: dict[str, object], says: bool) -> None:
    assert says_something(json.dumps({"choices": [choice]}).encode()) is says


def test_the_role_is_no_token() -> None:
    role = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
    one = relay()
    assert one.feed(role) == role
    assert one.tally.events == 0
    one.feed(token("a") + token("b"))
    assert one.tally.events == 2


def test_progress_of_the_prompt_is_kept_in_mind_and_passed_to_who_asked() -> None:
    role = {"index": 0, "delta": {"role": "assistant", "content": None}}
    told = {"total": 195, "cache": 190, "processed": 194}
    progress = event({"choices": [role], "prompt_progress": told})
    one, asked = relay(), StreamRelay(Tally(), keep_usage=False, keep_progress=True)
    assert one.feed(progress + token("a")) == token("a")
    assert asked.feed(progress) == progress
    assert one.tally.progress is not None
    assert (one.tally.progress.total, one.tally.progress.cache) == (195, 190)
    assert one.tally.events == 1


def test_usage_beside_content_stays() -> None:
    both = event({"choices": [{"index": 0, "delta": {"content": "x"}}],
                  "usage": {"prompt_tokens": 1, "completion_tokens": 1}})  # fmt: skip
    one = relay()
    assert one.feed(both) == both
    assert one.tally.usage is not None


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (event({"error": {"message": "the engine gave up"}}), "the engine gave up"),
        (event({"error": "out of memory"}), "out of memory"),
        (b"data: {not json}\n\n", "not JSON"),
        (b"data: {not json\n\n", "not JSON"),
        (b"data: hello\n\n", "not JSON"),
    ],
)
def test_a_break_is_noticed_and_what_came_before_may_pass(broken: bytes, said: str) -> None:
    one = relay()
    with pytest.raises(StreamBroken, match=said) as raised:
        one.feed(token("a") + broken + token("b") + b"data: [DONE]\n\n")
    assert raised.value.passed == token("a")
    assert not one.done


def test_nothing_passes_behind_the_end() -> None:
    one = relay()
    assert one.feed(DONE + token("late")) == DONE


def test_an_endless_event_is_refused() -> None:
    one = relay()
    with pytest.raises(StreamBroken, match="endless"):
        for _ in range(20):
            one.feed(b"data: " + b"x" * 1024 * 1024)


@given(st.lists(st.text(max_size=8), max_size=10), st.integers(1, 40))
def test_text_that_looks_like_markers_passes(texts: list[str], step: int) -> None:
    odd = ['"usage":{', "[DONE]", '"error":"x"', "data: {", "}\n\ndata: {", *texts]
    stream = b"".join(map(token, odd)) + DONE
    one = relay()
    passed = [one.feed(stream[at : at + step]) for at in range(0, len(stream), step)]
    assert b"".join(passed) == stream
    assert one.done


def test_kinds_of_tokens_that_nobody_knows_are_seen() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "dream_tokens": 7,
             "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2}}  # fmt: skip
    one = relay()
    last = event({"choices": [], "usage": usage, "service_tier": "flex"})
    assert one.feed(token("a") + last) == token("a"), "it is the extra chunk all the same"
    told = one.tally.counted()
    assert told is not None
    assert (told.input_tokens, told.output_tokens, told.cache_read_tokens) == (9, 4, 5)
    assert (told.cache_write_tokens, told.unknown) == (2, {"dream_tokens": 7})
    assert told.service_tier == "flex"


def test_the_usual_usage_is_counted_with_its_details() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
             "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0},
             "completion_tokens_details": {"reasoning_tokens": 3}}  # fmt: skip
    tally = Tally()
    tally.see(json.dumps({"choices": [], "usage": usage, "service_tier": "default"}).encode())
    told = tally.counted()
    assert told is not None
    assert (told.cache_read_tokens, told.reasoning_tokens) == (5, 3)
    assert (told.unknown, told.service_tier) == ({}, "default")


@pytest.mark.parametrize("place", ["end", "choice"])
def test_usage_that_is_told_for_each_choice_is_added_up(place: str) -> None:
    """As llama.cpp tells it: of chat behind each end, of completions with it."""
    tally, assembler = Tally(), Assembler()
    for index in (1, 0):
        end = {"index": index, "text": "", "finish_reason": "stop"}
        usage = {"prompt_tokens": 2 + index, "completion_tokens": 3, "total_tokens": 5 + index,
                 "prompt_tokens_details": {"cached_tokens": 1}}  # fmt: skip
        told: list[dict[str, object]] = [{"choices": [end], "usage": usage}]
        if place == "end":
            told = [{"choices": [end]}, {"choices": [], "usage": usage}]
        for event in told:
            tally.see(json.dumps(event).encode())
            assembler.add(json.dumps(event).encode())
    counted = tally.counted()
    assert counted is not None
    assert (counted.input_tokens, counted.output_tokens, counted.cache_read_tokens) == (5, 6, 2)
    assert json.loads(assembler.result())["usage"] == {
        "prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 2},
    }  # fmt: skip


def test_usage_that_grows_is_told_by_its_last() -> None:
    """As vLLM tells it with `continuous_usage_stats`, and others twice."""
    tally, assembler = Tally(), Assembler()
    for choices, output in (
        ([{"index": 0, "text": "a"}], 1),
        ([{"index": 0, "text": "b", "finish_reason": "stop"}], 2),
        ([], 2),
    ):
        event = {"choices": choices, "usage": {"prompt_tokens": 4, "completion_tokens": output}}
        tally.see(json.dumps(event).encode())
        assembler.add(json.dumps(event).encode())
    counted = tally.counted()
    assert counted is not None
    assert (counted.input_tokens, counted.output_tokens) == (4, 2)
    assert json.loads(assembler.result())["usage"]["completion_tokens"] == 2
