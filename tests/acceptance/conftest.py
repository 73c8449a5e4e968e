"""A sandbox for the session, and homes that clean up after themselves."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from world import Home

from falq.sandbox import RunningSandbox, running_sandbox

_NUMBERS = count()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture(scope="session")
def pool() -> Iterator[ThreadPoolExecutor]:
    """Runs cases that mostly wait, several at a time."""
    with ThreadPoolExecutor(5) as executor:
        yield executor


@pytest.fixture(scope="session")
def shared(sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with a worker, for all cases that kill nothing."""
    home = Home(tmp_path_factory.mktemp("shared"), sandbox, {"FAL_QUEUE_JOB_TIMEOUT": "8"})
    try:
        assert home.falq("up").code == 0
        yield home
    finally:
        home.close()


@pytest.fixture
def new_home(
    sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Home]]:
    """Make homes, each a machine of its own; environment as keyword arguments."""
    made: list[Home] = []

    def make(**env: str) -> Home:
        root: Path = tmp_path_factory.mktemp(f"home{next(_NUMBERS)}-")
        made.append(Home(root, sandbox, env))
        return made[-1]

    yield make
    for home in reversed(made):
        home.close()
