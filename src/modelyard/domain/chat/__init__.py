"""A conversation, its answer and the pieces of a streamed answer, in no dialect.

What OpenAI's chat completions, OpenAI's responses and Anthropic's messages have in common, so that
each dialect is written once in each direction: N dialects, not N x N translations. What a dialect
alone knows travels along: unknown members in `extra`, whole parts and tools as `Foreign`.
"""

from modelyard.domain.chat.answer import FINISHES, Answer, Usage
from modelyard.domain.chat.events import (
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Failed,
    ReasoningPiece,
    RefusalPiece,
    Started,
    TextPiece,
    Used,
)
from modelyard.domain.chat.folding import Folder, unfolded
from modelyard.domain.chat.request import (
    Audio,
    File,
    Foreign,
    Image,
    Members,
    Message,
    Part,
    Reasoning,
    Refusal,
    Request,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

__all__ = [
    "FINISHES", "Answer", "Audio", "CallBegun", "CallPiece", "Ended", "Event", "Failed", "File",
    "Folder", "Foreign", "Image", "Members", "Message", "Part", "Reasoning", "ReasoningPiece",
    "Refusal", "RefusalPiece", "Request", "ResponseFormat", "Started", "Text", "TextPiece",
    "Thinking", "Tool", "ToolCall", "ToolChoice", "ToolResult", "Usage", "Used", "unfolded",
]  # fmt: skip
