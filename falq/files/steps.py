"""Work on the disk in steps, so that many small files wait for the disk together.

Each file that is brought to the disk by itself makes the file system commit its journal; a
batch of which all files are begun, then all synced, then all named, takes a third of that.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")
#: Blocking work that pauses where the next step would wait for the disk, and gives its outcome.
Steps = Generator[None, None, _T]


def finish(steps: Steps[_T]) -> _T:
    """Do all steps of one piece of work at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: _T = end.value
            return outcome


def in_step(works: Sequence[Steps[Any]]) -> list[Any]:
    """Do the first step of each, then the second of each, and so on.

    Returns:
        What each came to: its outcome, or the exception that ended it alone.
    """
    outcomes: list[Any] = [None] * len(works)
    live = dict(enumerate(works))
    while live:
        for i, steps in list(live.items()):
            try:
                next(steps)
            except StopIteration as end:
                outcomes[i] = end.value
                del live[i]
            except Exception as error:  # noqa: BLE001  # whoever asked for it gets it
                outcomes[i] = error
                del live[i]
    return outcomes
