"""What the price commands show: entries of the shipped table, and a usage's cost part by part.

Apart from the commands, because it needs what most commands do not.
"""

import difflib
from datetime import date
from decimal import Decimal
from typing import Any

from modelyard.control.prices import shipped
from modelyard.domain.chat.answer import Usage
from modelyard.domain.documents.prices import spec_of
from modelyard.domain.pricing import Cost, Part
from modelyard.domain.pricing.tables import Entry
from modelyard.entry.cli.formats import number
from modelyard.entry.cli.output import Output
from modelyard.errors import Invalid, NotFound
from modelyard.lib import clock

_PER_MILLION = "_usd_per_million"
_OF_INPUT = ("cached", "cache_write", "cache_write_1h", "audio_input", "image_input")
_OF_OUTPUT = ("reasoning", "audio_output", "image_output")


def listed(out: Output, provider: str, day: str) -> None:
    """The entries of a provider, or of all, that hold on a day. Raises Invalid."""
    _known_provider(provider)
    found = [one for one in shipped().every(_day(day)) if provider in ("", one.provider)]
    note = shipped().notes.get(provider, "no list price is known")
    out.answer([_whole(one) for one in found], lambda: _table(out, found, note))


def _table(out: Output, found: list[Entry], note: str) -> None:
    columns = ("provider", "model", ">input", ">cached", ">output", "also")
    out.table(columns, [_row(one) for one in found], empty=note)
    out.note(f"US dollars per million tokens, as of {shipped().as_of}; not known: -")


def _row(entry: Entry) -> tuple[str, ...]:
    price = entry.price
    also = [f"above {number(step.above_input_tokens)} tokens" for step in price.steps]
    also += [*price.service_tiers, *price.server_tools]
    also += [f"until {entry.until}"] if entry.until else []
    rates = (_usd(price.input), _usd(price.cached), _usd(price.output))
    return (entry.provider, entry.model, *rates, ", ".join(also))


def shown(out: Output, found: list[Entry]) -> None:
    """Each entry with all of its prices."""
    out.answer([_whole(one) for one in found], lambda: _show(out, found))


def _show(out: Output, found: list[Entry]) -> None:
    for entry in found:
        spec = spec_of(entry.price)
        out.line(f"{entry.model} ({entry.provider}), US dollars per million tokens", "bold")
        out.pairs(_rates(spec), indent=2)
        for step in spec.get("long_context", ()):
            out.line(f"  above {number(step['above_input_tokens'])} tokens of prompt")
            out.pairs(_rates(step), indent=4)
        for name, tier in spec.get("service_tiers", {}).items():
            _show_tier(out, name, tier)
        tools = spec.get("server_tools_usd_per_use", {})
        out.pairs([(f"{name}, a use", f"{usd:g}") for name, usd in tools.items()], indent=2)
        source = f"{entry.source}, {entry.seen}: {shipped().sources[entry.source]}"
        bounds = [("since", entry.since), ("until", entry.until), ("source", source)]
        out.pairs([("also called", ", ".join(entry.aliases)), *bounds], indent=2)


def _show_tier(out: Output, name: str, tier: dict[str, Any]) -> None:
    out.line(f"  service tier {name}")
    out.pairs(_rates(tier), indent=4)
    for step in tier.get("long_context", ()):
        out.line(f"    above {number(step['above_input_tokens'])} tokens of prompt")
        out.pairs(_rates(step) or [("all kinds", "not known")], indent=6)


def _rates(spec: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name.removesuffix(_PER_MILLION).replace("_", " "), f"{usd:g}")
        for name, usd in spec.items()
        if name.endswith(_PER_MILLION)
    ]


def costs(out: Output, entry: Entry, found: Cost) -> None:
    """A cost at the price of an entry, and its parts."""
    answer = {"provider": entry.provider, "model": entry.model, **_costs(found)}
    out.answer(answer, lambda: _show_cost(out, entry, found))


def _costs(found: Cost) -> dict[str, Any]:
    return {
        "cost_usd": _usd(found.nano_usd, none=None),
        "priced_usd": _usd(found.priced_nano_usd),
        "cost_nano_usd": found.nano_usd,
        "priced_nano_usd": found.priced_nano_usd,
        "unpriced": list(found.unpriced),
        "parts": [{"kind": one.kind, "count": one.count, "usd": _part(one)} for one in found.parts],
    }


