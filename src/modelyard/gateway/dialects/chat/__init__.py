"""OpenAI's chat completions, in both directions.

For clients of other dialects whose endpoint speaks chat, and for chat clients whose endpoint speaks
another one. Where both speak it, bytes pass through and nothing here is asked.
"""

from modelyard.gateway.dialects.base import Dialect
from modelyard.gateway.dialects.chat.dialect import Chat

CHAT: Dialect = Chat()

__all__ = ["CHAT", "Chat"]
