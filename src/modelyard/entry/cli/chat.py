"""A chat in the terminal, over the same path that any program's requests take."""

import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from modelyard.entry.cli.commands import connected, permission
from modelyard.entry.cli.output import Output
from modelyard.entry.cli.session import Session
from modelyard.errors import Invalid, ModelyardError

if TYPE_CHECKING:
    from modelyard.entry.cli.talk import Answer, Talk

HELP = (
    "/quit ends the chat · /reset forgets what was said · /system TEXT sets the system message · "
    "Ctrl-C stops an answer"
)


@click.command(short_help="Talk to a service in the terminal.")
@permission("inference.call")
@click.argument("service")
@click.option("--system", default="", help="System message to begin with.")
@click.option(
    "--gateway", default="", help="Gateway address; without it, the control plane is asked for it."
)
@click.option("--message", default="", help="Ask only this, print the answer and end.")
@connected
def chat(session: Session, service: str, system: str, gateway: str, message: str) -> None:
    """Talk to a service; answers are streamed through the gateway and recorded like any other.

    In the chat: /quit, /reset, /system TEXT. Ctrl-C stops the answer, not the chat.

    \b
    Example:
      modelyard chat support
      modelyard chat support --message "How do I reset my password?"
    """
    if session.out.structured and not message:
        raise Invalid("a chat has no structured output", hint="add --message TEXT")
    hold(session, service, system, message, gateway)


def hold(
    session: Session, service: str, system: str = "", message: str = "", gateway: str = ""
) -> None:
    """One question, or a chat until /quit or the end of the input."""
    from modelyard.entry.cli.talk import Talk

    url = gateway.rstrip("/").removesuffix("/v1") or session.gateway_url
    trusted = session.certificate("gateway")
    talk = Talk(url, session.api_key, service, retries=2, certificate=trusted)
    chat = Chat(talk, session.out, system)
    try:
        if message:
            chat.once(message)
        else:
            chat.run(service)
    finally:
        talk.close()


class Chat:
    """One conversation."""

    def __init__(self, talk: "Talk", out: Output, system: str = "") -> None:
        self._talk = talk
        self._out = out
        self._system = system
        self._turns: list[dict[str, str]] = []

    def once(self, message: str) -> None:
        """One question. Raises what went wrong."""
        from dataclasses import asdict

        answer = self._talk.ask(self._messages(message), self._out.piece)
        if self._out.structured:
            facts = asdict(answer)
            del facts["pieces"]
            self._out.value({**facts, "tokens_per_s": answer.tokens_per_s})
            return
        self._out.line()
        self._remark(answer.summary())

    def run(self, service: str) -> None:
        """Ask for lines until /quit or the end of the input; errors do not end it."""
        self._remark(f"{service} · {HELP}")
        while (line := self._read()) is not None:
            if line.startswith("/"):
                if not self._command(line):
                    return
            elif line:
                self._turn(line)

    def _read(self) -> str | None:
        """The next line; None at the end of the input. Ctrl-C clears the line."""
        prompt = "› " if sys.stdin.isatty() else ""
        try:
            return input(prompt).strip()
        except EOFError:
            return None
        except KeyboardInterrupt:
            self._out.line()
            self._remark("/quit ends the chat")
            return ""

    def _command(self, line: str) -> bool:
        """Whether the chat goes on."""
        word, _, rest = line.partition(" ")
        if word in ("/quit", "/exit", "/q"):
            return False
        if word == "/reset":
            self._turns.clear()
            self._remark("forgotten")
        elif word == "/system":
            self._system = rest.strip()
            self._turns.clear()
            self._remark("new system message; the conversation starts again")
        else:
            self._remark(HELP)
        return True

    def _turn(self, question: str) -> None:
        from modelyard.entry.cli.talk import Answer

        answer = Answer()
        try:
            with _interruptible():
                self._talk.ask(self._messages(question), self._out.piece, answer)
        except KeyboardInterrupt:
            self._out.line()
            self._remark("stopped")
        except ModelyardError as error:
            self._out.line()
            self._out.line(f"error: {error.message}", "red")
            if error.hint:
                self._remark(error.hint)
            return
        else:
            self._out.line()
        self._keep(question, answer)
        self._remark(answer.summary())

    def _keep(self, question: str, answer: "Answer") -> None:
        if answer.text:
            self._turns.append({"role": "user", "content": question})
            self._turns.append({"role": "assistant", "content": answer.text})

    def _messages(self, question: str) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self._system}] if self._system else []
        return [*system, *self._turns, {"role": "user", "content": question}]

    def _remark(self, text: str) -> None:
        self._out.line(text, "dim")


class _interruptible:  # noqa: N801 - reads as a statement
    """Within the block Ctrl-C raises KeyboardInterrupt even where the shell had it ignored."""

    def __enter__(self) -> None:
        self._before: Callable[..., object] | int | None = signal.signal(
            signal.SIGINT, signal.default_int_handler
        )

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)
