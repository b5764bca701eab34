"""What every place for secrets does: one suite, three adapters."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.adapters.secret import BySchemes
from modelyard.adapters.secret.env import EnvSecrets
from modelyard.adapters.secret.file import FileSecrets
from modelyard.adapters.secret.stored import StoredSecrets
from modelyard.errors import Invalid, ModelyardError, NotFound
from modelyard.ports.secrets import MAX_SECRET_CHARACTERS, Secrets

ORIGIN = "https://api.test"


class Place:
    """One adapter, with a way to put a value there that is not the platform's."""

    def __init__(self, secrets: Secrets, reference: str, put: Callable[[str], None]) -> None:
        self.secrets = secrets
        self.reference = reference
        self.put = put

    def read(self) -> str:
        return self.secrets.resolve(self.reference, tenant="t", origin=ORIGIN)


@pytest.fixture(params=["env", "file", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "env":
        environment: dict[str, str] = {}
        return Place(
            EnvSecrets(environment), "env:SOME_KEY", lambda v: environment.update(SOME_KEY=v)
        )
    if request.param == "file":
        path = tmp_path / "mounted" / "key"
        path.parent.mkdir()
        return Place(FileSecrets(tmp_path / "data"), f"file:{path}", lambda v: _write(path, v))
    store = StoredSecrets(tmp_path / "data" / "secrets" / "store")
    return Place(store, "store:openai", lambda v: store.put("t", "openai", v, ORIGIN))


def _write(path: Path, value: str) -> None:
    path.write_text(value)


def test_what_is_there_is_read_without_the_space_around_it(place: Place) -> None:
    for value in ("sk-one", "  sk-two\n", "sk-three\r\n"):
        place.put(value)
        assert place.read() == value.strip()


def test_what_is_not_there_is_said_with_what_to_do(place: Place) -> None:
    with pytest.raises(NotFound) as raised:
        place.read()
    assert raised.value.hint


@pytest.mark.parametrize(
    "value", ["", " \n", "sk one", "sk-a\nsk-b", "sk-\x00", "schlüssel", "x" * 9000]
)
def test_what_no_header_may_hold_is_refused_and_not_repeated(place: Place, value: str) -> None:
    with pytest.raises(Invalid) as raised:
        place.put(value)
        place.read()
    told = f"{raised.value.message} {raised.value.hint}"
    assert raised.value.hint
    assert len(value) < 4 or value not in told
    assert len(told) < 400


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(value=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=99))
def test_every_visible_character_survives(place: Place, value: str) -> None:
    place.put(value)
    assert place.read() == value


def test_the_longest_that_is_allowed(place: Place) -> None:
    place.put("k" * MAX_SECRET_CHARACTERS)
    assert len(place.read()) == MAX_SECRET_CHARACTERS


# --- what is special of each -------------------------------------------------------------------


def test_the_platforms_own_variables_and_files_are_sent_nowhere(tmp_path: Path) -> None:
    environment = {"MODELYARD_API_KEY": "my_key", "PATHLIKE": "x"}
    with pytest.raises(Invalid, match="platform's own"):
        EnvSecrets(environment).resolve("env:MODELYARD_API_KEY")
    own = tmp_path / "data" / "secrets" / "pepper"
    own.parent.mkdir(parents=True)
    own.write_text("aa")
    link = tmp_path / "innocent"
    link.symlink_to(own)
    for path in (own, link, tmp_path / "data" / ".." / "data" / "secrets" / "pepper"):
        with pytest.raises(Invalid, match="data folder"):
            FileSecrets(tmp_path / "data").resolve(f"file:{path}")


def test_files_that_are_no_files_are_not_waited_for(tmp_path: Path) -> None:
    files = FileSecrets(tmp_path / "data")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("pipe", "", "binary"):
        with pytest.raises(Invalid):
            files.resolve(f"file:{tmp_path / name}")
    with pytest.raises(Invalid, match="not absolute"):
        files.resolve("file:key")
    (tmp_path / "closed").write_text("k")
    (tmp_path / "closed").chmod(0)
    if os.geteuid() != 0:  # root reads everything
        with pytest.raises(Invalid, match="may not be read"):
            files.resolve(f"file:{tmp_path / 'closed'}")


def test_a_stored_key_goes_to_its_own_place_and_no_other(tmp_path: Path) -> None:
    store = StoredSecrets(tmp_path / "store")
    store.put("t", "openai", "sk-secret", ORIGIN)
    for origin in ("https://evil.test", "http://api.test", "https://api.test:8443", ""):
        with pytest.raises(Invalid) as raised:
            store.resolve("store:openai", tenant="t", origin=origin)
        assert raised.value.code == "secret_bound"
        assert "give the key again" in raised.value.hint
        assert "sk-secret" not in str(raised.value) + raised.value.hint
    with pytest.raises(NotFound):
        store.resolve("store:openai", tenant="other", origin=ORIGIN)
    assert store.origin("t", "openai") == ORIGIN


def test_the_store_is_the_owners_alone_and_whole(tmp_path: Path) -> None:
    store = StoredSecrets(tmp_path / "store")
    store.put("t", "a", "one", ORIGIN)
    store.put("t", "a", "two", "https://b.test")
    store.put("t", "b", "three", ORIGIN)
    file = tmp_path / "store" / "t" / "a"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert store.resolve("store:a", tenant="t", origin="https://b.test") == "two"
    assert store.names("t") == ["a", "b"]
    assert store.names("nobody") == []
    store.delete("t", "a")
    store.delete("t", "a")
    assert store.names("t") == ["b"]
    for damaged in ("", "{", "[]", '{"value": "x"}'):
        file.write_text(damaged)
        with pytest.raises(Invalid, match="damaged"):
            store.resolve("store:a", tenant="t", origin=ORIGIN)


@pytest.mark.parametrize("name", ["../b", "a/b", "", ".", "..", "A"])
def test_no_name_leads_out_of_the_store(tmp_path: Path, name: str) -> None:
    store = StoredSecrets(tmp_path / "store")
    for tenant, secret in (("t", name), (name, "a")):
        with pytest.raises(Invalid):
            store.put(tenant, secret, "k", ORIGIN)
        with pytest.raises(Invalid):
            store.resolve(f"store:{secret}", tenant=tenant, origin=ORIGIN)


def test_a_reference_finds_its_place(tmp_path: Path) -> None:
    secrets = BySchemes({"env": EnvSecrets({"A": "from-env"})})
    assert secrets.resolve("env:A") == "from-env"
    for wrong in ("sk-pasted-by-mistake", "vault:x", ""):
        with pytest.raises(ModelyardError) as raised:
            secrets.resolve(wrong)
        assert "sk-pasted" not in str(raised.value)
        assert "env:…" in raised.value.hint
