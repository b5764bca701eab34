"""Anthropic's messages, in both directions.

`MESSAGES` is the dialect. `metering` counts what passes through unread.
"""

from modelyard.gateway.dialects.base import Dialect
from modelyard.gateway.dialects.messages.answer import read_answer, write_answer
from modelyard.gateway.dialects.messages.read_request import read_request
from modelyard.gateway.dialects.messages.read_stream import StreamReader
from modelyard.gateway.dialects.messages.refusals import envelope
from modelyard.gateway.dialects.messages.words import NAME
from modelyard.gateway.dialects.messages.write_request import write_request
from modelyard.gateway.dialects.messages.write_stream import StreamWriter

MESSAGES = Dialect(
    name=NAME,
    route="/v1/messages",
    read_request=read_request,
    write_request=write_request,
    read_answer=read_answer,
    write_answer=write_answer,
    reader=StreamReader,
    writer=StreamWriter,
    envelope=envelope,
)

__all__ = ["MESSAGES"]
