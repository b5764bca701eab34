"""Sliding windows of 60 s over integer memory of the caller.

Time is cut into buckets of half a second. A window is a ring with the last 121 buckets and a
running total: the 121st is the one that the 60 s reach into. A bucket counts until all of it is
older than 60 s, so what is admitted in any 60 s never exceeds the bound, and the bound is reached
again at the latest 60.5 s later.

`words` is any mutable sequence of unsigned 64-bit integers, such as `memoryview.cast("Q")`; `at`
is where the two windows (requests and tokens) of one counter begin in it.
"""

from collections.abc import Iterable
from typing import TypeAlias

Words: TypeAlias = "memoryview[int]"

BUCKET_US = 500_000
RING = 121
"""Buckets of a window: 60 s, and the one that is cut."""
HEAD, REQUESTS, TOKENS, LAST = 0, 1, 2, 3
"""Offsets: newest bucket of the rings, the two totals, bucket of the newest admission."""
REQUESTS_RING = 14
TOKENS_RING = REQUESTS_RING + RING
WINDOW_WORDS = TOKENS_RING + RING
JITTER = 2
"""Buckets by which the clocks of two readers may differ; a larger step back is a clock set back."""
_RINGS = ((REQUESTS, REQUESTS_RING), (TOKENS, TOKENS_RING))


def advance(words: Words, at: int, bucket: int) -> int:
    """Bring the windows to that bucket; the bucket to count in, which never runs back.

    Amortised O(1): every bucket is emptied once. A clock that was set back would keep everything
    counted until it caught up, so all that is counted is then counted as of now instead.
    """
    head = words[at + HEAD]
    if bucket > head:
        for total, ring in _RINGS:
            if words[at + total]:
                _drop(words, at + total, at + ring, _leaving(head, bucket))
    elif bucket >= head - JITTER:
        return head
    else:
        for total, ring in _RINGS:
            _gather(words, at + total, at + ring, bucket)
        words[at + LAST] = bucket
    words[at + HEAD] = bucket
    return bucket


def _leaving(head: int, bucket: int) -> Iterable[int]:
    """Places in the ring that belong to buckets no longer counted."""
    if bucket - head >= RING:
        return range(RING)
    return [number % RING for number in range(head + 1, bucket + 1)]


def _drop(words: Words, total: int, ring: int, places: Iterable[int]) -> None:
    for place in places:
        count = words[ring + place]
        if count:
            # The total first: should this be all that happens, `repair` finds the ring whole.
            words[total] -= min(count, words[total])
            words[ring + place] = 0


def _gather(words: Words, total: int, ring: int, bucket: int) -> None:
    count, place = words[total], bucket % RING
    words[ring + place] = count
    for other in range(RING):
        if other != place:
            words[ring + other] = 0


def add(words: Words, at: int, requests: int, tokens: int) -> None:
    """Count them in the newest bucket; call `advance` before.

    The bucket is written before the total: a kill between the two leaves a total that `repair`
    can make from the buckets.
    """
    place = at + words[at + HEAD] % RING
    if requests:
        words[place + REQUESTS_RING] += requests
        words[at + REQUESTS] += requests
    if tokens:
        words[place + TOKENS_RING] += tokens
        words[at + TOKENS] += tokens


def refund_tokens(words: Words, at: int, bucket: int, tokens: int) -> None:
    """Take back tokens that were counted in that bucket, if it is still in the window."""
    head = words[at + HEAD]
    if head - RING < bucket <= head:
        place = at + TOKENS_RING + bucket % RING
        back = min(tokens, words[place], words[at + TOKENS])
        words[place] -= back
        words[at + TOKENS] -= back


def counted(words: Words, at: int, bucket: int) -> tuple[int, int]:
    """Requests and tokens in the window as of that bucket. Writes nothing."""
    head, requests, tokens = words[at + HEAD], words[at + REQUESTS], words[at + TOKENS]
    if bucket <= head or not (requests or tokens):
        return requests, tokens
    for place in _leaving(head, bucket):
        requests -= words[at + REQUESTS_RING + place]
        tokens -= words[at + TOKENS_RING + place]
    return max(0, requests), max(0, tokens)


def wait_us(words: Words, at: int, ring: int, excess: int, now_us: int) -> int:
    """Microseconds until at least `excess` of what is counted has left the window."""
    head = words[at + HEAD]
    for bucket in range(max(0, head - RING + 1), head + 1):
        excess -= words[at + ring + bucket % RING]
        if excess <= 0:
            return max(0, (bucket + RING) * BUCKET_US - now_us)
    return RING * BUCKET_US


def repair(words: Words, at: int) -> None:
    """Make the totals from the buckets: whoever wrote them may have been killed in between."""
    for total, ring in _RINGS:
        words[at + total] = sum(words[at + ring : at + ring + RING])


def drained(words: Words, at: int, bucket: int) -> bool:
    """Whether nothing is counted any more."""
    return counted(words, at, bucket) == (0, 0)
