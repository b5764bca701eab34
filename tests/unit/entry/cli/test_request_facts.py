"""What `modelyard requests show` says of a request, beside its waterfall."""

import msgspec

from modelyard.domain.records import RequestRecord
from modelyard.entry.cli.requests import facts

PLAIN = RequestRecord(request_id="req_1", tenant="default", started_at_us=1,
                      outcome="completed", status=200, route="/v1/messages")  # fmt: skip


def test_what_was_done_for_a_request_is_said() -> None:
    record = msgspec.structs.replace(
        PLAIN, translated_to="chat", guarantee="json_schema checked, repaired", unpriced="audio=3",
        tokens_input=12, tokens_output=7, tokens_cached=4, tokens_cache_write=0, tokens_reasoning=5,
    )  # fmt: skip
    said = dict(facts(msgspec.to_builtins(record)))
    assert said["asked in"] == "chat"
    assert said["guarantee"] == "json_schema checked, repaired"
    assert said["without price"] == "audio=3"
    assert said["tokens"] == "12 in, 7 out, 4 cached, 0 written to the cache, 5 reasoning"


def test_what_is_not_known_is_not_said() -> None:
    said = dict(facts(msgspec.to_builtins(PLAIN)))
    assert said["tokens"] == "- in, - out"
    assert not said["asked in"] + said["guarantee"] + said["without price"]
