"""The one folder that holds all state, its secrets, and the lock that one `up` holds on it."""

import contextlib
import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import IO, Any

from modelyard.errors import Conflict, Unavailable


class DataFolder:
    """Paths inside the folder; nothing else in the code spells them."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.meta = self.root / "meta.sqlite"
        self.blobs = self.root / "blobs"
        self.records = self.root / "records"
        self.logs = self.root / "logs"
        self.spool = self.root / "spool"
        self.kept = self.root / "kept"
        self.snapshot = self.root / "snapshot.json"
        self.shared = self.root / "shared.bin"
        self.ledger = self.root / "ledger.bin"
        self.run = self.root / "run.json"
        self.admin_key = self.root / "admin.key"
        self._secrets = self.root / "secrets"
        self.secret_store = self._secrets / "store"

    def create(self) -> None:
        """Make the folders that are missing, readable by the owner only."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.blobs, self.records, self.logs, self.spool, self._secrets):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Unavailable(
                f"cannot use the data folder {self.root}: {error.strerror}",
                hint="choose another with --data DIR or MODELYARD_DATA",
            ) from error

    def lock(self) -> IO[str]:
        """Hold the folder for this process until the returned file is closed or it dies.

        Raises Conflict, naming the holder, when another process holds it.
        """
        file = (self.root / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise Conflict(
                f"{self.root} is in use by {holder}",
                hint="stop that one, or choose another folder with --data DIR",
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        return file

    def secret(self, name: str) -> bytes:
        """32 random bytes kept under `name`, made on first use, mode 0600; the same for all
        processes, also for those that use it first at the same moment."""
        path = self._secrets / name
        if not path.exists():
            mine = path.with_name(f".{name}.{secrets.token_hex(8)}")
            write_private(mine, secrets.token_hex(32))
            with contextlib.suppress(FileExistsError):  # somebody was faster: theirs counts
                path.hardlink_to(mine)
            mine.unlink()
        return bytes.fromhex(path.read_text().strip())

    def pepper(self) -> bytes:
        """The key of the HMAC over access keys."""
        return self.secret("pepper")

    def internal_token(self) -> str:
        """What the platform's own processes show each other."""
        return self.secret("internal").hex()

    def read_run(self) -> dict[str, Any] | None:
        """`run.json` of a running platform (`gateway_url`, `control_url`, `pid`), or None."""
        try:
            value = json.loads(self.run.read_text())
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None


def write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, mode 0600, durable when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
