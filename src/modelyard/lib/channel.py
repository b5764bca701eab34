"""Calls from one process to another over a socket pair: a JSON line each way.

`{"id", "method", "params"}` is answered by `{"id", "result"}` or `{"id", "error": {code, message,
hint}}`. The socket is inherited, so nobody else can speak on it and no authentication is needed.
"""

import asyncio
import itertools
import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from modelyard.errors import ERRORS, ModelyardError, Unavailable

MAX_LINE_BYTES = 16 * 1024 * 1024
log = logging.getLogger(__name__)

Handler = Callable[..., Any]


class Channel:
    """The calling side. Safe for many threads; calls are answered one after another."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._buffer = b""
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def call(self, method: str, params: Mapping[str, Any], timeout_s: float = 10.0) -> Any:
        """The result of the method. Raises what the other side raised, or Unavailable."""
        with self._lock:
            number = next(self._ids)
            line = json.dumps({"id": number, "method": method, "params": params}).encode()
            try:
                self._socket.settimeout(timeout_s)
                self._socket.sendall(line + b"\n")
                answer = self._receive(number)
            except OSError as error:
                raise Unavailable(f"the supervisor did not answer {method!r}: {error}") from error
        if "error" in answer:
            detail = answer["error"]
            kind = ERRORS.get(detail["code"], ModelyardError)
            raise kind(detail["message"], hint=detail["hint"])
        return answer["result"]

    def _receive(self, number: int) -> dict[str, Any]:
        while True:
            while b"\n" not in self._buffer:
                data = self._socket.recv(1024 * 1024)
                if not data:
                    raise ConnectionError("it has closed the channel")
                self._buffer += data
            line, _, self._buffer = self._buffer.partition(b"\n")
            answer: dict[str, Any] = json.loads(line)
            if answer["id"] == number:  # an older one belongs to a call that timed out
                return answer

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


async def serve(end: socket.socket, handlers: Mapping[str, Handler]) -> None:
    """Answer calls on this end until the other one closes. Handlers take keyword arguments."""
    reader, writer = await asyncio.open_connection(sock=end, limit=MAX_LINE_BYTES)
    try:
        while line := await reader.readline():
            writer.write(json.dumps(_answer(line, handlers)).encode() + b"\n")
            await writer.drain()
    except ConnectionError:
        return  # the other process was killed; its successor gets a channel of its own
    finally:
        writer.close()


def _answer(line: bytes, handlers: Mapping[str, Handler]) -> dict[str, Any]:
    call = json.loads(line)
    try:
        return {"id": call["id"], "result": handlers[call["method"]](**call["params"])}
    except ModelyardError as error:
        detail = {"code": error.kind, "message": error.message, "hint": error.hint}
    except Exception as error:
        log.exception("call %s failed", call.get("method"))
        detail = {"code": "error", "message": f"{type(error).__name__}: {error}", "hint": ""}
    return {"id": call["id"], "error": detail}
