"""Both addresses over TLS, with a certificate that no authority has signed."""

import json
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import openai
import pytest
from tests.platform import platform

from modelyard.client import Client
from modelyard.errors import Invalid
from modelyard.lib.tls import listening

pytestmark = pytest.mark.skipif(
    not shutil.which("openssl") and not os.environ.get("CI"), reason="needs openssl"
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=modelyard.test",
         "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture
def secured(files: tuple[Path, Path]) -> Path:
    certificate, key = files
    config = certificate.parent / "modelyard.toml"
    config.write_text(
        "\n".join(
            f'[{part}.tls]\ncertificate = "{certificate}"\nkey = "{key}"'
            for part in ("gateway", "control")
        )
    )
    return config


def test_the_whole_way_is_encrypted(
    files: tuple[Path, Path], secured: Path, tmp_path: Path
) -> None:
    certificate, _ = files
    with platform(tmp_path / "data", "--config", str(secured)) as one:
        assert one.gateway_url.startswith("https://")
        assert one.control_url.startswith("https://")
        one.client.close()
        one.client = Client(one.control_url, one.key, certificate=str(certificate))
        one.serve_echo()
        trusted = ssl.create_default_context(cafile=certificate)
        with (
            httpx.Client(verify=trusted) as http,
            openai.OpenAI(
                base_url=f"{one.gateway_url}/v1", api_key=one.key, http_client=http
            ) as client,
        ):
            whole = client.chat.completions.create(
                model="echo", messages=[{"role": "user", "content": "one two"}]
            )
            assert whole.choices[0].message.content
            pieces = client.chat.completions.create(
                model="echo", messages=[{"role": "user", "content": "one two"}], stream=True
            )
            text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
            assert text == whole.choices[0].message.content
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{one.gateway_url}/healthz")
        _the_command_line_trusts_its_own_platform(one.data)
        said = _modelyard(one.data, "chat", "echo", "--message", "hello there")
        assert said.startswith("hello there")


def _the_command_line_trusts_its_own_platform(data: Path) -> None:
    assert len(json.loads(_modelyard(data, "services", "list", "-o", "json"))) == 1


def _modelyard(data: Path, *words: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MODELYARD_")}
    done = subprocess.run(
        [sys.executable, "-m", "modelyard.entry.cli.main", *words],
        env={**environment, "MODELYARD_DATA": str(data)},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_files_that_do_not_work_are_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = files
    with pytest.raises(Invalid, match=r"gateway\.tls\.key is not set"):
        listening(str(certificate), "", "gateway")
    with pytest.raises(Invalid, match=r"control\.tls: .*nowhere\.pem"):
        listening(str(tmp_path / "nowhere.pem"), str(key), "control")
    with pytest.raises(Invalid, match=r"gateway\.tls"):
        listening(str(key), str(certificate), "gateway")
