"""The process target as other processes reach it: through their channel to the supervisor."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from modelyard.lib.channel import Channel
from modelyard.ports.engine import LaunchSpec, ReplicaState, Target


class ChannelTarget:
    """Implements Target by calls."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def apply(self, revision: str, spec: LaunchSpec, replicas: int) -> None:
        """See the port."""
        plain = msgspec.to_builtins(spec)
        self._channel.call("apply", {"revision": revision, "spec": plain, "replicas": replicas})

    def replicas(self) -> Sequence[ReplicaState]:
        """See the port."""
        return msgspec.convert(self._channel.call("replicas", {}), list[ReplicaState])

    def delete(self, revision: str) -> None:
        """See the port."""
        self._channel.call("delete", {"revision": revision})

    def logs(self, replica: str, lines: int) -> Sequence[str]:
        """See the port."""
        return msgspec.convert(
            self._channel.call("logs", {"replica": replica, "lines": lines}), list[str]
        )


def handlers(target: Target) -> Mapping[str, Callable[..., Any]]:
    """The answering side: what `lib.channel.serve` needs."""

    def apply(revision: str, spec: Any, replicas: int) -> None:
        target.apply(revision, msgspec.convert(spec, LaunchSpec), replicas)

    return {
        "apply": apply,
        "replicas": lambda: msgspec.to_builtins(target.replicas()),
        "delete": target.delete,
        "logs": target.logs,
    }
