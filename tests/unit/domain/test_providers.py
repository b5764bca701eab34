"""From a provider, a model and a key to what a gateway reaches."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import snapshot
from modelyard.domain.providers.addresses import base_url, origin_of, path_of, problem_with
from modelyard.domain.providers.endpoints import Provider, credentials, endpoint, labels
from modelyard.domain.providers.kinds import KINDS, Upstream
from modelyard.domain.snapshot import Endpoint, Revision, Service, Snapshot
from modelyard.lib.digests import of_bytes

CHAT = "/v1/chat/completions"


def made(kind: str, url: str = "", model: str = "m", api_version: str = "") -> Endpoint:
    known = KINDS[kind]
    provider = Provider("p", kind, base_url(known, url), known.dialects, known.headers, api_version)
    return endpoint("bot/p/0", provider, model, "secret", 0.5)


@pytest.mark.parametrize(
    ("kind", "url", "api_version", "route", "path"),
    [
        ("openai", "", "", CHAT, CHAT),
        ("openai", "", "", "/v1/responses", "/v1/responses"),
        ("anthropic", "", "", "/v1/messages", "/v1/messages"),
        ("anthropic", "https://h/a", "", "/v1/messages", "/a/v1/messages"),
        ("azure", "https://h", "", CHAT, "/openai/v1/chat/completions"),
        ("azure", "https://h", "v1", "/v1/responses", "/openai/v1/responses"),
        ("azure", "https://h", "preview", CHAT,
         "/openai/v1/chat/completions?api-version=preview"),
        ("azure", "https://h", "2024-10-21", CHAT,
         "/openai/deployments/gpt%2F4o/chat/completions?api-version=2024-10-21"),
        ("azure", "https://h/x/openai", "2025-01-01-preview", "/v1/embeddings",
         "/x/openai/deployments/gpt%2F4o/embeddings?api-version=2025-01-01-preview"),
        ("azure", "https://h", "2024-10-21", "/v1/models",
         "/openai/models?api-version=2024-10-21"),
        ("gemini", "", "", CHAT, "/v1beta/openai/chat/completions"),
        ("gemini", "", "", "/v1/embeddings", "/v1beta/openai/embeddings"),
        ("openrouter", "", "", "/v1/responses", "/api/v1/responses"),
        ("deepseek", "", "", CHAT, "/chat/completions"),
        ("groq", "", "", "/v1/models", "/openai/v1/models"),
        ("compatible", "http://h/api/paas/v4", "", CHAT, "/api/paas/v4/chat/completions"),
        ("ollama", "", "", "/v1/messages", "/v1/messages"),
    ],
)  # fmt: skip
def test_the_path_of_a_route_at_each_kind(
    kind: str, url: str, api_version: str, route: str, path: str
) -> None:
    one = made(kind, url, "gpt/4o", api_version)
    assert path_of(one.url, one.paths, route) == path


def test_an_endpoint_carries_what_its_kind_knows() -> None:
    anthropic = made("anthropic")
    assert (anthropic.auth, anthropic.dialects) == ("x-api-key", ("messages", "count_tokens"))
    assert anthropic.headers == (("anthropic-version", "2023-06-01"),)
    assert (anthropic.provider, anthropic.provider_kind) == ("p", "anthropic")
    assert (anthropic.upstream_model, anthropic.weight) == ("m", 0.5)
    assert anthropic.paths == {}
    assert made("azure", "https://h").auth == "api-key"
    assert made("openai").max_tokens_name == "max_completion_tokens"
    assert made("mistral").max_tokens_name == "max_tokens"
    assert made("vllm", "http://h").dialects == ("chat", "responses", "messages")


def test_each_way_to_show_a_key() -> None:
    assert credentials("bearer", "k") == ("Authorization", "Bearer k")
    assert credentials("x-api-key", "k") == ("X-Api-Key", "k")
    assert credentials("api-key", "k") == ("Api-Key", "k")


def test_labels_stay_when_others_are_added() -> None:
    upstreams = [Upstream("a", "x"), Upstream("b", "x"), Upstream("a", "y"), Upstream("a", "z")]
    assert labels(upstreams) == ["a", "b", "a:2", "a:3"]
    assert labels(upstreams[:2]) == ["a", "b"]


@given(st.text())
def test_no_text_breaks_the_check_of_a_url(text: str) -> None:
    if not problem_with(text):
        assert problem_with(base_url(KINDS["openai"], text)) == ""
        assert origin_of(text).startswith(("http://", "https://"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://Host/v1", "https://host:443/other"),
        ("http://host", "http://HOST:80"),
        ("http://[::1]:8000/", "http://[::1]:8000/v1"),
    ],
)
def test_the_same_place_is_the_same_origin(one: str, other: str) -> None:
    assert origin_of(one) == origin_of(other)


def test_other_places_are_other_origins() -> None:
    urls = ("https://h", "http://h", "https://h:8443", "https://h.evil.test", "https://evil.test/h")
    assert len({origin_of(url) for url in urls}) == len(urls)


# --- the snapshot ------------------------------------------------------------------------------


def test_a_snapshot_of_an_older_version_is_read_with_the_defaults() -> None:
    class OldEndpoint(msgspec.Struct, kw_only=True):
        id: str
        url: str
        api_key: str = ""
        slots: int = 0

    class OldRevision(msgspec.Struct, kw_only=True):
        id: str
        endpoints: tuple[OldEndpoint, ...] = ()

    class OldService(msgspec.Struct, kw_only=True):
        tenant: str
        name: str
        revision: OldRevision

    class Old(msgspec.Struct, kw_only=True):
        epoch: str = "e"
        generation: int = 7
        created_at_us: int = 1
        services: tuple[OldService, ...] = ()
        sha256: str = ""

    revision = OldRevision(id="r", endpoints=(OldEndpoint(id="a", url="http://h/v1"),))
    old = Old(services=(OldService(tenant="t", name="bot", revision=revision),))
    old.sha256 = of_bytes(msgspec.json.encode(old))
    read = snapshot.decode(msgspec.json.encode(old))
    assert read.services[0].revision.endpoints == (Endpoint(id="a", url="http://h/v1"),)
    with pytest.raises(ValueError, match="checksum"):
        snapshot.decode(msgspec.json.encode(old).replace(b"http://h/v1", b"http://evil/v1"))


def test_what_is_new_of_an_endpoint_travels() -> None:
    one = made("azure", "https://h", "gpt", "2024-10-21")
    revision = Revision(id="r", endpoints=(one, made("anthropic")))
    whole = snapshot.seal(
        Snapshot(
            epoch="e",
            generation=1,
            created_at_us=1,
            services=(Service(tenant="t", name="bot", revision=revision),),
        )
    )
    assert snapshot.decode(snapshot.encode(whole)) == whole
