"""The shipped table, as the control plane asks it."""

from modelyard.control import prices


def test_it_is_read_once_and_answers_by_kind_and_name() -> None:
    assert prices.shipped() is prices.shipped()
    entry = prices.find("anthropic", "claude-sonnet-4-5@20250929")
    assert entry is not None
    assert entry.model == "claude-sonnet-4-5"
    assert prices.find("anthropic", "claude-sonnet-9") is None
    assert prices.find("openrouter", "claude-sonnet-4-5") is None
    assert prices.find("gemini", "gemini-4-argon", "2026-11-30") is not None
    later = prices.find("gemini", "gemini-4-argon", "2026-12-01")
    assert later is not None
    assert later.price.input == 4 * 10**9
