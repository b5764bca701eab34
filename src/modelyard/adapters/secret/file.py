"""Secrets in files that somebody else writes, such as a mounted Kubernetes secret."""

from pathlib import Path

from modelyard.errors import Invalid, NotFound, Unavailable
from modelyard.ports.meta import DEFAULT_TENANT
from modelyard.ports.secrets import MAX_SECRET_CHARACTERS, usable


class FileSecrets:
    """`file:/absolute/path`, white space around the value stripped. The mode should be 0600."""

    def __init__(self, data: Path) -> None:
        """`data` is the folder of the platform, whose own secrets are sent nowhere."""
        self._data = data.resolve()

    def resolve(self, reference: str, *, tenant: str = DEFAULT_TENANT, origin: str = "") -> str:
        """See the port. A file is bound to no origin. Raises Unavailable when the disk fails."""
        path = Path(reference.removeprefix("file:"))
        if not path.is_absolute():
            raise Invalid(f"the path {path} is not absolute", hint="write file:/whole/path")
        try:
            text = self._read(path, path.resolve(strict=True))
        except FileNotFoundError:
            raise NotFound(
                f"there is no file {path}", hint="write the key into it, with mode 0600"
            ) from None
        except UnicodeDecodeError:
            raise Invalid(f"{path} is no text file", hint="it must hold the key alone") from None
        except PermissionError:
            raise Invalid(
                f"{path} may not be read by the platform",
                hint="let the user that runs `modelyard up` own it, with mode 0600",
            ) from None
        except (OSError, ValueError) as error:
            raise Unavailable(f"{path} cannot be read: {error}") from None
        return usable(text, f"the file {path}")

    def _read(self, path: Path, place: Path) -> str:
        """`place` is where the path leads to; a pipe or a device would never end."""
        if place.is_relative_to(self._data):
            raise Invalid(
                f"{path} is in the data folder, whose secrets are the platform's own",
                hint="put the key into another folder, or into the store",
            )
        if not place.is_file():
            raise Invalid(f"{path} is no plain file", hint="it must hold the key alone")
        with place.open(encoding="utf-8") as file:
            return file.read(2 * MAX_SECRET_CHARACTERS)
