"""One replica: llama.cpp's own HTTP server around one GGUF file.

Prints `listening <port>` once it serves. The API key comes by environment, so that it shows in no
process list. Ends at SIGTERM.
"""

import argparse
import os
import signal
import sys
from typing import Any


def main(arguments: list[str]) -> int:
    """Load, serve, wait for the signal to end."""
    options = _parser().parse_args(arguments)
    import xllamacpp

    params = _params(xllamacpp, options)
    # Blocked before the server makes its threads, so that `sigwait` alone gets them.
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    try:
        server = xllamacpp.Server(params)
    except (RuntimeError, ValueError) as error:
        sys.stderr.write(f"cannot load {options.model}: {error}\n")
        return 1
    # One write that begins a line of its own: the library's threads log at the same time.
    port = server.listening_address.rsplit(":", 1)[1]
    os.write(1, f"\nlistening {port}\n".encode())
    signal.sigwait(stop)
    # The library's own teardown waits for open streams; the target has drained already.
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--kv-cache", choices=("f16", "q8_0", "q4_0"), required=True)
    return parser


def _params(xllamacpp: Any, options: argparse.Namespace) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.n_ctx = options.context
    params.n_parallel = options.slots
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.n_batch = params.n_ubatch = options.batch
    kind = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{options.kv_cache.upper()}")
    params.cache_type_k = params.cache_type_v = kind
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [os.environ["MODELYARD_ENGINE_API_KEY"]]
    params.cors_origins = ""
    params.endpoint_metrics = True
    params.ui = False
    # A cache of finished prompts in main memory would be outside the memory that was planned.
    params.cache_ram_mib = 0
    # Sizes are planned by the engine adapter and checked by the target, not fitted silently.
    params.fit_params = False
    return params


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
