"""RecordStore: what is many. Rows of a kind, appended in batches, joined by request id."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from modelyard.domain.records import Record


class Batch(NamedTuple):
    """Records of several kinds from one source; what came from outside is checked by now
    (`domain.records.entries`).

    `source` names the process and its spool, `sequence` counts the source's records up to the
    last one of this batch: records that arrive twice are stored once. An empty source is never
    deduplicated.
    """

    source: str
    sequence: int
    records: Sequence[Record]


class Query(NamedTuple):
    """Equality filters by column, a half-open time window on `started_at_us`, newest first.

    `before_id` continues after the last row of an earlier page (rows strictly older than that
    id). A value in `where` may be a tuple: any of them. `minimum` holds lower bounds by column.
    """

    kind: str
    where: Mapping[str, Any] = {}
    minimum: Mapping[str, int] = {}
    since_us: int = 0
    until_us: int = 2**62
    before_id: str = ""
    limit: int = 100


class RecordStore(Protocol):
    """Append-only; safe for many threads of the one process that writes it."""

    def append(self, batch: Batch) -> None:
        """Store the batch durably; records seen before (those up to the source's last stored
        sequence) are skipped. A second record of kind `request` with the same request id replaces
        nothing: the first one stands. Raises Unavailable (disk full says so)."""
        ...

    def query(self, query: Query) -> list[dict[str, Any]]:
        """Matching rows, newest first by (started_at_us, request_id)."""
        ...

    def aggregate(self, query: Query, group_by: str, bucket_us: int = 0) -> list[dict[str, Any]]:
        """Per group (and per time bucket when `bucket_us`): `{group, bucket_us, requests, errors,
        tokens_input, tokens_output, cost_nano_usd, p50_us, p95_us, ttft_p50_us, ttft_p95_us}` of
        kind `request`; `group_by=""` is one group. Ignores `limit`."""
        ...

    def last_sequence(self, source: str) -> int:
        """The highest stored sequence of a source; 0 when there is none."""
        ...

    def prune(self, before_us: int) -> int:
        """Drop whole time windows that ended before that time; the number of rows dropped."""
        ...
