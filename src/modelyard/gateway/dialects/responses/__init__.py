"""OpenAI's responses, in both directions.

`RESPONSES` is the dialect. `metering` counts what passes through unread.
"""

from modelyard.gateway.dialects.base import Dialect
from modelyard.gateway.dialects.openai import envelope
from modelyard.gateway.dialects.responses.answer import read_answer, write_answer
from modelyard.gateway.dialects.responses.content import NAME
from modelyard.gateway.dialects.responses.read_request import read_request
from modelyard.gateway.dialects.responses.read_stream import StreamReader
from modelyard.gateway.dialects.responses.write_request import write_request
from modelyard.gateway.dialects.responses.write_stream import StreamWriter

RESPONSES = Dialect(
    name=NAME,
    route="/v1/responses",
    read_request=read_request,
    write_request=write_request,
    read_answer=read_answer,
    write_answer=write_answer,
    reader=StreamReader,
    writer=StreamWriter,
    envelope=envelope,
)

__all__ = ["RESPONSES"]
