"""How the echo engine answers: options of its service document, or of one request."""

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.errors import Invalid

FAULTS = (
    "", "error", "error_first", "stall", "truncate", "garbage", "error_event", "crash", "refuse",
    "gzip", "slow",
)  # fmt: skip


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it answers. Times in seconds."""

    tokens: int = 0
    """Words in the answer; 0: as many as the last message has."""
    reasoning_tokens: int = 0
    """Words of `reasoning_content` before the answer."""
    first_token_s: float = 0.0
    token_interval_s: float = 0.0
    start_s: float = 0.0
    """How long loading takes, before it is healthy."""
    slots: int = 64
    prefill_tokens_per_s: float = 0.0
    """Prompt words computed a second, one prompt after the other in the order of arrival; 0: at
    once. Words found in the prefix cache cost nothing."""
    cache_blocks: int = 0
    """Blocks of the prefix cache, the least recently used go first; 0: no cache."""
    block_tokens: int = 16
    say: tuple[str, ...] = ()
    """Said in place of the words that were asked, or as the arguments where a tool is called: the
    first text, and after each answer in the conversation the next one, up to the last."""
    call: str = ""
    """The tool that is called in place of the one that was asked for."""
    ignore: tuple[str, ...] = ()
    """Members of requests that it takes no notice of, such as `tool_choice`."""
    finish: str = ""
    """The finish reason, in place of the one that there is."""
    fault: str = ""
    """`error` answers `status` · `refuse` closes without an answer · `error_first` answers 200 and
    sends an error event, then `[DONE]`, before any token (unstreamed: as `error`) · `gzip`
    compresses, asked or not · `slow` drips single bytes, one each `token_interval_s` · `stall`
    never goes on · `truncate` closes the connection · `garbage` sends no JSON · `error_event`
    sends an error with `status` inside the stream · `crash` kills the process. The last five
    happen after `fault_after_tokens`."""
    fault_after_tokens: int = 0
    fault_share: float = 1.0
    """Of the requests with a fault, this share has it: every tenth for 0.1."""
    status: int = 500
    retry_after_s: int = 0
    """Sent as `Retry-After` with an error of status 429 or 503."""


def read(options: Any, base: Behaviour | None = None) -> Behaviour:
    """`base` changed by the given options. Raises Invalid naming the field."""
    try:
        given: Mapping[str, Any] = msgspec.to_builtins(base) if base else {}
        behaviour = msgspec.convert({**given, **options}, Behaviour)
    except (msgspec.ValidationError, TypeError) as error:
        raise Invalid(f"spec.engine: {error}", hint="see docs/reference/service.md") from None
    if behaviour.fault not in FAULTS:
        raise Invalid(f"spec.engine.fault: {behaviour.fault!r} is none of {FAULTS}")
    if behaviour.block_tokens < 1:
        raise Invalid("spec.engine.block_tokens must be at least 1")
    return behaviour
