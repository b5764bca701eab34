"""Blobs on their way in: from the event loop to a writing thread, never whole in memory."""

import asyncio
import queue
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence

from modelyard.entry.api.context import Context
from modelyard.errors import TooLarge, Unavailable
from modelyard.ports.blobs import Blob

QUEUE_CHUNKS = 32
"""Pieces between network and disk; each is what one read from the socket gave."""


def check_room(here: Context, sizes: Sequence[int]) -> None:
    """Refuse files that cannot fit before a byte of them is read. Raises TooLarge, Unavailable."""
    limit, largest = here.app.settings.control.max_blob_bytes, max(sizes, default=0)
    if largest > limit:
        raise TooLarge(
            f"a file of {largest:,} bytes; at most {limit:,}",
            hint="the setting control.max_blob_bytes",
        )
    free = shutil.disk_usage(here.app.folder.blobs).free
    if sum(sizes) > free:
        raise Unavailable(
            f"the disk is full: {sum(sizes):,} bytes do not fit into the {free:,} that are free",
            hint="free space in the data folder and push again",
            code="disk_full",
        )


async def receive(here: Context, stream: AsyncIterator[bytes], digest: str) -> Blob:
    """Store a body. When writing fails, the rest of the body is not waited for; when the body
    breaks off, nothing is stored."""
    pipe = Pipe(asyncio.get_running_loop(), here.app.settings.control.max_blob_bytes)
    writing = asyncio.get_running_loop().run_in_executor(
        here.writers, here.app.blobs.put, pipe.chunks(), digest
    )
    writing.add_done_callback(lambda _: pipe.close())
    whole = False
    try:
        async for chunk in stream:
            if chunk:
                await pipe.put(chunk)
            if writing.done():
                break
        else:
            whole = True
    finally:
        pipe.end(whole)
        await asyncio.wait([writing])
        problem = writing.exception()
    if problem is not None:
        raise problem
    return writing.result()


class Pipe:
    """The loop puts, a thread takes; the loop waits where the thread is slower."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_bytes: int) -> None:
        self._loop = loop
        self._limit_bytes = limit_bytes
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(QUEUE_CHUNKS)
        self._closed = False

    async def put(self, chunk: bytes) -> None:
        """Hand one piece over once there is room; nothing happens after `close`."""
        if not self._closed:
            await self._room.acquire()
            self._queue.put(chunk)

    def end(self, whole: bool) -> None:
        """The body is complete, or it broke off."""
        self._queue.put(None if whole else b"")

    def close(self) -> None:
        """Nobody takes any more."""
        self._closed = True
        self._room.release()

    def chunks(self) -> Iterator[bytes]:
        """The taking side. Raises Unavailable when the body broke off, TooLarge."""
        size = 0
        while (chunk := self._queue.get()) is not None:
            if not chunk:
                raise Unavailable("the upload broke off", hint="push again; whole files are kept")
            self._loop.call_soon_threadsafe(self._room.release)
            size += len(chunk)
            if size > self._limit_bytes:
                raise TooLarge(
                    f"more than {self._limit_bytes:,} bytes",
                    hint="the setting control.max_blob_bytes",
                )
            yield chunk
