"""The snapshot: all that a gateway process needs to serve, as one frozen value.

Compiled by the control plane from documents and replica states, sent to the gateway whole, kept
on its disk. Encoding is JSON; `sha256` covers the canonical encoding with the field itself empty.
"""

import msgspec

from modelyard.lib.digests import of_bytes


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that speaks OpenAI, as the gateway sees it."""

    id: str
    """`<replica id>` of ours, or `<service>/<n>` of an outside upstream."""
    url: str
    """Base URL up to and including `/v1`, without a trailing slash."""
    api_key: str = ""
    """Sent as a bearer token; empty sends no Authorization."""
    upstream_model: str = ""
    """Replaces `model` in the request; empty leaves the client's."""
    cancels_without_stream: bool = True
    """Whether closing the connection of an unstreamed request stops generation. Where it does
    not, the gateway asks the engine to stream and assembles the answer."""
    slots: int = 0
    """Requests it works on at once; 0 when unknown."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-dollars per million tokens."""

    input: int = 0
    output: int = 0
    cached: int = 0


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """One resolved state of a service that runs."""

    id: str
    model: str = ""
    model_version: str = ""
    model_digest: str = ""
    engine: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    price: Price | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What clients call by name."""

    tenant: str
    name: str
    revision: Revision
    created_at_us: int = 0


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the gateway knows it: never the secret, only its HMAC."""

    id: str
    digest: str
    """Hexadecimal HMAC-SHA256 of the whole key text under the installation's pepper."""
    tenant: str
    role: str
    services: tuple[str, ...] = ()
    """Names it may call; empty means all of its tenant."""
    team: str = ""
    person: str = ""
    client: str = ""
    expires_at_us: int = 0
    """0: never."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """`epoch` changes when a backup is restored; `generation` only grows within one."""

    epoch: str
    generation: int
    created_at_us: int
    services: tuple[Service, ...] = ()
    keys: tuple[AccessKey, ...] = ()
    sha256: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Snapshot)


def seal(snapshot: Snapshot) -> Snapshot:
    """The same snapshot with its checksum filled in."""
    bare = msgspec.structs.replace(snapshot, sha256="")
    return msgspec.structs.replace(bare, sha256=of_bytes(_encoder.encode(bare)))


def encode(snapshot: Snapshot) -> bytes:
    """JSON bytes of a sealed snapshot."""
    return _encoder.encode(snapshot)


def decode(data: bytes) -> Snapshot:
    """The snapshot in `data`. Raises ValueError when it is damaged or not a snapshot."""
    snapshot = _decoder.decode(data)
    if seal(snapshot).sha256 != snapshot.sha256:
        raise ValueError("the snapshot's checksum does not match its content")
    return snapshot
