"""The pages in Chromium, with a real platform, model and answers behind them.

With SCREENSHOTS=docs/screenshots it writes the pictures of the documentation.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.platform import Platform, platform

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PAGES = ("/", "/services", "/services/support", "/models", "/models/support-bot", "/requests",
         "/keys", "/limits", "/providers", "/audit", "/chat")  # fmt: skip
PYTHON = sys.executable
SHOTS = os.environ.get("SCREENSHOTS", "")

pytestmark = pytest.mark.skipif(
    not CHROMIUM and not os.environ.get("CI"), reason="needs Debian's chromium"
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("browser") / "data") as one:
        one.serve_shipped(replicas=2)
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Watched:
    """A page whose every complaint is kept."""

    def __init__(self, browser: Browser, running: Platform, **context: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, **context}
        )
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._console)
        self.url = running.control_url
        self.page.goto(running.client.login_link())

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page


@pytest.fixture
def watched(browser: Browser, running: Platform) -> Iterator[Watched]:
    one = Watched(browser, running)
    yield one
    one.context.close()
    assert one.problems == []


def ask(running: Platform, question: str, model: str = "support") -> httpx.Response:
    return httpx.post(
        f"{running.gateway_url}/v1/chat/completions",
        headers={"authorization": f"Bearer {running.key}"},
        json={"model": model, "messages": [{"role": "user", "content": question}]},
    )


def test_a_login_is_needed_and_a_key_or_a_link_gives_it(
    browser: Browser, running: Platform
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(running.control_url + "/models")
    expect(page).to_have_url(f"{running.control_url}/login?next=/models")
    page.get_by_label("Access key").fill("my_wrong_key")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    page.get_by_label("Access key").fill(running.key)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{running.control_url}/models")
    link = running.client.login_link()
    page.goto(link)
    page.get_by_role("button", name="Log out").click()
    page.goto(link)
    expect(page.get_by_role("alert")).to_contain_text("used already")
    context.close()


def test_chat_streams_an_answer_and_links_its_record(watched: Watched) -> None:
    page = watched.open("/chat")
    expect(page.get_by_text("knows nothing of the world")).to_be_visible()
    page.get_by_role("button", name="How do I cancel my order?").click()
    expect(page.locator(".message.assistant")).to_contain_text("Open My Orders and choose Cancel")
    expect(page.locator(".facts")).to_contain_text("tokens in")
    page.get_by_label("Message").fill("What is the capital of France?")
    page.keyboard.press("Enter")
    expect(page.locator(".message.assistant").nth(1)).to_contain_text("I can only help with")
    link = page.get_by_role("link", name="record").first
    page.wait_for_timeout(500)  # records come a moment after the answer
    link.click()
    expect(page.locator("h1")).to_contain_text("completed")
    expect(page.locator(".waterfall")).to_contain_text("attempt 1")
    expect(page.locator("main")).to_contain_text("chat page")


def test_new_requests_appear_by_themselves_and_filter(watched: Watched, running: Platform) -> None:
    page = watched.open("/requests")
    expect(page.locator("#live-sign")).to_be_visible()
    wanted = ask(running, "Where do I track my parcel?").headers["x-request-id"]
    expect(page.locator(f'tr[data-href="/requests/{wanted}"]')).to_be_visible()
    refused = ask(running, "hello", model="nobody").headers["x-request-id"]
    expect(page.locator(f'tr[data-href="/requests/{refused}"]')).to_be_visible()
    page.goto(f"{running.control_url}/requests?outcome=rejected")
    expect(page.locator("tbody tr").first).to_contain_text("404")
    expect(page.locator("tbody")).not_to_contain_text("completed")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("rejected")


def test_use_it_is_text_that_runs(watched: Watched, running: Platform, tmp_path: Path) -> None:
    page = watched.open("/models/support-bot")
    page.get_by_role("button", name="Make a key for this service").click()
    key = page.locator(".new-key pre").inner_text()
    environment = {**os.environ, "MODELYARD_API_KEY": key}
    texts = {name: page.locator(f'[data-panel="{name}"] pre').text_content() or ""
             for name in ("curl", "Python", "JavaScript")}  # fmt: skip
    script = tmp_path / "use.mjs"
    script.write_text(texts["JavaScript"])
    commands = {
        "curl": ["sh", "-c", texts["curl"]],
        "Python": [sys.executable, "-c", texts["Python"]],
    }
    if shutil.which("node"):
        commands["JavaScript"] = ["node", str(script)]
    for name, command in commands.items():
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert "Open My Orders and choose Cancel" in done.stdout, (name, done.stdout, done.stderr)


def test_keys_are_made_shown_once_and_revoked(watched: Watched, running: Platform) -> None:
    page = watched.open("/keys")
    page.get_by_text("Make a key").click()
    page.get_by_label("Team").fill("blue")
    page.get_by_role("button", name="Make the key").click()
    key = page.locator("#new-key pre").inner_text()
    page.reload()
    expect(page.locator("body")).not_to_contain_text(key)
    page.on("dialog", lambda dialog: dialog.accept())
    row = page.locator("tr", has_text="blue")
    row.get_by_role("button", name="Revoke").click()
    expect(page.locator("tr", has_text="blue")).to_contain_text("revoked")


def test_limits_are_made_refused_and_deleted(watched: Watched, running: Platform) -> None:
    page = watched.open("/limits")
    page.get_by_text("Make a limit").click()
    page.get_by_label("Name").fill("green")
    page.get_by_role("button", name="Set the limit").click()
    expect(page.get_by_role("alert")).to_contain_text("bounds nothing")
    assert watched.problems, "the browser says that the server refused it"
    watched.problems.clear()
    page.locator("#limit-form [name=team]").fill("green")
    page.locator("#limit-form [name=service]").select_option("support")
    page.get_by_label("Counted").select_option("person")
    page.get_by_label("Requests a minute").fill("100000")
    page.get_by_label("Budget in US$").fill("50.5")
    page.get_by_label("If a price is unknown").select_option("allow")
    page.get_by_role("button", name="Set the limit").click()
    row = page.locator("tr#green")
    expect(row).to_contain_text("team green, service support, each person")
    expect(row).to_contain_text("$50.5 a month")
    page.goto(f"{running.control_url}/services")
    expect(page.locator('tr[data-href="/services/support"]')).to_contain_text("green")
    page.get_by_role("link", name="green").click()
    page.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)


def test_what_a_key_may_use_is_changed_in_place(watched: Watched, running: Platform) -> None:
    made = running.client.create_key(label="bounded", limits={"concurrency": 500})
    page = watched.open("/keys")
    row = page.locator("tr", has_text=made["id"])
    expect(row).to_contain_text("500 at once")
    row.get_by_role("button", name="Limit").click()
    dialog = page.locator("#limit-dialog")
    expect(dialog.get_by_label("Requests at once")).to_have_value("500")
    dialog.get_by_label("Requests at once").fill("")
    dialog.get_by_label("Tokens a minute").fill("9000")
    dialog.get_by_label("Priority").select_option("background")
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("9,000 tpm; background")


def test_a_canary_shows_its_share(watched: Watched, running: Platform) -> None:
    canary = {"engine": {"name": "echo", "tokens": 3}, "weight": 0.1}
    running.apply("split", engine={"name": "echo"}, canary=canary)
    page = watched.open("/services/split")
    expect(page.locator("main")).to_contain_text("90 %")
    expect(page.locator("#replicas tr")).to_have_count(2)
    page.goto(f"{running.control_url}/services")
    expect(page.locator('tr[data-href="/services/split"]')).to_contain_text("canary ● ready")
    running.client.delete_service("split")


def test_what_content_is_kept_is_shown(watched: Watched, running: Platform) -> None:
    kept = {"responses": {"keep_s": 2592000}}
    running.apply("keeps", engine={"name": "echo"}, content=kept)
    page = watched.open("/services/keeps")
    expect(page.locator("dl.pairs")).to_contain_text("responses, for 30 d")
    page.goto(f"{running.control_url}/services")
    expect(page.locator('tr[data-href="/services/keeps"]')).to_contain_text("responses, for 30 d")
    running.client.delete_service("keeps")


def test_a_replica_shows_its_output(watched: Watched) -> None:
    page = watched.open("/services/support")
    expect(page.locator("#replicas tr")).to_have_count(2)
    page.locator("#replicas tr a").first.click()
    expect(page.locator("pre.logs")).to_contain_text("listening")


def test_a_foreign_page_cannot_use_the_login(watched: Watched, running: Platform) -> None:
    cookie = watched.context.cookies()[0]
    answer = httpx.post(
        f"{running.control_url}/api/keys",
        json={"role": "admin"},
        cookies={cookie["name"]: cookie["value"]},
        headers={"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    )
    assert answer.status_code == 403
    named = httpx.get(f"{running.control_url}/login", headers={"host": "evil.example"})
    assert named.status_code == 403


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_and_is_quiet(browser: Browser, running: Platform, scheme: Any) -> None:
    for _ in range(3):
        ask(running, "How do I cancel my order?")
    one = Watched(browser, running, color_scheme=scheme)
    for path in PAGES:
        page = one.open(path)
        if path == "/chat":
            page.get_by_role("button", name="Where do I track my parcel?").click()
            expect(page.locator(".facts")).to_contain_text("tokens in")
        page.set_viewport_size({"width": 390, "height": 780})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        page.set_viewport_size({"width": 1280, "height": 800})
        _shoot(page, path, scheme)
    one.open("/requests").locator('tbody tr a[href^="/requests/"]').first.click()
    expect(one.page.locator(".waterfall")).to_be_visible()
    _shoot(one.page, "/request", scheme)
    one.context.close()
    assert one.problems == []


def _shoot(page: Page, path: str, scheme: str) -> None:
    if not SHOTS:
        return
    page.wait_for_timeout(300)
    name = path.strip("/").replace("/", "-") or "overview"
    Path(SHOTS).mkdir(parents=True, exist_ok=True)
    page.screenshot(path=f"{SHOTS}/{name}-{scheme}.png")


def test_empty_pages_say_what_fills_them(browser: Browser, tmp_path: Path) -> None:
    with platform(tmp_path / "data") as empty:
        one = Watched(browser, empty)
        for path, word in {"/": "modelyard run", "/services": "modelyard run",
                           "/models": "models push", "/requests": "modelyard run",
                           "/chat": "modelyard run", "/limits": "limits set"}.items():  # fmt: skip
            expect(one.open(path).locator("main")).to_contain_text(word)
        one.context.close()
        assert one.problems == []
        assert json.loads((empty.data / "run.json").read_text())["control_url"] == one.url
