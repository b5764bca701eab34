"""Calls of tools, out of pieces that engines cut differently.

OpenAI numbers calls, and names id and name once. Others leave the number out, send a call whole,
number every call 0, repeat id and name with each piece, make up a new id for each piece, or send
the id late. No argument is lost or doubled whichever it is.
"""

import re

import msgspec

from modelyard.domain.chat import CallBegun, CallPiece
from modelyard.gateway.dialects.chat.chunks import CallDelta

_NO_ID = re.compile(r"[^A-Za-z0-9_-]")
CallEvent = CallBegun | CallPiece


class _Call:
    __slots__ = ("custom", "has_begun", "id", "index", "name", "pieces")

    def __init__(self, index: int, custom: bool) -> None:
        self.index = index
        self.custom = custom
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []
        self.has_begun = False

    def is_complete(self) -> bool:
        """Whether the arguments so far are an object."""
        try:
            msgspec.json.decode("".join(self.pieces), type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, RecursionError):
            return False
        return True

    def is_repeated_by(self, arguments: str) -> bool:
        """Whether these are the arguments once more: some engines end with the whole call."""
        return arguments == "".join(self.pieces) and self.is_complete()


class Calls:
    """The calls of one answer, in the order in which they began."""

    __slots__ = ("_by_number", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_number: dict[int, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, delta: CallDelta, answer_id: str) -> list[CallEvent]:
        """What one piece says."""
        given_id = "" if delta.id is None else str(delta.id)
        name = _name(delta)
        call = self._find(delta.index, given_id, name) or self._new(delta)
        is_repeated = bool((given_id and call.id) or (name and call.name))
        call.id = call.id or given_id
        call.name = call.name or name
        arguments = _arguments(delta)
        if not arguments or (is_repeated and call.is_repeated_by(arguments)):
            return self._begun(call, answer_id) if call.id else []
        call.pieces.append(arguments)
        if call.has_begun:
            return [CallPiece(call.index, arguments)]
        return self._begun(call, answer_id)

    def finish(self, answer_id: str) -> list[CallEvent]:
        """What is left of calls that never said all that a call has to say."""
        events: list[CallEvent] = []
        for call in self._calls:
            if not call.has_begun:
                call.name = call.name or "unnamed"
                events += self._begun(call, answer_id)
        return events

    def _begun(self, call: _Call, answer_id: str) -> list[CallEvent]:
        """A call begins when its name is known; an id that does not come is made up, as it needs to
        be the same only in what this client sends back."""
        if call.has_begun or not call.name:
            return []
        call.has_begun = True
        call.id = call.id or f"call_{_NO_ID.sub('', answer_id)}_{call.index}"
        begun = CallBegun(call.index, call.id, call.name, call.custom)
        arguments = "".join(call.pieces)
        return [begun, CallPiece(call.index, arguments)] if arguments else [begun]

    def _new(self, delta: CallDelta) -> _Call:
        call = _Call(len(self._calls), delta.custom is not None)
        self._calls.append(call)
        if delta.index is not None:
            self._by_number[delta.index] = call
        return call

    def _find(self, number: int | None, given_id: str, name: str) -> _Call | None:
        """The call that a piece belongs to; None for a new one."""
        if number is not None:
            call = self._by_number.get(number)
            is_other = call and name and call.name and given_id and call.id not in ("", given_id)
            return None if is_other else call
        last = self._calls[-1] if self._calls else None
        if given_id:
            same = next((call for call in self._calls if call.id == given_id), None)
            return same or (last if last and self._goes_on(last, name, bool(last.id)) else None)
        return last if last and self._goes_on(last, name, False) else None

    def _goes_on(self, last: _Call, name: str, has_other_id: bool) -> bool:
        """Whether a piece without a number, and without an id known here, belongs to the last call:
        it does unless it names one, and then only while that one is not complete."""
        if not name or not last.name:
            return True
        return not has_other_id and name == last.name and not last.is_complete()


def _name(delta: CallDelta) -> str:
    piece = delta.custom or delta.function
    return (piece.name or "") if piece is not None else ""


def _arguments(delta: CallDelta) -> str:
    if delta.custom is not None:
        return delta.custom.input or ""
    raw = bytes(delta.function.arguments) if delta.function is not None else b""
    if raw.startswith(b'"'):
        return msgspec.json.decode(raw, type=str)
    return "" if raw == b"null" else raw.decode(errors="replace")
