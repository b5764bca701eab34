"""The messages of a request: users and assistants in turn, what tools answered at the beginning of
the user's, and the system apart.

Source: `Message` in Bedrock's API reference. It refuses turns that do not alternate, and blank
texts.
"""

from typing import Any

from modelyard.domain.chat import Foreign, Message, Part, Request, Text
from modelyard.gateway.dialects.converse.parts import Block, Blocks, unsupported_content

_SEE = "(See the document.)"
"""A document must have a text beside it."""


def write_messages(request: Request, blocks: Blocks) -> tuple[list[Block], list[dict[str, Any]]]:
    """The system's blocks, and the messages. Raises Invalid (`unsupported_content`)."""
    system: list[Block] = []
    turns: list[_Turn] = []
    for number, message in enumerate(request.messages):
        path = f"messages[{number}]"
        if message.role in ("system", "developer"):
            system += _system(message, path, blocks)
            continue
        role = "assistant" if message.role == "assistant" else "user"
        written = [
            block
            for at, part in enumerate(message.parts)
            for block in blocks.of(part, f"{path}.content[{at}]")
        ]
        if not written:
            continue
        if not turns or turns[-1].role != role:
            turns.append(_Turn(role))
        turns[-1].add(written, message.role == "tool")
    return system, [turn.written() for turn in turns]


class _Turn:
    """What one side says."""

    def __init__(self, role: str) -> None:
        self.role = role
        self._results: list[Block] = []
        self._rest: list[Block] = []

    def add(self, blocks: list[Block], is_result: bool) -> None:
        (self._results if is_result else self._rest).extend(blocks)

    def written(self) -> dict[str, Any]:
        blocks = [*self._results, *self._rest]
        if _has(blocks, "document") and not _has(blocks, "text"):
            blocks.append({"text": _SEE})
        return {"role": self.role, "content": blocks}


def _has(blocks: list[Block], kind: str) -> bool:
    return any(isinstance(block, dict) and kind in block for block in blocks)


def _system(message: Message, path: str, blocks: Blocks) -> list[Block]:
    for at, part in enumerate(message.parts):
        if not isinstance(part, Text):
            where = f"{path}.content[{at}]"
            raise unsupported_content(where, f"a part of the kind {_kind(part)!r} for the system")
    return [block for part in message.parts for block in blocks.of(part, path)]


def _kind(part: Part) -> str:
    return part.kind if isinstance(part, Foreign) else type(part).__name__
