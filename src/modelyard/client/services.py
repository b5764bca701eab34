"""Services and other documents; waiting until they are ready."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelyard.client.calls import VersionCalls, quoted
from modelyard.errors import TimedOut, Unavailable

GATEWAYS_S = 5.0
"""How long a ready service waits for gateways that do not follow."""


def _next_step(service: str, status: Mapping[str, Any]) -> str:
    """What to look at when a service is not ready."""
    if status.get("engine") == "provider":
        return "modelyard providers list; modelyard providers test NAME says what is wrong"
    if status["phase"] == "invalid" or status.get("engine") == "openai":
        return f"correct its document and apply it again; modelyard get services {service} -o yaml"
    return f"modelyard services logs {service} shows what its replicas wrote"


def _verdict(status: Mapping[str, Any]) -> tuple[str, str]:
    """The phase and message of a service, and once it is ready those of its canary."""
    canary = status.get("canary")
    if status["phase"] != "ready" or not canary or canary["phase"] in ("ready", "same"):
        return status["phase"], status["message"]
    return canary["phase"], f"canary: {canary['message']}"


class ServiceCalls(VersionCalls):
    """Documents are plain mappings."""

    def apply(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Store a document: `{kind, name, changed, generation}`."""
        return self._connection.call("POST", "/api/apply", json=document)

    def apply_all(self, documents: Sequence[Any]) -> list[dict[str, Any]]:
        """Store documents that may name each other: all of them or none."""
        body = {"documents": list(documents)}
        return list(self._connection.call("POST", "/api/apply", json=body)["applied"])

    def services(self) -> list[dict[str, Any]]:
        """All services: `{document, status, generation}`."""
        return list(self._connection.call("GET", "/api/services")["services"])

    def service(self, name: str) -> dict[str, Any]:
        """One service."""
        return self._connection.call("GET", f"/api/services/{quoted(name)}")

    def gateways(self) -> dict[str, Any]:
        """`{generation, gateways}`: which snapshot each gateway process serves from."""
        return self._connection.call("GET", "/api/gateways")

    def delete_service(self, name: str, force: bool = False) -> dict[str, Any]:
        """Remove a service. Raises Conflict when other documents name it, unless `force`."""
        path = f"/api/services/{quoted(name)}"
        return self._connection.call("DELETE", path, params={"force": force})

    def logs(self, service: str, replica: str, lines: int = 100) -> list[str]:
        """The end of a replica's output."""
        path = f"/api/services/{quoted(service)}/replicas/{quoted(replica)}/logs"
        return list(self._connection.call("GET", path, params={"lines": lines})["lines"])

    def wait_ready(
        self,
        service: str,
        timeout_s: float = 120.0,
        on_change: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> dict[str, Any]:
        """The service once what its document says is ready, and the gateways know it; a moved alias
        counts, too.

        Raises Unavailable with the reason when it failed or is invalid, TimedOut.
        """
        deadline_s = time.monotonic() + timeout_s
        last: Any = None
        while True:
            found = self.service(service)
            status = found["status"] or {}
            if status != last:
                last = status
                on_change(found)
            if status.get("generation") == found["generation"] and self._runs_wanted(found):
                phase, message = _verdict(status)
                if phase == "ready":
                    self._wait_for_gateways(min(deadline_s, time.monotonic() + GATEWAYS_S))
                    return found
                if phase in ("failed", "invalid"):
                    raise Unavailable(
                        f"service {service} is {phase}: {message}",
                        hint=_next_step(service, status),
                    )
            if time.monotonic() > deadline_s:
                text = status.get("message") or "the reconciler has not seen it yet"
                raise TimedOut(f"service {service} is not ready after {timeout_s:g} s: {text}")
            time.sleep(0.15)

    def _wait_for_gateways(self, deadline_s: float) -> None:
        """Until every gateway process serves from what is stored now. One that does not answer is
        not waited for beyond the deadline: the service is ready all the same."""
        wanted = self.gateways()["generation"]
        while any(one["generation"] < wanted for one in self.gateways()["gateways"]):
            if time.monotonic() > deadline_s:
                return
            time.sleep(0.02)

    def _runs_wanted(self, found: Mapping[str, Any]) -> bool:
        """Whether the status speaks of the versions that the document's references mean now. An
        alias moves without a change of the document."""
        spec, status = found["document"]["spec"], found["status"]
        own = spec.get("model") or ""
        canary = status.get("canary")
        second = (spec.get("canary") or {}).get("model")
        return self._is_wanted(own, status) and (
            canary is None or self._is_wanted(own if second is None else second, canary)
        )

    def _is_wanted(self, reference: str, status: Mapping[str, Any]) -> bool:
        if not reference or status["phase"] in ("failed", "invalid"):
            return True
        wanted = self.version(reference)
        return bool(status["model_version"] == f"{wanted['name']}:{wanted['version']}")
