"""A lease with a fencing token: who holds it may change what it guards, and only while it holds.

The token is the generation of the lease's document. Every commit made under the lease renews that
document at the expected generation, in the same transaction as the work. A holder that slept
through its time and was replaced therefore cannot write any more, however late it wakes up; no
clock has to be right for that. (M. Kleppmann, "How to do distributed locking", 2016.)
"""

from collections.abc import Callable, Sequence

from modelyard.errors import Conflict
from modelyard.lib import clock
from modelyard.ports.meta import ABSENT, Change, Key, MetaStore

KIND = "Lease"
SYSTEM = "_system"
"""The tenant of what belongs to the platform itself."""
DURATION_S = 15.0


class Lease:
    """The claim of one holder on one name. A new process of the same holder takes over at once,
    another holder only when the time has run out."""

    def __init__(
        self,
        meta: MetaStore,
        name: str,
        holder: str,
        *,
        duration_s: float = DURATION_S,
        now_us: Callable[[], int] = clock.now_us,
    ) -> None:
        self._meta = meta
        self._key = Key(SYSTEM, KIND, name)
        self._holder = holder
        self._duration_us = round(duration_s * 1_000_000)
        self._now_us = now_us
        self.token = 0
        """The fencing token; 0 while the lease is not held."""

    def acquire(self) -> bool:
        """Take it if it is free, expired, or held by the same holder; whether that worked."""
        found = self._meta.get(self._key)
        held = found is not None and found.body["until_us"] > self._now_us()
        if found is not None and held and found.body["holder"] != self._holder:
            return False
        self.token = found.generation if found is not None else ABSENT
        try:
            self.commit((), self._holder, f"{self._holder} took the lease")
        except Conflict:
            return False
        return True

    def commit(self, changes: Sequence[Change], actor: str, reason: str) -> int:
        """`MetaStore.commit` that renews the lease, or does nothing at all.

        Raises Conflict with the code `lease_lost` when somebody else has taken it, and what the
        store raises.
        """
        body = {"holder": self._holder, "until_us": self._now_us() + self._duration_us}
        renewal = Change(self._key, body, self.token)
        try:
            self.token = self._meta.commit([renewal, *changes], actor, reason)
        except Conflict as error:
            found = self._meta.get(self._key)
            if (found.generation if found is not None else ABSENT) == self.token:
                raise  # one of the changes met a newer document; the lease is still ours
            self.token = ABSENT
            raise Conflict(
                f"{self._holder} has lost the lease {self._key.name}",
                hint="start this step again from what is stored now",
                code="lease_lost",
            ) from error
        return self.token
