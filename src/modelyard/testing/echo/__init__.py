"""An engine that answers with the words it was asked, at a chosen speed and with chosen faults.

For tests, benchmarks and trying things out without a model. `EchoServer` runs inside a process,
`EchoEngine` plans it as a replica, and `python -m modelyard.testing.echo` is that replica.

A word is a token. A request may bring `"echo": {…}` with fields of `Behaviour` for itself alone.
"""

from modelyard.testing.echo.behaviour import Behaviour
from modelyard.testing.echo.engine import EchoEngine
from modelyard.testing.echo.server import EchoServer

__all__ = ["Behaviour", "EchoEngine", "EchoServer"]
