"""Events are cut out of a byte stream with their exact bytes, wherever the pieces are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.lib.sse import EventSplitter, event_data

STREAM = (
    'data: {"a":"é"}\n\n'
    ": a comment\n\n"
    "event: error\r\ndata: one\r\ndata:two\r\n\r\n"
    "data: x\r\rdata: [DONE]\n\n"
).encode()
EXPECTED = ['{"a":"é"}'.encode(), b"", b"one\ntwo", b"x", b"[DONE]"]


def test_a_stream_cut_anywhere_gives_the_same_events() -> None:
    for cut in range(len(STREAM) + 1):
        splitter = EventSplitter()
        events = splitter.feed(STREAM[:cut]) + splitter.feed(STREAM[cut:])
        assert [data for _, data in events] == EXPECTED, cut
        assert b"".join(raw for raw, _ in events) == STREAM
        assert splitter.pending == b""


@given(st.binary(max_size=300), st.integers(1, 20))
def test_nothing_is_lost_and_nothing_is_made_up(data: bytes, step: int) -> None:
    splitter = EventSplitter()
    raws = [
        raw for at in range(0, len(data), step) for raw, _ in splitter.feed(data[at : at + step])
    ]
    assert b"".join(raws) + splitter.pending == data


def test_a_long_event_in_small_pieces_is_searched_once() -> None:
    splitter = EventSplitter()
    text = b"data: " + b"x" * 2_000_000 + b"\r\n\r\n"
    events = [one for at in range(0, len(text), 10) for one in splitter.feed(text[at : at + 10])]
    assert events == [(text, text[6:-4])]


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"id: 1\ndata: x\n\n", b"x"),
        (b"data: x\ndata: y\n\n", b"x\ny"),
        (b"data\n\n", b""),
        (b": keep-alive\n\n", b""),
    ],
)
def test_the_data_of_an_event(raw: bytes, data: bytes) -> None:
    assert event_data(raw) == data
