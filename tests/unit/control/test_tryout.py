"""What is said of a provider that was tried out: each failure in words, and no key in any."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.stand_in import StandIn, stand_in

from modelyard.control import tryout
from modelyard.control.providers import Tried
from modelyard.domain.providers.addresses import base_url
from modelyard.domain.providers.endpoints import Provider
from modelyard.domain.providers.endpoints import endpoint as made
from modelyard.domain.providers.kinds import KINDS
from modelyard.domain.snapshot import Endpoint

pytestmark = pytest.mark.anyio
SECRET = "sk-very-secret"


def endpoint(url: str, kind: str = "openai", model: str = "", version: str = "") -> Endpoint:
    known = KINDS[kind]
    provider = Provider("p", kind, base_url(known, url), known.dialects, known.headers, version)
    return made("p/0", provider, model, SECRET)


async def tried(one: Endpoint, timeout_s: float = 5.0) -> Tried:
    (found,) = await tryout.try_out([one], timeout_s)
    assert SECRET not in found.said
    assert found.latency_us > 0
    return found


@pytest.fixture
def there() -> Iterator[StandIn]:
    with stand_in("openai", None, SECRET) as one:
        yield one


async def test_a_key_that_is_accepted(there: StandIn) -> None:
    found = await tried(endpoint(there.url))
    assert (found.ok, found.said, found.models) == (True, "it lists 1 model", ("m",))
    (call,) = there.calls
    assert (call.method, call.target, call.key) == ("GET", "/v1/models", SECRET)


@pytest.mark.parametrize(
    ("kind", "base", "version", "target"),
    [
        ("anthropic", "/v1", "", "/v1/models"),
        ("azure", "/openai/v1", "", "/openai/v1/models"),
        ("azure", "/openai/v1", "2024-10-21", "/openai/models?api-version=2024-10-21"),
        ("gemini", "/v1beta/openai", "", "/v1beta/openai/models"),
        ("deepseek", "", "", "/models"),
        ("ollama", "/v1", "", "/v1/models"),
    ],
)
async def test_each_kind_is_asked_where_it_lists_its_models(
    kind: str, base: str, version: str, target: str
) -> None:
    with stand_in(kind, base, SECRET) as there:
        found = await tried(endpoint(there.url, kind, version=version))
    assert found.ok, found.said
    assert there.calls[0].target == target


async def test_a_provider_that_lists_to_anybody_is_asked_for_the_key_itself() -> None:
    with stand_in("openrouter", None, SECRET) as there:
        assert (await tried(endpoint(there.url, "openrouter"))).ok
        assert [call.target for call in there.calls] == ["/api/v1/key", "/api/v1/models"]
        there.keys = {"another"}
        assert not (await tried(endpoint(there.url, "openrouter"))).ok


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "the provider refuses the key (401)"),
        (403, "the key may not do this (403)"),
        (404, "there is nothing at"),
        (405, "is spec.url right?"),
        (418, "the provider answered 418"),
        (429, "too many requests, or nothing left on the account (429)"),
        (500, "the provider fails (500); try again later"),
        (529, "the provider fails (529)"),
    ],
)
async def test_statuses(there: StandIn, status: int, said: str) -> None:
    there.answers = lambda call: (status, {}, {"error": f"your key {call.key} is bad"})
    found = await tried(endpoint(there.url))
    assert (found.ok, found.status) == (False, status)
    assert said in found.said


async def test_a_redirect_is_told_and_the_key_goes_nowhere(there: StandIn) -> None:
    with stand_in("openai", None) as elsewhere:
        there.answers = lambda _: (302, {"Location": f"{elsewhere.url}/models?k=1"}, "")
        found = await tried(endpoint(there.url))
        assert elsewhere.calls == []
    assert f"it redirects (302) to {elsewhere.origin}, which is not followed" in found.said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<html>hello</html>", "answered 200, but not with JSON: is spec.url right?"),
        ("[" * 100_000, "answered 200, but not with JSON"),
        ('{"models": []}', "answered 200, but with no list of models"),
        ("[]", "answered 200, but with no list of models"),
        ('{"data": [{"id": 7}, 8, {"id": "x"}]}', "it lists 1 model"),
    ],
)
async def test_what_is_no_list_of_models(there: StandIn, body: str, said: str) -> None:
    there.answers = lambda _: (200, {}, body)
    assert said in (await tried(endpoint(there.url))).said


async def test_a_provider_without_a_list_is_asked_for_one_token(there: StandIn) -> None:
    there.models = None
    assert "there is nothing at" in (await tried(endpoint(there.url))).said, "no model is known"
    found = await tried(endpoint(there.url, model="gpt-x"))
    assert (found.ok, found.said) == (True, "it lists no models, and gpt-x answers")
    asked = there.calls[-1]
    assert (asked.method, asked.target) == ("POST", "/v1/chat/completions")
    assert asked.body["max_completion_tokens"] == 1
    with stand_in("anthropic", None, SECRET) as other:
        other.models = None
        assert (await tried(endpoint(other.url, "anthropic", "claude-x"))).ok
        assert other.calls[-1].target == "/v1/messages"
        assert other.calls[-1].body["max_tokens"] == 1


async def test_nothing_listens(there: StandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = await tried(endpoint(f"http://127.0.0.1:{port}"))
    assert found.said == (
        f"nothing listens at 127.0.0.1:{port} (connection refused): is spec.url right?"
    )
    assert found.status == 0


async def test_a_host_that_nobody_knows() -> None:
    found = await tried(endpoint("https://nowhere.invalid"))
    assert found.said == "the host nowhere.invalid is not known (DNS): is spec.url right?"


async def test_no_answer_in_time(there: StandIn) -> None:
    there.answers = lambda _: (0, {}, "")
    found = await tried(endpoint(there.url), 0.2)
    assert found.said.endswith("gave no answer within 0.2 s")


async def test_an_answer_that_drips_is_given_up_in_time(there: StandIn) -> None:
    """A time limit of each read alone would wait as long as something comes."""
    there.answers = lambda _: (200, {"Content-Length": "1000000"}, '{"data": [')
    assert "no answer within 0.3 s" in (await tried(endpoint(there.url), 0.3)).said


async def test_a_server_that_speaks_no_tls() -> None:
    with listening(lambda raw: raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        found = await tried(endpoint(f"https://127.0.0.1:{port}"))
    assert found.said.startswith(f"TLS with 127.0.0.1:{port} failed: ")


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    file = tmp_path / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-keyout", str(file),
         "-out", str(tmp_path / "certificate.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", file)
    return context


@pytest.mark.skipif(
    not shutil.which("openssl") and not os.environ.get("CI"), reason="needs openssl"
)
async def test_a_certificate_that_nobody_trusts(self_signed: ssl.SSLContext) -> None:
    def greet(raw: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self_signed.wrap_socket(raw, server_side=True).close()

    with listening(greet) as port:
        found = await tried(endpoint(f"https://127.0.0.1:{port}"))
    assert found.said.startswith(f"TLS with 127.0.0.1:{port} failed: self")


async def test_a_server_that_hangs_up(there: StandIn) -> None:
    def hang_up(_: object) -> None:
        raise ConnectionError

    there.answers = hang_up  # type: ignore[assignment]
    found = await tried(endpoint(there.url))
    assert "broke off the connection" in found.said or "cannot be reached" in found.said


async def test_all_keys_are_tried_at_once(there: StandIn) -> None:
    there.answers = lambda _: (0, {}, "")
    ones = [endpoint(there.url) for _ in range(5)]
    found = await tryout.try_out(ones, 0.3)
    assert [one.ok for one in found] == [False] * 5
    assert all(one.latency_us < 1_200_000 for one in found)


async def test_the_models_of_a_provider(there: StandIn) -> None:
    there.models = ["b", "a"]
    assert (await tryout.list_models(endpoint(there.url))).models == ("b", "a")
    there.keys = {"another"}
    assert not (await tryout.list_models(endpoint(there.url))).ok


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that treats its one connection so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            raw, _ = listener.accept()
            with raw:
                raw.recv(1, socket.MSG_PEEK)
                answer(raw)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join()
