"""What is asked: messages made of parts, tools, and how to answer."""

import msgspec

Members = dict[str, msgspec.Raw]
"""Members of JSON objects that have no counterpart here: byte for byte, in their own words."""


class Text(msgspec.Struct, frozen=True, tag=True):
    """Something that was said."""

    text: str
    extra: Members = {}
    """Such as `cache_control` and `citations` of Anthropic."""


class Image(msgspec.Struct, frozen=True, tag=True):
    """A picture, as an `https:` or a `data:` URL, or the id of an uploaded file."""

    url: str = ""
    file_id: str = ""
    detail: str = ""
    """`low`, `high`, `auto`; empty where it was not said."""
    extra: Members = {}


class File(msgspec.Struct, frozen=True, tag=True):
    """A document: a URL (`https:` or `data:`), the id of an uploaded file, or plain text."""

    url: str = ""
    file_id: str = ""
    text: str = ""
    name: str = ""
    extra: Members = {}


class Audio(msgspec.Struct, frozen=True, tag=True):
    """Sound in base64."""

    data: str
    format: str
    """`wav`, `mp3`."""
    extra: Members = {}


class Thinking(msgspec.Struct, frozen=True, tag=True):
    """What the model thought before it answered; sent back to it in the next turn."""

    text: str = ""
    signature: str = ""
    """By which Anthropic recognises its own thinking; empty where there is none."""
    encrypted: str = ""
    """Thinking that only its maker can read (`redacted_thinking`, `encrypted_content`)."""
    id: str = ""
    is_summary: bool = False
    extra: Members = {}


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """The model says that it will not answer."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, tag=True):
    """The model calls a tool."""

    id: str
    name: str
    arguments: str
    """As the model wrote them: JSON of an object, if it did well. Free text for a `custom` tool."""
    custom: bool = False
    """Whether it takes free text instead of a JSON object."""
    extra: Members = {}


class Foreign(msgspec.Struct, frozen=True, tag=True):
    """A part that only its own dialect knows, byte for byte."""

    dialect: str
    kind: str
    """Its `type`, for the message that says what cannot be sent elsewhere."""
    value: msgspec.Raw


class ToolResult(msgspec.Struct, frozen=True, tag=True):
    """What a tool answered."""

    call_id: str
    parts: tuple[Text | Image | File | Foreign, ...] = ()
    is_error: bool = False
    custom: bool = False
    extra: Members = {}


Part = Text | Image | File | Audio | Thinking | Refusal | ToolCall | ToolResult | Foreign


class Message(msgspec.Struct, frozen=True):
    """One turn. Results of tools are messages of the role `tool`, one for each result."""

    role: str
    """`system`, `developer`, `user`, `assistant` or `tool`."""
    parts: tuple[Part, ...]
    name: str = ""
    extra: Members = {}


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call, or with `foreign` a tool that only its own dialect knows
    (a hosted search, say)."""

    name: str
    description: str = ""
    parameters: msgspec.Raw = msgspec.Raw()
    """JSON schema of the arguments; empty where there is none."""
    strict: bool | None = None
    custom: bool = False
    """It takes free text (`custom` tools of OpenAI)."""
    foreign: Foreign | None = None
    extra: Members = {}


class ToolChoice(msgspec.Struct, frozen=True):
    """Which tools the model may or must call."""

    mode: str
    """`auto`, `none`, `required`, or `named` with a name."""
    name: str = ""


class ResponseFormat(msgspec.Struct, frozen=True):
    """The form of the answer."""

    kind: str
    """`text`, `json_object` or `json_schema`."""
    name: str = ""
    schema: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None
    description: str = ""


class Reasoning(msgspec.Struct, frozen=True):
    """How much the model is to think."""

    effort: str = ""
    """`none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`; empty: not said."""
    budget_tokens: int | None = None
    """At most so many tokens of thinking (Anthropic's `thinking.budget_tokens`)."""
    adaptive: bool = False
    """The model decides itself (Anthropic's `thinking: {type: adaptive}`)."""
    summary: str = ""
    """`auto`, `concise`, `detailed`: OpenAI's summaries; `omitted` for Anthropic's `display`."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request in no dialect. None and empty: the client did not say."""

    dialect: str
    """The one it was read from: the words of `extra`."""
    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    """Whether a chat stream is to end with its usage; the other dialects always say it."""
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    user: str = ""
    """Whom the client asks for (`user`, `safety_identifier`, `metadata.user_id`)."""
    service_tier: str = ""
    legacy_functions: bool = False
    """The client of chat knows `functions` only, from before there were tools: it understands one
    `function_call` an answer."""
    extra: Members = {}
