"""The main of the reconciler process: started by the supervisor, never by hand."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping

from modelyard import app as composition
from modelyard.adapters.target.channel import ChannelTarget
from modelyard.control.leases import Lease
from modelyard.control.reconcile import ACTOR, Reconciler
from modelyard.control.upstreams import Upstreams
from modelyard.entry.asking import Asker
from modelyard.errors import Conflict, ModelyardError
from modelyard.lib import clock, lifeline
from modelyard.lib.channel import Channel
from modelyard.lib.fetch import fetch
from modelyard.ports.engine import LaunchSpec
from modelyard.ports.meta import newest
from modelyard.settings import from_json

POLL_S = 0.25
"""How often replicas are looked at; changed documents are seen at once."""
PAUSE_S = 0.5
PROBE_EVERY_S = 10.0
PROBE_TIMEOUT_S = 3.0

log = logging.getLogger(__name__)


def main() -> None:
    """Reconcile until SIGTERM."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s reconciler: %(message)s")
    lifeline.hold(int(os.environ["MODELYARD_INTERNAL_PARENT"]))
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    app = composition.build(from_json(os.environ["MODELYARD_INTERNAL_SETTINGS"]))
    channel = Channel(int(os.environ["MODELYARD_INTERNAL_CHANNEL_FD"]))
    lease = Lease(app.meta, "reconciler", ACTOR)
    while not lease.acquire():
        time.sleep(PAUSE_S)
    reconciler = Reconciler(
        app.meta,
        ChannelTarget(channel),
        resolve=app.registry.resolve,
        engine=composition.engine,
        probe=Prober(),
        upstreams=Upstreams(app.secrets),
        ask=Asker(),
        secret=app.folder.secret("engines"),
        lease=lease,
    )
    since = newest(app.meta)
    while True:
        try:
            commits = app.meta.watch(since, POLL_S)
            since = commits[-1].generation if commits else since
            reconciler.see(commits)
            reconciler.step()
        except Conflict as error:
            if error.code == "lease_lost":
                sys.exit(f"{error.message}: another reconciler has taken over")
            # somebody was faster; the next step sees what is there now
        except ModelyardError as error:
            log.warning("%s", error)
            time.sleep(PAUSE_S)


class Prober:
    """Asks outside URLs now and then whether they answer at all."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[float, dict[str, str]]] = {}

    def __call__(self, spec: LaunchSpec) -> Mapping[str, str]:
        """What is wrong, by URL; an empty answer means that all are well."""
        key = (*spec.urls, spec.api_key)
        at_s, problems = self._known.get(key, (-PROBE_EVERY_S, {}))
        if clock.monotonic_s() - at_s >= PROBE_EVERY_S:
            problems = asyncio.run(_probe(spec))
            self._known[key] = (clock.monotonic_s(), problems)
        return problems


async def _probe(spec: LaunchSpec) -> dict[str, str]:
    answers = await asyncio.gather(*(_ask(url, spec.api_key) for url in spec.urls))
    return {url: text for url, text in zip(spec.urls, answers, strict=True) if text}


async def _ask(url: str, api_key: str) -> str:
    try:
        answer = await fetch(f"{url}/models", token=api_key, timeout_s=PROBE_TIMEOUT_S)
    except ModelyardError as error:
        return error.message
    if answer.status in (401, 403):
        return f"it answers {answer.status}: the secret is missing or wrong"
    return f"it answers {answer.status}" if answer.status >= 500 else ""


if __name__ == "__main__":
    main()
