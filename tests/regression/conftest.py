"""What the regression tests share: one platform with three gateway processes."""

from collections.abc import Iterator

import pytest
from tests.platform import Platform, platform

PROCESSES = 3


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A test that kills one of its processes waits until the supervisor has replaced it."""
    folder = tmp_path_factory.mktemp("three") / "data"
    with platform(folder, "--workers", str(PROCESSES)) as one:
        yield one
