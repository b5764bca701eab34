"""URLs of providers: the origin that a key is bound to, and the paths behind it."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from modelyard.domain.providers.kinds import Kind

_PORTS = {"http": 80, "https": 443}


def problem_with(url: str) -> str:
    """Why this cannot be the URL of a provider; empty when it can. What it says never holds the
    URL itself, which may have a password in it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        return "is no http or https URL; write it as https://HOST/v1"
    if parts.username is not None or parts.password is not None:
        return "holds a name or password; the key belongs into spec.keys"
    if parts.query or parts.fragment:
        return "ends in a query or fragment; give the base URL only"
    return ""


def origin_of(url: str) -> str:
    """`https://host` or `https://host:8443`: scheme, host and port, the same text for the same
    place (RFC 6454). Raises ValueError for what is no URL."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    name = f"[{host}]" if ":" in host else host
    port = parts.port
    shown = "" if port in (None, _PORTS.get(parts.scheme)) else f":{port}"
    return f"{parts.scheme}://{name}{shown}"


def base_url(kind: Kind, url: str) -> str:
    """What stands before `/chat/completions`, for the URL of a document, which may be empty."""
    path = urlsplit(url).path.rstrip("/")
    origin = origin_of(url) if url else kind.origin
    if not path:
        return origin + kind.base
    return origin + (_completed(path, kind.base) if kind.completes else path)


def path_of(url: str, paths: Mapping[str, str], route: str) -> str:
    """The path and query of a route path of ours at an endpoint."""
    known = paths.get(route)
    return known or urlsplit(url).path.rstrip("/").removesuffix("/v1") + route


def _completed(path: str, base: str) -> str:
    """The path with as much of the base behind it as is missing: `/x/openai` and `/openai/v1`
    make `/x/openai/v1`."""
    steps = base.split("/")
    for count in range(len(steps), 1, -1):
        begin = "/".join(steps[:count])
        if path.endswith(begin):
            return path + base.removeprefix(begin)
    return path + base
