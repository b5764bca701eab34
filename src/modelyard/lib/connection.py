"""A connection to a control plane: addresses checked, errors rebuilt into our own classes."""

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from modelyard.errors import (
    ERRORS,
    Conflict,
    Invalid,
    Limited,
    ModelyardError,
    TimedOut,
    Unavailable,
)
from modelyard.lib.tls import calling


class Connection:
    """To one platform with one key. Not for several threads at once."""

    def __init__(self, url: str, key: str, timeout_s: float, certificate: str) -> None:
        """Raises Invalid for what is no address or no key."""
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=_checked(self.url),
            headers=_authorization(key.strip()),
            timeout=timeout_s,
            trust_env=not is_local(self.url),
            verify=calling(certificate) or True,
        )

    def close(self) -> None:
        """Close what is open."""
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """One call, its answer as a dictionary. Raises the platform's error, Unavailable when
        none answers, TimedOut."""
        try:
            with _reached(self.url):
                answer = self._http.request(method, path, **options)
        except ValueError as error:
            raise Invalid(
                f"this cannot be sent: {error}", hint="numbers must be finite: no nan, no inf"
            ) from None
        if answer.status_code >= 400:
            raise _rebuilt(answer)
        try:
            return dict(answer.json())
        except ValueError:
            raise Unavailable(
                f"{self.url} is no Modelyard control plane", hint="check MODELYARD_URL"
            ) from None

    @contextlib.contextmanager
    def stream(self, path: str) -> Iterator[httpx.Response]:
        """An answer to be read piece by piece. Raises like `call`, also while it is read."""
        with _reached(self.url), self._http.stream("GET", path) as answer:
            if answer.status_code >= 400:
                answer.read()
                raise _rebuilt(answer)
            yield answer


@contextlib.contextmanager
def _reached(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise TimedOut(f"no answer from {url} in time") from error
    except httpx.LocalProtocolError as error:
        raise Conflict(
            f"what was to be sent changed meanwhile: {error}", hint="try again"
        ) from error
    except httpx.TransportError as error:
        raise Unavailable(
            f"no platform answers at {url}",
            hint="start one with `modelyard up`, or set MODELYARD_URL or --data",
        ) from error


def _rebuilt(answer: httpx.Response) -> ModelyardError:
    try:
        detail = answer.json()["error"]
        kind = ERRORS.get(detail["kind"], ModelyardError)
        if kind is Limited:
            wait_s = float(answer.headers.get("retry-after", 1))
            return Limited(detail["message"], retry_after_s=wait_s, hint=detail["hint"])
        return kind(detail["message"], hint=detail["hint"], code=detail["code"])
    except (ValueError, KeyError, TypeError):
        text = answer.text[:200]
        return Unavailable(f"{answer.url.host} answered {answer.status_code}: {text}")


def is_local(url: str) -> bool:
    """Whether it names this machine: no proxy of the environment stands before it, and no
    `.netrc` replaces its key."""
    name = urlsplit(url).hostname or ""
    return name in ("localhost", "::1") or name.startswith("127.")


def _authorization(key: str) -> dict[str, str]:
    if not (key.isascii() and key.isprintable()):
        raise Invalid("the key holds characters that no key has", hint="check MODELYARD_API_KEY")
    return {"authorization": f"Bearer {key}"} if key else {}


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Invalid(f"{url!r} is no URL: {error}", hint="check MODELYARD_URL") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Invalid(f"{url!r} is no address", hint="write it as http://HOST:PORT")
    return parsed
