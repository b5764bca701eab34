"""Whom a request speaks for: what is believed, from whom, and in which order."""

import json

import pytest

from modelyard.domain.access.asking import Asking, of_head, person_of
from modelyard.domain.snapshot import AccessKey


def key(**more: object) -> AccessKey:
    return AccessKey(**{"id": "k", "digest": "", "tenant": "default", "role": "caller", **more})


WEB_UI = {
    b"x-openwebui-user-id": b"7f",
    b"x-openwebui-user-email": b"ada@example.org",
    b"x-openwebui-chat-id": b"chat-1",
    b"user-agent": b"Python/3.12 aiohttp/3.11",
}


def test_only_a_trusted_key_may_say_for_whom_it_asks() -> None:
    headers = {**WEB_UI, b"x-modelyard-team": b"blue"}
    assert of_head(key(), headers) == Asking("", "", "chat-1", "Python/3.12")
    assert of_head(key(trusted=True), headers) == Asking(
        "blue", "ada@example.org", "chat-1", "Python/3.12"
    )


def test_what_the_key_says_comes_first() -> None:
    one = key(trusted=True, person="grace", team="red", client="shop")
    headers = {**WEB_UI, b"x-modelyard-team": b"blue", b"x-modelyard-client": b"other"}
    assert of_head(one, headers) == Asking("red", "grace", "chat-1", "shop")


@pytest.mark.parametrize(
    ("headers", "session", "client"),
    [
        ({b"x-claude-code-session-id": b"72c3", b"user-agent": b"claude-cli/2.1.197 (external)"},
         "72c3", "claude-cli/2.1.197"),
        ({b"session-id": b"01a2", b"originator": b"codex_exec", b"user-agent": b"codex_exec/0.169"},
         "01a2", "codex_exec"),
        ({b"session_id": b"01a2"}, "01a2", ""),
        ({b"x-modelyard-session": b"own", b"session-id": b"01a2"}, "own", ""),
    ],
)  # fmt: skip
def test_sessions_and_clients_of_agents(
    headers: dict[bytes, bytes], session: str, client: str
) -> None:
    found = of_head(key(), headers)
    assert (found.session, found.client) == (session, client)


def test_what_is_too_long_is_cut() -> None:
    found = of_head(key(trusted=True), {b"x-modelyard-session": b"s" * 99,
                                        b"x-modelyard-person": b"p" * 999})  # fmt: skip
    assert (len(found.session), len(found.person)) == (64, 128)


CLAUDE = json.dumps({"device_id": "f7", "account_uuid": "", "session_id": "72"})


@pytest.mark.parametrize(
    ("value", "person"),
    [
        ('"ada"', "ada"),
        ('{"user_id": "ada"}', "ada"),
        (json.dumps({"user_id": CLAUDE}), "f7"),
        (json.dumps({"user_id": "{not json"}), "{not json"),
        ('"a\\u0000b"', ""),
        ("7", ""),
        ("null", ""),
        ('{"user_id": 7}', ""),
        ("", ""),
        ("{", ""),
        ('"' + "x" * 500 + '"', "x" * 128),
    ],
)
def test_the_person_in_a_body(value: str, person: str) -> None:
    assert person_of(value.encode()) == person
