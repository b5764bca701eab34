"""List prices from the command line; no platform runs, and none is asked."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from modelyard.domain.documents import checked
from modelyard.domain.documents.prices import PriceSpec
from modelyard.domain.pricing import tables
from modelyard.entry.cli import price_pictures
from modelyard.errors import Invalid

Run = Callable[..., Result]
DAY = ("--day", "2026-11-25")


def answer(run: Run, *arguments: str, code: int = 0) -> Any:
    result = run("prices", *arguments, *DAY, "-o", "json")
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def problem(run: Run, *arguments: str) -> dict[str, Any]:
    result = run("prices", *arguments, *DAY, "-o", "json")
    assert result.exit_code == 2
    found: dict[str, Any] = json.loads(result.stderr)["error"]
    return found


def test_all_of_a_provider(run: Run) -> None:
    found = answer(run, "list", "--provider", "anthropic")
    assert {one["provider"] for one in found} == {"anthropic"}
    for one in found:
        checked(PriceSpec, one["price"])
    result = run("price", "list", "--provider", "gemini", *DAY)
    (line,) = [one for one in result.stdout.splitlines() if "gemini-4-argon" in one]
    assert line.split()[2:5] == ["2", "0.1", "10"]
    assert "until 2026-12-01" in line
    assert "as of 2026" in result.stderr


def test_a_provider_without_prices_says_why(run: Run) -> None:
    assert "depends on the hour" in run("prices", "list", "--provider", "deepseek").stdout
    assert (
        "depends on the hour"
        in problem(run, "show", "deepseek-chat", "--provider", "deepseek")["hint"]
    )
    assert "openai" in problem(run, "list", "--provider", "opnai")["hint"]


def test_one_model_of_every_provider_that_has_it(run: Run) -> None:
    found = answer(run, "show", "gpt-4o-2024-08-06")
    assert [(one["provider"], one["model"]) for one in found] == [
        ("openai", "gpt-4o"), ("azure", "gpt-4o"),
    ]  # fmt: skip
    shown = run("prices", "show", "claude-sonnet-4-5-20250929").stdout
    for text in ("cache write 1h  6", "above 200,000 tokens", "service tier batch", "web_search"):
        assert text in shown
    long = run("prices", "show", "gpt-5.5", "--provider", "openai").stdout
    assert "not known" in long, "a tier that has no price for long prompts"
    assert problem(run, "show", "gpt-4oo")["hint"] == "did you mean gpt-4o?"


def test_what_a_usage_costs(run: Run) -> None:
    found = answer(run, "cost", "gpt-4o", "--input", "2006", "--cached", "1920",
                   "--output-tokens", "300")  # fmt: skip
    assert (found["cost_usd"], found["cost_nano_usd"]) == ("0.005615", 5_615_000)
    assert [one["kind"] for one in found["parts"]] == ["cached", "input", "output"]
    found = answer(run, "cost", "claude-sonnet-4-5", "--input", "6039", "--output-tokens", "931",
                   "--tool", "web_search=3", "--tool", "web_fetch=1")  # fmt: skip
    assert found["cost_usd"] == "0.062082"
    found = answer(run, "cost", "claude-haiku-4-5", "--input", "10000", "--batch")
    assert found["cost_usd"] == "0.005"
    found = answer(run, "cost", "gpt-5", "--input", "1000", "--service-tier", "fast")
    assert found["cost_usd"] == "0.0025"
    shown = run("prices", "cost", "gpt-4o", "--input", "9", *DAY).stdout
    assert "$0.0000225 at the list price of gpt-4o" in shown


def test_what_has_no_price_is_no_answer(run: Run) -> None:
    asked = ("cost", "gpt-4o", "--input", "100", "--cache-write", "40")
    found = answer(run, *asked, code=3)
    assert (found["cost_usd"], found["priced_usd"]) == (None, "0.00015")
    assert found["unpriced"] == ["cache_write"]
    shown = run("prices", *asked, *DAY)
    assert shown.exit_code == 3
    assert "what has a price: $0.00015" in shown.stdout
    assert "without a price that is known: cache_write" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gpt-4o", "--input", "3", "--cached", "5"), "--input 3 is less than its parts"),
        (("gpt-4o", "--reasoning", "5"), "--output-tokens 0 is less than its parts"),
        (("gpt-4o", "--tool", "web_search"), "--tool web_search: no number of uses"),
        (("gpt-4o", "--provider", "anthropic"), "no list price of 'gpt-4o'"),
        (("nothing-like-it",), "no list price of 'nothing-like-it'"),
    ],
)
def test_mistakes(run: Run, arguments: tuple[str, ...], said: str) -> None:
    assert said in problem(run, "cost", *arguments)["message"]


def test_prices_of_another_day(run: Run) -> None:
    result = run("prices", "show", "gemini-4-argon", "--day", "2026-12-01", "-o", "json")
    (found,) = json.loads(result.stdout)
    assert found["price"]["input_usd_per_million"] == 4
    result = run("prices", "list", "--day", "tomorrow", "-o", "json")
    assert json.loads(result.stderr)["error"]["message"] == "--day tomorrow is no day"
    assert run("prices", "show", "gpt-4o").exit_code == 0, "today"


def test_providers_that_differ_have_to_be_chosen_from(monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"model": "m", "source": "s", "seen": "2026-01-01"}
    file = {
        "as_of": "2026-11-25", "sources": {"s": ""},
        "providers": {"openai": {"models": [{**model, "input": 1}]},
                      "groq": {"models": [{**model, "input": 2}]}},
    }  # fmt: skip
    made = tables.parse(json.dumps(file).encode())
    monkeypatch.setattr(price_pictures, "shipped", lambda: made)
    with pytest.raises(Invalid, match="of openai, groq"):
        price_pictures.only("m", "", "")
    assert price_pictures.only("m", "groq", "").price.input == 2 * 10**9
