"""The echo engine as a process of its own; it prints the port on which it listens."""

import argparse
import asyncio
import os
import signal

import msgspec

from modelyard.testing.echo.behaviour import Behaviour
from modelyard.testing.echo.server import EchoServer


async def _main(port: int) -> None:
    behaviour = msgspec.json.decode(os.environ.get("ECHO_BEHAVIOUR", "{}"), type=Behaviour)
    server = EchoServer(behaviour, os.environ.get("ECHO_API_KEY", ""))
    url = await server.start(port)
    print(f"listening {url.rsplit(':', 1)[1].removesuffix('/v1')}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(_main(parser.parse_args().port))