def _show_cost(out: Output, entry: Entry, found: Cost) -> None:
    what = "what has a price: " if found.unpriced else ""
    amount = _usd(found.priced_nano_usd)
    out.line(f"{what}${amount} at the list price of {entry.model} ({entry.provider})", "bold")
    rows = [(one.kind, number(one.count), _part(one) or "not known") for one in found.parts]
    out.table(("kind", ">count", ">US dollars"), rows, empty="nothing was used")
    if found.unpriced:
        out.line(f"without a price that is known: {', '.join(found.unpriced)}")


def _part(part: Part) -> str | None:
    return None if part.femto_usd is None else _plain(Decimal(part.femto_usd).scaleb(-15))


def _usd(nano_usd: int | None, none: str | None = "-") -> Any:
    return none if nano_usd is None else _plain(Decimal(nano_usd).scaleb(-9))


def _plain(amount: Decimal) -> str:
    """All its digits, and no exponent."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _whole(entry: Entry) -> dict[str, Any]:
    return {
        "provider": entry.provider,
        "model": entry.model,
        "aliases": list(entry.aliases),
        "price": spec_of(entry.price),
        "source": entry.source,
        "seen": entry.seen,
        "since": entry.since,
        "until": entry.until,
    }


def usage(tokens: dict[str, int], tools: tuple[str, ...], service_tier: str) -> Usage:
    """What was used, as options say it: tokens by their kinds, tools as `web_search=2`. Raises
    Invalid when parts are more than the whole they are of."""
    for whole, kinds in (("input", _OF_INPUT), ("output_tokens", _OF_OUTPUT)):
        parts = sum(tokens[kind] for kind in kinds)
        if parts > tokens[whole]:
            option = "--" + whole.replace("_", "-")
            raise Invalid(
                f"{option} {tokens[whole]} is less than its parts, {', '.join(kinds)}: {parts}",
                hint=f"{option} is the whole: add them to it",
            )
    return Usage(
        input_tokens=tokens["input"],
        output_tokens=tokens["output_tokens"],
        cache_read_tokens=tokens["cached"],
        cache_write_tokens=tokens["cache_write"],
        cache_write_1h_tokens=tokens["cache_write_1h"],
        audio_input_tokens=tokens["audio_input"],
        image_input_tokens=tokens["image_input"],
        reasoning_tokens=tokens["reasoning"],
        audio_output_tokens=tokens["audio_output"],
        image_output_tokens=tokens["image_output"],
        server_tools=dict(_use(one) for one in tools),
        service_tier=service_tier,
    )


def _use(text: str) -> tuple[str, int]:
    name, _, uses = text.partition("=")
    if not name or not uses.isdecimal():
        raise Invalid(f"--tool {text}: no number of uses", hint="write --tool web_search=2")
    return name, int(uses)


def only(model: str, provider: str, day: str) -> Entry:
    """The entry of a model. Raises NotFound where there is none, Invalid where providers differ."""
    found = entries(model, provider, day)
    if any(one.price != found[0].price for one in found):
        kinds = ", ".join(one.provider for one in found)
        raise Invalid(f"{model} has several prices: of {kinds}", hint="choose with --provider")
    return found[0]


def entries(model: str, provider: str, day: str) -> list[Entry]:
    """The entries of a model, of every provider or of one. Raises NotFound where there is none."""
    table, on = shipped(), _day(day)
    _known_provider(provider)
    kinds = [provider] if provider else list(table.entries)
    found = [one for kind in kinds if (one := table.find(kind, model, on))]
    if not found:
        near = difflib.get_close_matches(model, [one.model for one in table.every()], n=1)
        hint = f"did you mean {near[0]}?" if near else "see `modelyard prices list`"
        hint = table.notes.get(provider, hint)
        raise NotFound(f"no list price of {model!r} is known", hint=hint)
    return found


def _known_provider(provider: str) -> None:
    known = list(shipped().entries)
    if provider and provider not in known:
        raise Invalid(f"unknown provider {provider!r}", hint=f"known: {', '.join(known)}")


def _day(given: str) -> str:
    """The day that was given, today without one. Raises Invalid."""
    try:
        return date.fromisoformat(given or clock.to_iso(clock.now_us())[:10]).isoformat()
    except ValueError:
        raise Invalid(f"--day {given} is no day", hint="write --day 2026-11-25") from None
