"""The pieces of a streamed answer, in the order in which they come.

`Started`, then pieces, then `Ended`, and `Used` anywhere: some upstreams say the question's length
first and the answer's last; a later one replaces an earlier one. Pieces of one text, one thought or
one call follow each other; a piece of another kind, `part` or call begins a new one.
"""

import msgspec

from modelyard.domain.chat.answer import Usage
from modelyard.domain.chat.request import Foreign


class Started(msgspec.Struct, frozen=True):
    """The upstream answers; it has said nothing yet."""

    id: str = ""
    model: str = ""
    created_s: int = 0


class TextPiece(msgspec.Struct, frozen=True):
    """Some of the answer's text."""

    text: str
    part: int = 0
    """Texts that the upstream keeps apart have different numbers."""


class ReasoningPiece(msgspec.Struct, frozen=True):
    """Some of what the model thinks; `signature` and `encrypted` come at the end of a thought."""

    text: str = ""
    signature: str = ""
    encrypted: str = ""
    id: str = ""
    is_summary: bool = False
    part: int = 0


class RefusalPiece(msgspec.Struct, frozen=True):
    """Some of a refusal's text."""

    text: str


class CallBegun(msgspec.Struct, frozen=True):
    """The model begins to call a tool; its arguments follow in pieces."""

    index: int
    """Of the call in this answer, from 0."""
    id: str
    name: str
    custom: bool = False


class CallPiece(msgspec.Struct, frozen=True):
    """Some of the arguments of the call with that index."""

    index: int
    arguments: str


class Used(msgspec.Struct, frozen=True):
    """What it took, as far as it is known."""

    usage: Usage


class Ended(msgspec.Struct, frozen=True):
    """Why the answer is over; see `FINISHES`."""

    finish: str
    stop_sequence: str = ""
    cut: bool = False
    """Whether the upstream would have gone on: nothing more is waited for."""


class Failed(msgspec.Struct, frozen=True):
    """The upstream gave up inside its stream; `data` is its error as it wrote it."""

    message: str
    data: bytes = b""


Event = (
    Started | TextPiece | ReasoningPiece | RefusalPiece | CallBegun | CallPiece | Used | Ended
    | Failed | Foreign
)  # fmt: skip
