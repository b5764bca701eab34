"""What the caches say and keep, by virtual time."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.caching.semantic import vector
from modelyard.domain.snapshot import Cache, SemanticCache
from modelyard.errors import Upstream
from modelyard.gateway.cache import AnswerCache, Lookup, StreamCopy
from modelyard.gateway.dialects import embeddings
from modelyard.gateway.render import as_stream
from modelyard.testing.echo.embeddings import answer as echo_embeddings

EXACT = Cache(ttl_s=60.0)
SEMANTIC = Cache(semantic=SemanticCache(service="embed", threshold=0.3, ttl_s=600.0))
ANSWER = json.dumps(
    {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    },
    separators=(",", ":"),
).encode()


def ask(
    cache: AnswerCache, text: str = "how are you", *, rules: Cache = EXACT, tenant: str = "acme",
    versions: tuple[str, ...] = ("rev-1",), control: bytes = b"", now_s: float = 0.0, **more: Any,
) -> Lookup:  # fmt: skip
    messages = [{"role": "user", "content": text}]
    body = json.dumps({"model": "m", "temperature": 0, "messages": messages, **more}).encode()
    found = cache.look_up(
        rules, tenant=tenant, route="/v1/chat/completions", versions=versions, body=body,
        cache_control=control, now_s=now_s,
    )  # fmt: skip
    assert found is not None
    return found


def embed(cache: AnswerCache, found: Lookup, now_s: float = 0.0) -> bool:
    """What the gateway does between a miss and the call."""
    request = json.loads(embeddings.request_for("embed", found.text))
    given = embeddings.vector_of(json.dumps(echo_embeddings(request)).encode())
    return cache.find_similar(found, given, now_s)


def filled(**more: Any) -> AnswerCache:
    cache = AnswerCache(1024 * 1024)
    found = ask(cache, **more)
    assert (found.mark, found.joins, found.keeps) == ("miss", True, True)
    assert cache.keep(found, 200, ANSWER, 0.0) == ""
    return cache


def test_the_same_question_has_the_same_answer_for_a_while() -> None:
    cache = filled()
    for now_s, mark in ((59.9, "hit"), (60.0, "miss")):
        found = ask(cache, now_s=now_s, stream=True)
        assert (found.mark, found.answer) == (mark, ANSWER if mark == "hit" else b"")


@given(st.text(max_size=3), st.text(max_size=3))
def test_never_across_tenants_or_versions(tenant: str, version: str) -> None:
    cache = filled(tenant="acme", versions=("rev-1",))
    same = tenant == "acme" and version == "rev-1"
    assert ask(cache, tenant=tenant, versions=(version,)).mark == ("hit" if same else "miss")
    assert ask(cache, tenant=tenant).mark == ("hit" if tenant == "acme" else "miss")


def test_another_route_is_another_question() -> None:
    cache = filled()
    body = b'{"model":"m","temperature":0,"messages":[{"role":"user","content":"how are you"}]}'
    for route, mark in (("/v1/chat/completions", "hit"), ("/v1/completions", "miss")):
        found = cache.look_up(
            EXACT, tenant="acme", route=route, versions=("rev-1",), body=body, cache_control=b"",
            now_s=0.0,
        )  # fmt: skip
        assert found is not None
        assert found.mark == mark


@pytest.mark.parametrize(
    ("more", "reason", "keeps"),
    [
        ({"control": b"no-cache"}, "no_cache", True),
        ({"control": b"no-store"}, "no_store", False),
        ({"n": 2}, "several_choices", False),
        ({"temperature": 0.8, "rules": Cache(ttl_s=60.0, max_temperature=0.5)}, "temperature",
         False),
        ({"temperature": 0.8, "rules": SEMANTIC}, "not_comparable", False),
        ({"seed": 10**5000, "rules": EXACT}, "not_readable", False),
    ],
)  # fmt: skip
def test_what_goes_past_the_cache(more: dict[str, Any], reason: str, keeps: bool) -> None:
    cache = filled()
    if more.get("seed"):
        body = b'{"model":"m","seed":%b}' % (b"1" * 5000)
        found = cache.look_up(
            EXACT, tenant="acme", route="r", versions=(), body=body, cache_control=b"", now_s=0.0
        )
        assert found is not None
    else:
        found = ask(cache, **more)
    assert (found.mark, found.reason, found.keeps) == ("bypass", reason, keeps)
    assert not found.joins
    assert not found.answer


def test_no_cache_renews_what_is_kept() -> None:
    cache = filled()
    newer = ANSWER.replace(b"hello", b"good day")
    assert cache.keep(ask(cache, control=b"no-cache"), 200, newer, 5.0) == ""
    assert ask(cache, now_s=6.0).answer == newer
    assert cache.keep(ask(cache, control=b"no-store"), 200, ANSWER, 7.0) == "no_store"
    assert ask(cache, now_s=8.0).answer == newer


def test_a_service_without_a_cache_is_not_looked_up() -> None:
    nothing = AnswerCache(1024).look_up(
        Cache(), tenant="t", route="r", versions=(), body=b"{}", cache_control=b"", now_s=0.0
    )
    assert nothing is None


def test_what_is_not_worth_it_is_not_kept() -> None:
    cache = AnswerCache(1024 * 1024)
    cut = ANSWER.replace(b'"stop"', b'"length"')
    assert cache.keep(ask(cache), 200, cut, 0.0) == "not_finished"
    assert cache.keep(ask(cache), 500, ANSWER, 0.0) == "status"
    assert ask(cache).mark == "miss"
    assert cache.size_bytes == 0


# --- by meaning ------------------------------------------------------------------------------


def filled_by_meaning() -> AnswerCache:
    cache = AnswerCache(1024 * 1024)
    found = ask(cache, "how do I reset my password", rules=SEMANTIC)
    assert not embed(cache, found)
    assert cache.keep(found, 200, ANSWER, 0.0) == ""
    return cache


@pytest.mark.parametrize(
    ("text", "more", "hit"),
    [
        ("How do I reset my password?", {}, True),
        ("how do I reset the password", {}, True),
        ("when do you open", {}, False),
        ("how do I reset my password 2", {}, False),
        ("How do I reset my password?", {"tenant": "other"}, False),
        ("How do I reset my password?", {"versions": ("rev-2",)}, False),
        ("How do I reset my password?", {"max_tokens": 5}, False),
        ("How do I reset my password?", {"now_s": 600.0}, False),
    ],
)
def test_a_question_that_means_the_same(text: str, more: dict[str, Any], hit: bool) -> None:
    cache = filled_by_meaning()
    found = ask(cache, text, rules=SEMANTIC, **more)
    assert found.mark == "miss"
    assert embed(cache, found, more.get("now_s", 0.0)) is hit
    assert (found.mark, found.answer) == (("hit", ANSWER) if hit else ("miss", b""))
    assert (found.distance is not None) is hit


def test_the_same_words_need_no_embedding() -> None:
    found = ask(filled_by_meaning(), "how do I reset my password", rules=SEMANTIC, now_s=599.0)
    assert (found.mark, found.answer) == ("hit", ANSWER)


def test_an_answer_that_was_pushed_out_is_no_hit() -> None:
    cache = AnswerCache(64 * 1024)
    found = ask(cache, "how do I reset my password", rules=SEMANTIC)
    embed(cache, found)
    cache.keep(found, 200, ANSWER, 0.0)
    for number in range(200):
        cache.keep(ask(cache, str(number)), 200, ANSWER, 0.0)
    found = ask(cache, "How do I reset my password?", rules=SEMANTIC)
    assert not embed(cache, found)
    assert found.mark == "miss"


@pytest.mark.parametrize(
    "text", [b"", b"{}", b'{"data":[]}', b'{"data":[{"embedding":[]}]}',
             b'{"data":[{"embedding":[0,0]}]}', b'{"data":[{"embedding":"%%%"}]}',
             b'{"data":[{"embedding":"AAA="}]}', b'{"data":[{"embedding":["a"]}]}']
)  # fmt: skip
def test_an_unreadable_embedding_says_so(text: bytes) -> None:
    with pytest.raises(Upstream, match="embedding cannot be read"):
        embeddings.vector_of(text)


def test_both_encodings_of_an_embedding() -> None:
    vectors = [
        embeddings.vector_of(
            json.dumps(echo_embeddings({"input": "one two", "encoding_format": form})).encode()
        )
        for form in ("float", "base64")
    ]
    assert vectors[0].values == pytest.approx(vectors[1].values)
    assert vectors[0].signs == vectors[1].signs == vector(vectors[0].values).signs


# --- from a stream ---------------------------------------------------------------------------


@given(st.integers(1, 400))
def test_a_stream_is_kept_whole_however_it_is_cut(size: int) -> None:
    stream = as_stream(ANSWER, include_usage=True)
    copy = StreamCopy()
    for at in range(0, len(stream), size):
        assert copy.whole() is None
        copy.feed(stream[at : at + size])
    assert json.loads(copy.whole() or b"null") == json.loads(ANSWER)


@pytest.mark.parametrize(
    "stream",
    [b"", b"data: {not json\n\ndata: [DONE]\n\n", b'data: {"choices":[5]}\n\ndata: [DONE]\n\n',
     b'data: {"choices":[{"delta":"x"}]}\n\ndata: [DONE]\n\n', b'data: {"choices":[]}\n\n'],
)  # fmt: skip
def test_a_stream_without_a_proper_end_is_not_kept(stream: bytes) -> None:
    copy = StreamCopy()
    copy.feed(stream)
    copy.feed(b"")
    assert copy.whole() is None


def test_an_endless_stream_is_let_go() -> None:
    copy = StreamCopy()
    for _ in range(65):
        copy.feed(b": " + b"x" * 1024 * 1024 + b"\n\n")
    copy.feed(as_stream(ANSWER, include_usage=True))
    assert copy.whole() is None
