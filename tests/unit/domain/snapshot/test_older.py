"""Snapshots that an older version wrote still serve: they are on the disk after an upgrade."""

from pathlib import Path

import pytest

from modelyard.domain import snapshot as snapshots
from modelyard.domain.snapshot import Price, Revision, Service, Snapshot
from modelyard.domain.snapshot.prices import ServiceTier, Step

FIXTURES = Path(__file__).parents[3] / "fixtures"
THREE_KINDS = (
    b'{"epoch":"e","generation":7,"created_at_us":5,"services":[{"tenant":"default","name":"bot",'
    b'"revision":{"id":"bot-1","model":"","model_version":"","model_digest":"","engine":"",'
    b'"endpoints":[],"price":{"input":100,"output":400,"cached":100,"replica_hour":0}},'
    b'"created_at_us":0,"canary":null,"routing":{"rule":"first_token","beta":1.0},'
    b'"timeouts":{"connect_s":0.0,"first_token_s":0.0,"idle_s":0.0,"total_s":0.0},'
    b'"retries":{"attempts":3,"backoff_s":0.025,"budget":0.2},"fallbacks":[],'
    b'"queue":{"per_slot":0.0,"limit":1000,"timeout_s":60.0},'
    b'"cache":{"ttl_s":0.0,"max_temperature":2.0,"semantic":null},"shadow":null}],"keys":[],'
    b'"limits":[],'
    b'"sha256":"sha256:617248666868ed82d53d905440f9217d839f7ead6f2682444e351c864dc7c8f6"}'
)
"""As it was written when a price had three kinds of tokens."""


def test_one_from_before_prices_had_more_kinds() -> None:
    (service,) = snapshots.decode(THREE_KINDS).services
    assert service.revision.price == Price(input=100, output=400, cached=100)
    with pytest.raises(ValueError, match="checksum"):
        snapshots.decode(THREE_KINDS.replace(b'"input":100', b'"input":101'))


def test_the_one_in_the_data_folder_that_is_kept() -> None:
    data = (FIXTURES / "data-spine" / "snapshot.json").read_bytes()
    assert snapshots.decode(data).services
    with pytest.raises(ValueError):
        snapshots.decode(data.replace(b'"generation":', b'"generation":1'))


def test_a_whole_price_is_read_as_it_was_written() -> None:
    price = Price(
        input=2,
        output=None,
        cached=0,
        per_request=5,
        server_tools={"web_search": 0},
        steps=(Step(above_input_tokens=9, input=4),),
        service_tiers={"flex": ServiceTier(input=1, steps=(Step(above_input_tokens=9),))},
    )
    service = Service(tenant="t", name="bot", revision=Revision(id="r", price=price))
    sealed = snapshots.seal(Snapshot(epoch="e", generation=1, created_at_us=1, services=(service,)))
    assert snapshots.decode(snapshots.encode(sealed)) == sealed


def test_one_without_a_checksum_is_not_taken() -> None:
    bare = Snapshot(epoch="e", generation=1, created_at_us=1)
    with pytest.raises(ValueError, match="checksum"):
        snapshots.decode(snapshots.encode(bare))
