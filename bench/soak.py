"""Minutes of mixed traffic: whether memory, descriptors and threads of the gateway stay flat.

    python -m bench.soak [--seconds 300] [--rate 200] [--keys 200] [--json PATH]

Half of the questions are streamed (32 tokens, 10 ms apart), one in ten is 50 KB, every nineteenth
is given up (streams at their first token, others once sent), and the keys are used in turn. Every
answer is checked. The slope is a least-squares line through the gateway's memory after the first
minute (short runs: after the first half). Ends with 1 when an answer failed, when a
record is missing, or when private memory grows by more than --most-bytes a request. Resident memory
is a saw: the spool's segments (4 MiB, mapped) fill and are replaced.
"""

import argparse
import contextlib
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench import load, native, report, targets, trend, usage
from bench.peers import Unusable
from bench.scenarios import say
from bench.targets import MODEL

SECONDS = 300.0
TOKENS, PACE_US = 32, 10_000
LONG_BYTES = 50_000
ABORT_EVERY = 19
"""No divisor of the number of questions, so that every kind is given up now and then."""
READINGS = 60
SHOWN = 12
WARM_S = 60.0


class Reading(NamedTuple):
    """The gateway's processes at one moment."""

    at_s: float
    rss_mb: float
    private_mb: float
    open_files: int
    """Connections among them."""
    threads: int
    control_rss_mb: float


def questions() -> list[str]:
    """Ten, five of them streamed, one of them long."""
    whole, stream = load.question(MODEL), load.question(MODEL, TOKENS, PACE_US)
    return [whole, stream] * 4 + [load.question(MODEL, size_bytes=LONG_BYTES), stream]


def make_keys(ours: targets.Ours, count: int) -> list[str]:
    """Keys of callers."""
    client = ours.platform.client
    return [client.create_key(role="caller", label=f"soak {n}")["key"] for n in range(count)]


def watch(
    process: "subprocess.Popen[str]", ours: targets.Ours, seconds: float
) -> tuple[list[Reading], str]:
    """Readings until the load has ended, and what it printed."""
    began_s, readings = time.monotonic(), list[Reading]()
    pause_s = seconds / READINGS
    while True:
        readings.append(read(ours, time.monotonic() - began_s))
        say(f"{readings[-1].at_s:.0f} of {seconds:.0f} s: {readings[-1].rss_mb:.1f} MB")
        with contextlib.suppress(subprocess.TimeoutExpired):
            printed, _ = process.communicate(timeout=pause_s)
            say("")
            return readings, printed
        if readings[-1].at_s > seconds + load.DRAIN_S:
            raise SystemExit("the load generator does not end")


def read(ours: targets.Ours, at_s: float) -> Reading:
    """The processes now."""
    pids = ours.gateways()
    return Reading(
        at_s,
        usage.resident_mb(pids) or 0.0,
        usage.private_mb(pids) or 0.0,
        usage.open_files(pids),
        usage.threads(pids),
        usage.resident_mb(ours.others()) or 0.0,
    )


def flat_part(readings: list[Reading]) -> list[Reading]:
    """What the slope is taken from."""
    warm_s = min(WARM_S, readings[-1].at_s / 2)
    return [one for one in readings if one.at_s >= warm_s]


def soak(options: argparse.Namespace, folder: Path) -> int:
    """The whole run."""
    tools = native.build(folder)
    with (
        targets.upstream(tools.upstream) as addresses,
        targets.modelyard(folder, addresses, options.workers) as ours,
    ):
        say(f"making {options.keys} keys")
        order = load.Order(
            ours.url, make_keys(ours, options.keys), questions(), options.connections,
            options.seconds, rate=options.rate, abort_every=ABORT_EVERY,
        )  # fmt: skip
        with load.start(tools.load, order) as process:
            readings, printed = watch(process, ours, options.seconds)
        measured = load.read(printed)
        ours.settle()
        recorded = ours.outcomes()
    return conclude(readings, measured, recorded, options)


def conclude(
    readings: list[Reading], measured: load.Measured, recorded: dict[str, int],
    options: argparse.Namespace,
) -> int:  # fmt: skip
    """Table, JSON, verdict."""
    warm = flat_part(readings)
    mb_per_s = trend.slope([(one.at_s, one.rss_mb) for one in warm])
    private_mb_per_s = trend.slope([(one.at_s, one.private_mb) for one in warm])
    bytes_per_request = private_mb_per_s * 1e6 / options.rate
    files_per_minute = 60 * trend.slope([(one.at_s, one.open_files) for one in warm])
    lost = measured.asked - sum(recorded.values())
    show(readings)
    print(f"\n{measured.asked:,} asked, {measured.requests:,} answered, {measured.aborted:,} given "
          f"up, {measured.errors} failed {measured.first_error}\nrecords: "
          + ", ".join(f"{count:,} {name}" for name, count in recorded.items() if count)
          + f"; {lost} lost\nslope after {warm[0].at_s:.0f} s: {mb_per_s * 3600:+.1f} MB an hour "
          f"resident, {private_mb_per_s * 3600:+.1f} private = {bytes_per_request:+.1f} bytes a "
          "request\n")  # fmt: skip
    report.publish(
        {
            "soak_s": measured.seconds, "asked": measured.asked, "answered": measured.requests,
            "aborted": measured.aborted, "errors": measured.errors, "records_lost": lost,
            "rss_mb_start": readings[0].rss_mb, "rss_mb_end": readings[-1].rss_mb,
            "rss_slope_mb_per_hour": mb_per_s * 3600,
            "private_slope_mb_per_hour": private_mb_per_s * 3600,
            "private_slope_bytes_per_request": bytes_per_request,
            "open_files_max": max(one.open_files for one in readings),
            "open_files_per_minute": files_per_minute, "open_files_end": readings[-1].open_files,
            "threads_end": readings[-1].threads, "p50_us": measured.p50_us,
            "p99_us": measured.p99_us,
        },
        options.json,
    )  # fmt: skip
    return 1 if lost or measured.errors or bytes_per_request > options.most_bytes else 0


def show(readings: list[Reading]) -> None:
    """Every so-manieth reading."""
    step = max(1, len(readings) // SHOWN)
    shown = readings[::step] + ([readings[-1]] if (len(readings) - 1) % step else [])
    rows: list[list[report.Cell]] = [
        [f"{one.at_s:.0f} s", f"{one.rss_mb:.1f}", f"{one.private_mb:.1f}", one.open_files,
         one.threads, f"{one.control_rss_mb:.0f}"] for one in shown
    ]  # fmt: skip
    heads = [
        "after",
        "gateway, MB",
        "private",
        "descriptors",
        "threads",
        "rest of the platform, MB",
    ]
    print(report.table(heads, rows))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rate", type=float, default=200.0, help="questions a second")
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--workers", type=int, default=1, help="gateway processes")
    parser.add_argument("--most-bytes", type=float, default=64.0, help="growth a request")
    parser.add_argument("--json", type=Path, help="write the figures here")
    targets.end_on_signal()
    options = parser.parse_args()
    print(report.machine() + "\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="modelyard-soak-") as folder:
        try:
            return soak(options, Path(folder))
        except Unusable as error:
            print(f"nothing is measured: {error}")
            return 2


if __name__ == "__main__":
    raise SystemExit(main())
