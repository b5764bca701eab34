"""Logins of the pages: one-time links, and signed cookies that hold no more than a key's id."""

import hashlib
import hmac
import secrets
from typing import NamedTuple

COOKIE = "modelyard_session"
SESSION_US = 7 * 24 * 3600 * 1_000_000
LINK_US = 10 * 60 * 1_000_000
MAX_LINKS = 1000


class Session(NamedTuple):
    """Whom a cookie or link stands for: a key, whose validity is checked at each request."""

    tenant: str
    key_id: str
    expires_at_us: int


class Sessions:
    """`secret` signs the cookies. Links live in memory and work once."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._links: dict[str, Session] = {}

    def make_link(self, tenant: str, key_id: str, now_us: int) -> str:
        """A token for `/login?token=`, good once and for ten minutes."""
        self._links = {
            token: link for token, link in self._links.items() if link.expires_at_us > now_us
        }
        while len(self._links) >= MAX_LINKS:
            del self._links[next(iter(self._links))]
        token = secrets.token_urlsafe(32)
        self._links[token] = Session(tenant, key_id, now_us + LINK_US)
        return token

    def use_link(self, token: str, now_us: int) -> Session | None:
        """Whom the link was made for; None when it is unknown, used or too old."""
        link = self._links.pop(token, None)
        return link if link is not None and link.expires_at_us > now_us else None

    def cookie(self, tenant: str, key_id: str, now_us: int) -> str:
        """The value of a fresh cookie."""
        text = f"{tenant}|{key_id}|{now_us + SESSION_US}"
        return f"{text}|{self._sign(text)}"

    def read(self, cookie: str, now_us: int) -> Session | None:
        """The session of a cookie; None when it was not made here or has expired."""
        text, _, signature = cookie.rpartition("|")
        if not hmac.compare_digest(self._sign(text).encode(), signature.encode()):
            return None
        tenant, key_id, expires = text.split("|")
        session = Session(tenant, key_id, int(expires))
        return session if session.expires_at_us > now_us else None

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
