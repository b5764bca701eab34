"""Ask a service through the gateway with the official OpenAI client, as any program would."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from modelyard.errors import (
    Forbidden,
    Invalid,
    Limited,
    ModelyardError,
    NotFound,
    TimedOut,
    Unauthenticated,
    Unavailable,
    Upstream,
)
from modelyard.lib.clock import monotonic_s
from modelyard.lib.tls import calling

if TYPE_CHECKING:
    import openai

Message = dict[str, str]
_BY_STATUS: dict[int, type[ModelyardError]] = {
    400: Invalid, 401: Unauthenticated, 403: Forbidden, 404: NotFound, 429: Limited,
    503: Unavailable, 504: TimedOut,
}  # fmt: skip


@dataclass
class Answer:
    """One answer and what it cost. Times are seconds from when the question was sent."""

    text: str = ""
    ttft_s: float | None = None
    duration_s: float = 0.0
    tokens_input: int | None = None
    tokens_output: int | None = None
    request_id: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def tokens_per_s(self) -> float | None:
        """Of the streamed part: tokens after the first, over the time they took."""
        if self.ttft_s is None or not self.tokens_output or self.tokens_output < 2:
            return None
        span_s = self.duration_s - self.ttft_s
        return (self.tokens_output - 1) / span_s if span_s > 0 else None

    def summary(self) -> str:
        """`12 tokens in, 40 out · first after 35 ms · 210 tok/s · req_…`."""
        parts = []
        if self.tokens_output is not None:
            parts.append(f"{self.tokens_input} tokens in, {self.tokens_output} out")
        if self.ttft_s is not None:
            parts.append(f"first after {self.ttft_s * 1000:.0f} ms")
        if self.tokens_per_s is not None:
            parts.append(f"{self.tokens_per_s:.0f} tok/s")
        return " · ".join([*parts, self.request_id])


class Talk:
    """Calls of one service."""

    def __init__(
        self,
        gateway_url: str,
        api_key: str,
        service: str,
        retries: int = 0,
        certificate: str = "",
    ) -> None:
        """`certificate` is a PEM file to trust instead of the system's authorities."""
        import openai

        trusted = calling(certificate)
        self._openai = openai
        self._service = service
        self._client = openai.OpenAI(
            base_url=f"{gateway_url}/v1",
            api_key=api_key or "none",
            max_retries=retries,
            default_headers={"x-modelyard-client": "modelyard-cli"},
            http_client=openai.DefaultHttpxClient(verify=trusted) if trusted else None,
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def ask(
        self,
        messages: Sequence[Message],
        on_piece: Callable[[str], None] = lambda _piece: None,
        answer: Answer | None = None,
    ) -> Answer:
        """Stream an answer; `on_piece` gets its text as it comes. Fills `answer` on the way, so
        that whoever interrupts this still has what came. Raises our errors."""
        answer = answer if answer is not None else Answer()
        started_s = monotonic_s()
        try:
            self._stream(messages, on_piece, answer, started_s)
        except self._openai.APIError as error:
            _translate(error, answer)
        finally:
            answer.duration_s = monotonic_s() - started_s
            answer.text = "".join(answer.pieces)
        return answer

    def _stream(
        self,
        messages: Sequence[Message],
        on_piece: Callable[[str], None],
        answer: Answer,
        started_s: float,
    ) -> None:
        turns: Any = list(messages)
        raw = self._client.chat.completions.with_raw_response.create(
            model=self._service,
            messages=turns,
            stream=True,
            stream_options={"include_usage": True},
        )
        answer.request_id = raw.headers.get("x-request-id", "")
        stream: Any = raw.parse()
        with stream:
            for event in stream:
                if event.usage is not None:
                    answer.tokens_input = event.usage.prompt_tokens
                    answer.tokens_output = event.usage.completion_tokens
                piece = event.choices[0].delta.content if event.choices else None
                if piece:
                    if answer.ttft_s is None:
                        answer.ttft_s = monotonic_s() - started_s
                    answer.pieces.append(piece)
                    on_piece(piece)


def _translate(error: "openai.APIError", answer: Answer) -> NoReturn:
    import openai

    if isinstance(error, openai.APIStatusError):
        answer.request_id = error.response.headers.get("x-request-id", "")
        body = error.body if isinstance(error.body, dict) else {}
        message = str(body.get("message") or error.message)
        kind = _BY_STATUS.get(error.status_code, Upstream)
        raise kind(message, hint=str(body.get("hint") or "")) from None
    if isinstance(error, openai.APITimeoutError):
        raise TimedOut("the gateway did not answer in time") from None
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        raise Unavailable(
            f"the connection to the gateway failed: {cause}", hint="is `modelyard up` running?"
        ) from None
    raise Upstream(error.message) from None
