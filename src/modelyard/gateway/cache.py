"""The caches of one gateway process: what they say to a request, and what they keep of an answer.

In memory and per process: with several gateway processes each has its own, and a restart begins
with none. The answer of a stream is kept whole and told again in either form (`render`).
"""

from modelyard.domain.caching.flights import Flights
from modelyard.domain.caching.question import Question, directives
from modelyard.domain.caching.semantic import SemanticIndex, Vector
from modelyard.domain.caching.store import FairStore
from modelyard.domain.caching.worth import MAX_ANSWER_BYTES, flaw
from modelyard.domain.snapshot import Cache
from modelyard.errors import Invalid
from modelyard.gateway.assemble import Assembler
from modelyard.lib.sse import EventSplitter

_PART_FOR_VECTORS = 4


class Lookup:
    """What the caches know of one request; made by `AnswerCache.look_up`, changed by it alone."""

    __slots__ = (
        "answer", "distance", "joins", "keeps", "key", "mark", "partition", "reason", "rules",
        "tenant", "text", "vector",
    )  # fmt: skip

    def __init__(self, rules: Cache, tenant: str) -> None:
        self.rules = rules
        self.tenant = tenant
        self.mark = "bypass"
        """The value of `x-modelyard-cache`: `hit`, `miss` or `bypass`."""
        self.reason = ""
        """Why it is bypassed."""
        self.answer = b""
        """The whole answer of a hit."""
        self.distance: float | None = None
        """Of a hit by meaning."""
        self.key = b""
        self.keeps = False
        """Whether its answer is worth collecting for `keep`."""
        self.joins = False
        """Whether it takes part in single flight, under `key`."""
        self.text = ""
        """What is to be embedded before upstream is called; empty when nothing is."""
        self.partition = b""
        self.vector: Vector | None = None


class AnswerCache:
    """Exact answers, answers by meaning, and flights. Times are monotonic, in seconds."""

    def __init__(self, max_bytes: int) -> None:
        vectors = max_bytes // _PART_FOR_VECTORS
        self._answers: FairStore[bytes] = FairStore(max_bytes - vectors)
        self._meanings = SemanticIndex(vectors)
        self.flights: Flights[bytes] = Flights()

    @property
    def size_bytes(self) -> int:
        """Memory in use, about."""
        return self._answers.size_bytes + self._meanings.size_bytes

    def look_up(
        self, rules: Cache, *, tenant: str, route: str, versions: tuple[str, ...], body: bytes,
        cache_control: bytes, now_s: float,
    ) -> Lookup | None:  # fmt: skip
        """What is known of this request; None when its service caches nothing.

        `versions` are all that could change the answer beside the body: revision, model digest,
        prompt version, and the revision of the embedding service where there is one.
        """
        if rules.ttl_s <= 0 and rules.semantic is None:
            return None
        found = Lookup(rules, tenant)
        wish = directives(cache_control)
        if not wish.keep:
            found.reason = "no_store"
            return found
        try:
            question = Question(body)
        except ValueError:
            found.reason = "not_readable"
            return found
        self._identify(found, question, (route, *versions))
        if not found.keeps:
            return found
        if not wish.answer:
            found.reason = "no_cache"
            return found
        found.mark, found.joins = "miss", True
        entry = self._answers.get(tenant, found.key, now_s, _ttl_s(found))
        if entry is not None:
            found.mark, found.answer = "hit", entry.value
        return found

    def find_similar(self, found: Lookup, vector: Vector, now_s: float) -> bool:
        """After the embedding of `found.text` has come: whether a kept answer is near enough."""
        rules = found.rules.semantic
        assert rules is not None
        found.vector = vector
        near = self._meanings.find(
            found.tenant, found.partition, vector, rules.threshold, now_s, rules.ttl_s
        )
        if near is None:
            return False
        entry = self._answers.get(found.tenant, near.answer_key, now_s, rules.ttl_s)
        if entry is None:
            self._meanings.forget(found.tenant, found.partition, near.answer_key, now_s)
            return False
        found.mark, found.answer, found.distance = "hit", entry.value, near.distance
        return True

    def keep(self, found: Lookup, status: int, answer: bytes, now_s: float) -> str:
        """Keep the answer if it is worth it; why not, or empty."""
        reason = flaw(status, answer)
        if reason or not found.keeps:
            return reason or found.reason
        stored = self._answers.put(
            found.tenant, found.key, answer, len(answer), now_s, _ttl_s(found)
        )
        if not stored:
            return "too_large"
        if found.vector is not None and found.rules.semantic is not None:
            self._meanings.add(
                found.tenant, found.partition, found.vector, found.key, now_s,
                found.rules.semantic.ttl_s,
            )  # fmt: skip
        return ""

    def _identify(self, found: Lookup, question: Question, versions: tuple[str, ...]) -> None:
        """Its key, and its meaning where that is compared."""
        semantic = found.rules.semantic
        meaning = question.meaning(semantic.max_temperature) if semantic is not None else None
        exact = found.rules.ttl_s > 0 and not question.refusal(found.rules.max_temperature)
        if not exact and meaning is None:
            found.reason = question.refusal(found.rules.max_temperature) or "not_comparable"
            return
        found.keeps = True
        found.key = question.exact_key(versions, found.tenant)
        if meaning is not None:
            found.text = meaning.text
            found.partition = meaning.partition(versions, found.tenant)


def _ttl_s(found: Lookup) -> float:
    """The same words have the same meaning, so an exact hit may be as old as one by meaning."""
    semantic = found.rules.semantic
    by_meaning = semantic.ttl_s if semantic is not None and found.partition else 0.0
    return max(found.rules.ttl_s, by_meaning)


class StreamCopy:
    """Puts the whole answer together from the bytes of an upstream's stream, as they pass."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._assembler: Assembler | None = Assembler()
        self._size_bytes = 0
        self._done = False

    def feed(self, data: bytes) -> None:
        """The next bytes, before anything is taken out of them (usage belongs to the answer)."""
        if self._assembler is None:
            return
        self._size_bytes += len(data)
        if self._size_bytes > _MAX_STREAM_BYTES:
            self._assembler = None
            return
        for _, event in self._splitter.feed(data):
            self._add(self._assembler, event)

    def whole(self) -> bytes | None:
        """The answer, once its stream came to a proper end and was not too long."""
        return self._assembler.result() if self._assembler is not None and self._done else None

    def _add(self, assembler: Assembler, event: bytes) -> None:
        if event == b"[DONE]":
            self._done = True
        elif event and not self._done:
            try:
                assembler.add(event)
            except Invalid:
                self._assembler = None  # of a shape that no engine has: it passes, unkept


_MAX_STREAM_BYTES = 64 * MAX_ANSWER_BYTES
"""Each token of a stream is wrapped in some 200 bytes of its own."""
