"""Secrets that the platform keeps itself, a file each, bound to the place they are for."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.errors import Invalid, NotFound
from modelyard.lib.datafolder import write_private
from modelyard.ports.meta import DEFAULT_TENANT
from modelyard.ports.secrets import usable

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


class StoredSecrets:
    """`store:NAME` in `<folder>/<tenant>/NAME`, mode 0600, with the origin beside the value."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def resolve(self, reference: str, *, tenant: str = DEFAULT_TENANT, origin: str = "") -> str:
        """See the port."""
        name = reference.removeprefix("store:")
        kept = self._read(tenant, name)
        if kept["origin"] != origin:
            raise Invalid(
                f"the stored key {name} is for {kept['origin']} and is not sent to "
                f"{origin or 'anywhere else'}",
                hint="give the key again for the new address: modelyard providers add PROVIDER "
                "--base-url URL --key -",
                code="secret_bound",
            )
        return usable(str(kept["value"]), f"the stored key {name}")

    def put(self, tenant: str, name: str, value: str, origin: str) -> None:
        """See the port."""
        path = self._path(tenant, name)
        text = json.dumps({"origin": origin, "value": usable(value, "the key")})
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, text)

    def origin(self, tenant: str, name: str) -> str:
        """See the port."""
        return str(self._read(tenant, name)["origin"])

    def delete(self, tenant: str, name: str) -> None:
        """See the port."""
        self._path(tenant, name).unlink(missing_ok=True)

    def names(self, tenant: str) -> Sequence[str]:
        """See the port."""
        folder = self._path(tenant, "any").parent
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name))

    def _read(self, tenant: str, name: str) -> dict[str, Any]:
        try:
            kept = json.loads(self._path(tenant, name).read_text())
        except FileNotFoundError:
            raise NotFound(
                f"no key {name} is stored",
                hint="store it: modelyard providers add PROVIDER --key -",
            ) from None
        except ValueError:
            kept = None
        if not isinstance(kept, dict) or not {"origin", "value"} <= set(kept):
            raise Invalid(
                f"the stored key {name} is damaged",
                hint="store it again: modelyard providers add PROVIDER --key -",
            )
        return kept

    def _path(self, tenant: str, name: str) -> Path:
        """Neither name may lead out of the folder."""
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(tenant):
            raise Invalid("a stored key is named as in store:openai")
        return self._folder / tenant / name
