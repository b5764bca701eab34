"""OpenAI's responses, in both directions.

`RESPONSES` is the dialect. `metering` counts what passes through unread.
"""

from modelyard.gateway.dialects.base import Dialect
from modelyard.gateway.dialects.responses.dialect import Responses

RESPONSES: Dialect = Responses()

__all__ = ["RESPONSES"]
