"""Providers are asked beside everything else: nobody waits for one that does not answer."""

import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
from tests.stand_in import StandIn, stand_in

from modelyard.domain.providers.addresses import base_url
from modelyard.domain.providers.endpoints import Provider
from modelyard.domain.providers.endpoints import endpoint as made
from modelyard.domain.providers.kinds import KINDS
from modelyard.domain.snapshot import Endpoint
from modelyard.entry.asking import Asker
from modelyard.lib import clock


def endpoint(there: StandIn, key: str = "sk-1", name: str = "bot/p/0") -> Endpoint:
    kind = KINDS["openai"]
    return made(name, Provider("p", "openai", base_url(kind, there.url), ("chat",)), "m", key)


@pytest.fixture
def there() -> Iterator[StandIn]:
    with stand_in("openai", None, "sk-1") as one:
        yield one


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_nothing_is_known_at_first_and_one_question_is_asked_for_a_key(there: StandIn) -> None:
    ask = Asker()
    ones = [endpoint(there), endpoint(there, name="web/p/0")]
    assert ask(ones) == {}
    until(lambda: ask(ones) == {"bot/p/0": "", "web/p/0": ""})
    assert len(there.calls) == 1


def test_a_changed_key_keeps_what_was_said_until_it_was_asked(there: StandIn) -> None:
    ask = Asker()
    until(lambda: ask([endpoint(there)]) == {"bot/p/0": ""})
    wrong = endpoint(there, "sk-2")
    assert ask([wrong]) == {"bot/p/0": ""}
    until(lambda: "refuses the key" in ask([wrong])["bot/p/0"])


def test_one_that_does_not_answer_holds_up_nobody(there: StandIn) -> None:
    with stand_in("openai", None) as silent:
        silent.answers = lambda _: (0, {}, "")
        ask = Asker()
        both = [endpoint(silent, name="slow"), endpoint(there, name="well")]
        began_s = clock.monotonic_s()
        ask(both)
        assert clock.monotonic_s() - began_s < 1
        until(lambda: ask(both) == {"well": ""})


@pytest.mark.parametrize(
    ("status", "sick"), [(401, True), (403, True), (404, False), (429, False), (503, True)]
)
def test_what_counts_as_sick(there: StandIn, status: int, sick: bool) -> None:
    there.answers = lambda _: (status, {}, {})
    ask = Asker()
    one = msgspec.structs.replace(endpoint(there), upstream_model="m")
    until(lambda: one.id in ask([one]))
    assert bool(ask([one])[one.id]) is sick
    assert [call.method for call in there.calls] == ["GET"], "no token is asked for"
