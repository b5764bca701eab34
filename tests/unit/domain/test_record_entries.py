"""What a spool's entries are read as, and what is refused."""

from typing import Any

import msgspec
import pytest

from modelyard.domain.records import AttemptRecord, Record, RequestRecord
from modelyard.domain.records.entries import decoded
from modelyard.errors import Invalid

REQUEST = RequestRecord(
    request_id="req_1", tenant="default", started_at_us=1, outcome="completed", status=200,
    route="/v1/chat/completions", ttft_us=5,
)  # fmt: skip
ATTEMPT = AttemptRecord(
    request_id="req_1", tenant="default", started_at_us=1, number=1, endpoint="a", offset_us=0
)
ROW = msgspec.to_builtins(REQUEST)


def entry(kind: str, row: Any) -> bytes:
    return msgspec.json.encode((kind, row))


@pytest.mark.parametrize(("kind", "record"), [("request", REQUEST), ("attempt", ATTEMPT)])
def test_a_record_comes_back_as_it_went(kind: str, record: Record) -> None:
    assert decoded(entry(kind, record)) == record


def test_columns_of_a_newer_writer_are_left_out() -> None:
    assert decoded(entry("request", {**ROW, "flavour": "new"})) == REQUEST


def test_columns_that_an_older_writer_lacked_have_their_default() -> None:
    old = {name: value for name, value in ROW.items() if name not in ("fallback", "ttft_us")}
    record = decoded(entry("request", old))
    assert isinstance(record, RequestRecord)
    assert (record.fallback, record.ttft_us) == ("", None)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (entry("request", {"request_id": "x"}), "missing required field"),
        (entry("request", {**ROW, "status": "200"}), r"status"),
        (entry("request", {**ROW, "tenant": 1}), r"tenant"),
        (entry("request", [1]), "Expected `object`"),
        (entry("request", REQUEST)[:-9], "truncated"),
        (entry("request", REQUEST).replace(b"default", b"def\xffult"), "can.t decode byte 0xff"),
        (entry("flavour", ROW), "no record kind"),
        (b'{"request": 1}', "no record kind"),
        (b"", "no record kind"),
    ],
)
def test_what_is_no_record_is_refused(payload: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said) as raised:
        decoded(payload)
    assert len(str(raised.value)) < 400
