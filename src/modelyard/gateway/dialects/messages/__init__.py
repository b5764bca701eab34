"""Anthropic's messages, in both directions.

`MESSAGES` is the dialect. `metering` counts what passes through unread.
"""

from modelyard.gateway.dialects.base import Dialect
from modelyard.gateway.dialects.messages.dialect import Messages

MESSAGES: Dialect = Messages()

__all__ = ["MESSAGES"]
