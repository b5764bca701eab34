"""The platform itself: start it, open its pages, serve a file with it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard import __version__
from modelyard.entry.cli.commands import (
    api_key_option,
    connected,
    data_option,
    output_option,
    permission,
    url_option,
)
from modelyard.entry.cli.output import Output
from modelyard.entry.cli.session import Session

if TYPE_CHECKING:
    from modelyard.entry.cli.background import Background


@click.command(short_help="Start the platform, until Ctrl-C.")
@permission("local")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="MODELYARD_DATA",
    default=None,
    show_envvar=True,
    help="The data folder, made when missing. [default: modelyard-data]",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="MODELYARD_CONFIG",
    default=None,
    show_envvar=True,
    help="TOML file with settings; the options here win over it.",
)
@click.option("--host", default=None, help="Address of gateway and control. [default: 127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Port of the gateway; 0: the system chooses. [default: 8080]",
)
@click.option(
    "--control-port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Port of pages and API; 0: the system chooses. [default: 8081]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=None,
    help="Gateway processes; one serves what one core can. [default: 1]",
)
@output_option
def up(
    data: Path | None,
    config: Path | None,
    host: str | None,
    port: int | None,
    control_port: int | None,
    workers: int | None,
    output: str,
) -> None:
    """Start the platform and keep it running until Ctrl-C.

    Gateway, control plane and replicas are processes of this one and end with it. With -o json
    the first line says where it listens.

    \b
    Example:
      modelyard up
      modelyard up --data /var/lib/modelyard --host 0.0.0.0 --workers 4
    """
    from modelyard import settings
    from modelyard.entry import supervisor

    flags = {
        "data": data,
        "gateway": {"host": host, "port": port, "workers": workers},
        "control": {"host": host, "port": control_port},
    }
    chosen = settings.load(_given(flags), os.environ, config)
    out = Output(output)
    code = supervisor.run(chosen, lambda known: _banner(out, known))
    if code:
        sys.exit(code)


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """Only what was given, so that environment and file are heard."""
    sections = {key: _given(value) for key, value in flags.items() if isinstance(value, dict)}
    values = {
        key: value
        for key, value in flags.items()
        if value is not None and not isinstance(value, dict)
    }
    return {**values, **{key: value for key, value in sections.items() if value}}


def _banner(out: Output, known: dict[str, Any]) -> None:
    if out.structured:
        _first_line(known)
        return
    out.line(f"modelyard {__version__} is up", "bold green")
    out.pairs(
        [
            ("gateway", f"{known['gateway_url']}/v1   for OpenAI clients"),
            ("control", f"{known['control_url']}   pages and API"),
            ("data", f"{known['data']}"),
            ("admin key", known.get("admin_key", "")),
        ],
        indent=2,
    )
    if known.get("admin_key"):
        out.line(f"  The key is shown only now and kept in {Path(known['data']) / 'admin.key'}")
    out.line()
    where = _data_option_for(Path(known["data"]))
    out.line(f"next, in another terminal: modelyard run MODEL.gguf{where}")
    out.line(f"                           modelyard open{where}")
    out.line("Ctrl-C stops it and everything it started")


def _first_line(known: dict[str, Any]) -> None:
    """One line, so that whoever started us can read it before we end."""
    import json

    sys.stdout.write(json.dumps(known) + "\n")
    sys.stdout.flush()


def _data_option_for(data: Path) -> str:
    from modelyard.entry.cli.commands import DEFAULT_DATA

    return "" if data == DEFAULT_DATA.resolve() else f" --data {data}"


@click.command("open", short_help="Open the pages, signed in.")
@permission("self.read")
@click.option("--no-browser", is_flag=True, help="Only print the link.")
@connected
def open_(session: Session, no_browser: bool) -> None:
    """Open the pages, signed in: makes a link that works once.

    \b
    Example:
      modelyard open
    """
    url = session.client.login_link()
    session.out.answer({"url": url}, lambda: session.out.line(url))
    if not no_browser and not session.out.structured and has_display():
        import webbrowser

        webbrowser.open(url)


def has_display() -> bool:
    """Whether a browser could show itself."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@click.command(short_help="The version of this program.")
@permission("local")
@output_option
def version(output: str) -> None:
    """The version of this program and of what it runs on.

    \b
    Example:
      modelyard version -o json
    """
    import platform

    facts = {"modelyard": __version__, "python": platform.python_version()}
    out = Output(output)
    out.answer(facts, lambda: out.line(f"modelyard {__version__} (Python {facts['python']})"))


@click.command(short_help="Serve a file or URL and talk to it.")
@permission("services.write")
@click.argument("source", metavar="PATH|URL")
@click.option("--name", default="", help="Name of model and service; without it, the file's.")
@click.option(
    "--context-tokens",
    type=click.IntRange(1),
    default=None,
    help="Tokens of prompt and answer that one request may use. [default: the model's, to 4096]",
)
@click.option("--secret", default="", help="Key of an outside URL, as env:NAME of a variable.")
@click.option("--upstream-model", default="", help="What an outside URL calls the model.")
@click.option("--no-chat", is_flag=True, help="End when it is ready instead of opening a chat.")
@click.option("--message", default="", help="Ask only this, print the answer and end.")
@data_option
@url_option
@api_key_option
@output_option
def run(
    data: Path,
    url: str,
    api_key: str,
    output: str,
    source: str,
    no_chat: bool,
    message: str,
    **wishes: Any,
) -> None:
    """Serve a GGUF file, a folder or an outside URL, and talk to it.

    Uses the platform that runs on the data folder; where none runs, one is started that ends
    with this command. The file becomes a version of a model, the model a service.

    \b
    Example:
      modelyard run support.gguf
      modelyard run support.gguf --message "How do I reset my password?"
      modelyard run https://api.example.com/v1 --name outside --secret env:EXAMPLE_KEY
    """
    from modelyard.entry.cli import chat, serve

    out = Output(output)
    serve.check(source, **wishes)
    with contextlib.ExitStack() as stack:
        started = stack.enter_context(_running(data, url, out))
        session = stack.enter_context(Session(data, url, api_key, out))
        name = serve.serve(session, source, **wishes)
        if message or not (no_chat or out.structured):
            chat.hold(session, name, message=message)
            return
        serve.say_ready(session, name)
        if started is not None:
            out.note("Ctrl-C stops it")
            started.wait()


@contextlib.contextmanager
def _running(data: Path, url: str, out: Output) -> "Iterator[Background | None]":
    """A platform on the data folder: ours, that ends with the block, or None for one that runs."""
    from modelyard.entry.cli import background

    if url or background.answers(data):
        yield None
        return
    out.note(f"no platform runs on {data}; starting one that ends with this command")
    with contextlib.ExitStack() as stack:
        with out.status("starting the platform"):
            ports = background.free_ports()
            started = stack.enter_context(background.platform(data, *ports))
        yield started
