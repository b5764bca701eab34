"""OpenAI's chat completions, in both directions.

For clients of other dialects whose endpoint speaks chat, and for chat clients whose endpoint speaks
another one. Where both speak it, bytes pass through and nothing here is asked.
"""

from functools import partial

from modelyard.gateway.dialects.base import Dialect
from modelyard.gateway.dialects.chat.answer import read_answer, write_answer
from modelyard.gateway.dialects.chat.parts import NAME
from modelyard.gateway.dialects.chat.read_request import read_request
from modelyard.gateway.dialects.chat.read_stream import StreamReader
from modelyard.gateway.dialects.chat.write_request import Habits, write_request
from modelyard.gateway.dialects.chat.write_stream import StreamWriter
from modelyard.gateway.dialects.openai import envelope

CHAT = Dialect(
    name=NAME,
    route="/v1/chat/completions",
    read_request=read_request,
    write_request=partial(write_request, habits=Habits()),
    read_answer=read_answer,
    write_answer=write_answer,
    reader=StreamReader,
    writer=StreamWriter,
    envelope=envelope,
)


def chat_with(habits: Habits) -> Dialect:
    """The same, for endpoints with habits of their own."""
    return CHAT._replace(write_request=partial(write_request, habits=habits))


__all__ = ["CHAT", "Habits", "chat_with"]
