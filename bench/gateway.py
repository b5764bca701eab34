"""What the gateway costs and adds, beside no gateway and beside others.

python -m bench.gateway --quick
"""

import argparse
import contextlib
import tempfile
from pathlib import Path

from bench import cores, native, report, targets
from bench.peers import Unusable
from bench.peers.nginx import Nginx
from bench.samples import Samples
from bench.scenarios import SATURATION, alternate, measure, say


def quick(rounds: int) -> int:
    """Processor time per request of the metered profile and of nginx, in half a minute."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelyard-bench-")))
        tools = native.build(folder)
        addresses = stack.enter_context(targets.upstream(tools.upstream))
        ours = stack.enter_context(targets.modelyard(folder, addresses))
        found = [ours.metered()]
        try:
            found.append(stack.enter_context(targets.peer(Nginx(), folder, addresses)))
        except Unusable as error:
            print(f"nginx is left out: {error}")
        samples = Samples()
        for target in found:
            samples.add(target.name, "warm-up", measure(tools.load, target, SATURATION))
        alternate(samples, tools.load, found, [SATURATION], rounds)
        say("")
        missing = samples.total(found[0].name, "requests") - ours.recorded()
    limits = "with RPM and TPM limits" if ours.limited else "without limits, which are not there"
    print(f"{report.machine()}; {cores.described()}\nmetered: a caller's key {limits}\n")
    for target in found:
        cpu_us = samples.cpu_us(target.name, SATURATION.name) or 0.0
        rps = samples.median(target.name, SATURATION.name, "rps") or 0.0
        print(f"{target.name:<16}{cpu_us:>8.1f} µs a request{rps:>10,.0f} requests/s")
    if len(found) > 1:
        ratio = samples.ratio(found[0].name, found[1].name, SATURATION.name) or 0.0
        print(f"{'ratio':<16}{ratio:>8.3f} × nginx per core")
    errors = samples.total(found[0].name, "errors")
    print(
        f"{errors} failed answers {samples.first_error(found[0].name)}, {missing} records missing"
    )
    return 1 if errors or missing else 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="ours and nginx at saturation only")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    targets.end_on_sigterm()
    cores.take_others()
    return quick(options.rounds)


if __name__ == "__main__":
    raise SystemExit(main())
