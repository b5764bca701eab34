"""The page of providers in Chromium: what is wrong is shown without a reload, and no key ever."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from tests.browser.test_pages import CHROMIUM, FLAGS, Watched, _shoot, pytestmark
from tests.platform import Platform, platform
from tests.stand_in import StandIn, stand_in

__all__ = ["pytestmark"]
SECRET = "sk-very-secret-1"


@pytest.fixture(scope="module")
def there() -> Iterator[StandIn]:
    with stand_in("openai", None, SECRET) as one:
        yield one


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("providers") / "data") as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


def add(running: Platform, name: str, url: str, key: str) -> None:
    spec = {"kind": "openai", "url": url, "keys": [f"store:{name}"]}
    document = {"apiVersion": "modelyard/v1", "kind": "Provider", "name": name, "spec": spec}
    running.client.set_provider(document, {name: key})


def test_providers_are_listed_tested_and_shown_without_their_keys(
    browser: Browser, running: Platform, there: StandIn
) -> None:
    one = Watched(browser, running)
    page = one.open("/providers")
    expect(page.locator("h1")).to_have_text("No provider yet")
    expect(page.locator("main")).to_contain_text("modelyard providers add openai")
    add(running, "good", there.url, SECRET)
    add(running, "bad.one", there.url, "sk-revoked-2")
    running.apply("bot", engine={"name": "provider", "provider": "good", "model": "m"})
    page.keyboard.press("g")
    page.keyboard.press("p")
    expect(page.locator("h1")).to_have_text("2 providers")
    expect(page.get_by_role("link", name="Providers")).to_have_attribute("aria-current", "page")
    page.evaluate("document.body.dataset.same = 'page'")
    good = page.locator('tbody[data-provider="good"]')
    bad = page.locator('tbody[data-provider="bad.one"]')
    expect(good).to_contain_text(there.origin)
    expect(good.get_by_role("link", name="bot")).to_be_visible()
    expect(good).to_contain_text("never")
    good.get_by_role("button", name="Test").click()
    expect(good).to_contain_text("● ok")
    bad.get_by_role("button", name="Test").click()
    expect(bad).to_contain_text("✕ failed")
    expect(bad).to_contain_text("key store:bad.one: the provider refuses the key (401)")
    bad.get_by_role("button", name="Test").click()
    expect(bad.locator("tr.note")).to_have_count(1)
    assert page.evaluate("document.body.dataset.same") == "page", "nothing was reloaded"
    page.reload()
    expect(page.locator("h1")).to_have_text("1 of 2 providers needs a look")
    for secret in (SECRET, "sk-revoked-2"):
        assert secret not in page.content()
    page.goto(f"{running.control_url}/services/bot")
    expect(page.locator("main")).to_contain_text("Outside upstream")
    assert SECRET not in page.content()
    one.context.close()
    assert one.problems == []


def test_one_that_is_gone_meanwhile_reloads_the_page(
    browser: Browser, running: Platform, there: StandIn
) -> None:
    add(running, "gone", there.url, SECRET)
    one = Watched(browser, running)
    page = one.open("/providers")
    row = page.locator('tbody[data-provider="gone"]')
    running.client.delete_provider("gone")
    row.get_by_role("button", name="Test").click()
    expect(row).to_have_count(0)
    one.context.close()
    assert one.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits(browser: Browser, running: Platform, there: StandIn, scheme: Any) -> None:
    add(running, "a-provider-with-a-name-that-is-as-long-as-names-may-well-be", there.url, "sk-3")
    one = Watched(browser, running, color_scheme=scheme)
    page = one.open("/providers")
    page.set_viewport_size({"width": 390, "height": 780})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 800})
    _shoot(page, "/providers", scheme)
    one.context.close()
    assert one.problems == []
