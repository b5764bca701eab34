"""AWS Signature Version 4: what makes a request to AWS one of ours. Pure; the clock is an argument.

Source: "Signature Version 4 for API requests" in AWS's IAM user guide, and AWS's published test
suite.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = "-_.~"
_UNSIGNED = frozenset({
    "authorization", "connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id",
})  # fmt: skip
"""Headers that may change on the way."""


def sign(
    *,
    method: str,
    host: str,
    path: str,
    query: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str],
    body: bytes,
    access_key: str,
    secret_key: str,
    session_token: str = "",
    region: str,
    service: str,
    now: datetime,
) -> dict[str, str]:
    """The headers to add to a request: `X-Amz-Date`, `Authorization` and, with temporary
    credentials, `X-Amz-Security-Token`.

    `path` is as it stands in the request line, escaped once where it needs escaping: it is escaped
    once more here, as all services but S3 expect. `query` is not escaped. `headers` are those that
    are sent besides; `now` knows its time zone.
    """
    time = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    added = {"X-Amz-Date": time}
    if session_token:
        added["X-Amz-Security-Token"] = session_token
    signed = _canonical_headers({**headers, **added, "host": host})
    request = "\n".join(
        (
            method.upper(),
            path or "/" if service == "s3" else quote(_normal(path), safe=f"/{_UNRESERVED}"),
            _canonical_query(query),
            *(f"{name}:{value}" for name, value in signed.items()),
            "",
            ";".join(signed),
            signed.get("x-amz-content-sha256") or _digest(body),
        )
    )
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, time, scope, _digest(request.encode())))
    key = _signing_key(secret_key, time[:8], region, service)
    added["Authorization"] = (
        f"{_ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={';'.join(signed)}, "
        f"Signature={hmac.new(key, text.encode(), 'sha256').hexdigest()}"
    )
    return added


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _signing_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for word in (day, region, service, "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    return key


def _canonical_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """In the order of their names, with one space wherever there are several."""
    found = {name.lower().strip(): " ".join(value.split()) for name, value in headers.items()}
    return {name: found[name] for name in sorted(found) if name not in _UNSIGNED}


def _canonical_query(query: Sequence[tuple[str, str]]) -> str:
    escaped = ((quote(name, safe=_UNRESERVED), quote(v, safe=_UNRESERVED)) for name, v in query)
    return "&".join(f"{name}={value}" for name, value in sorted(escaped))


def _normal(path: str) -> str:
    """Without `.`, `..` and empty segments (RFC 3986, 5.2.4)."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    is_folder = bool(kept) and path.endswith("/")
    return "/" + "/".join(kept) + ("/" if is_folder else "")
