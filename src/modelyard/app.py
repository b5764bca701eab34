"""Composition root: the only file that resolves adapters, by their registered names."""

from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from modelyard.adapters.secret import BySchemes
from modelyard.adapters.secret.env import EnvSecrets
from modelyard.adapters.secret.file import FileSecrets
from modelyard.adapters.secret.stored import StoredSecrets
from modelyard.control.access import Access
from modelyard.control.followers import Followers
from modelyard.control.insight import Insight
from modelyard.control.limits import Limits
from modelyard.control.providers import Providers
from modelyard.control.registry import Registry
from modelyard.control.services import Services
from modelyard.control.snapshots import Snapshots
from modelyard.errors import Invalid
from modelyard.lib.datafolder import DataFolder
from modelyard.ports.blobs import BlobStore
from modelyard.ports.engine import Engine
from modelyard.ports.meta import MetaStore
from modelyard.ports.records import RecordStore
from modelyard.ports.secrets import Secrets
from modelyard.settings import Settings


@dataclass(frozen=True)
class App:
    """The parts of a control-plane process. What is not used costs nothing."""

    settings: Settings
    folder: DataFolder
    meta: MetaStore
    blobs: BlobStore
    records: RecordStore
    access: Access
    insight: Insight
    limits: Limits
    providers: Providers
    secrets: Secrets
    registry: Registry
    services: Services
    snapshots: Snapshots
    followers: Followers = field(default_factory=Followers)

    def close(self) -> None:
        """Close the stores that hold something open."""
        for store in (self.meta, self.blobs, self.records):
            close = getattr(store, "close", None)
            if close is not None:
                close()


def build(settings: Settings) -> App:
    """All parts on the stores that the settings name. The data folder must exist."""
    folder = DataFolder(settings.data)
    stores = settings.stores
    meta: MetaStore = _load("modelyard.metas", stores.meta)(folder.meta)
    blobs: BlobStore = _load("modelyard.blobs", stores.blobs)(folder.blobs)
    records: RecordStore = _load("modelyard.records", stores.records)(folder.records)
    secrets, store = secrets_of(folder)
    return App(
        settings=settings,
        folder=folder,
        meta=meta,
        blobs=blobs,
        records=records,
        access=Access(meta, folder.pepper()),
        insight=Insight(records),
        limits=Limits(meta),
        providers=Providers(meta, secrets, store),
        secrets=secrets,
        registry=Registry(meta, blobs),
        services=Services(meta),
        snapshots=Snapshots(meta),
    )


def secrets_of(folder: DataFolder) -> tuple[Secrets, StoredSecrets]:
    """Where secrets are, and the store among them that can be written."""
    store = StoredSecrets(folder.secret_store)
    files = FileSecrets(folder.root)
    return BySchemes({"env": EnvSecrets(), "file": files, "store": store}), store


def engine(name: str) -> Engine:
    """The engine adapter of that name. Raises Invalid naming those there are."""
    adapter: Engine = _load("modelyard.engines", name)()
    return adapter


def _load(group: str, name: str) -> Any:
    found = entry_points(group=group)
    point: EntryPoint | None = next((point for point in found if point.name == name), None)
    if point is None:
        known = ", ".join(sorted(point.name for point in found)) or "none"
        noun = group.rpartition(".")[2]
        raise Invalid(f"no {name!r} among the {noun}", hint=f"installed: {known}")
    return point.load()
