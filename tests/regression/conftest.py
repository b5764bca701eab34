"""What the regression tests share: one platform with three gateway processes."""

import resource
from collections.abc import Iterator

import pytest
from tests.platform import Platform, platform

PROCESSES = 3
FILES = 256
"""Open files that the platform is allowed when it starts: no more than an old shell allows."""


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A test that kills one of its processes waits until the supervisor has replaced it."""
    folder = tmp_path_factory.mktemp("three") / "data"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    with platform(folder, "--workers", str(PROCESSES)) as one:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        yield one
