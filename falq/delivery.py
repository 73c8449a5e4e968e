"""What follows once an outcome has reached its caller, and not a moment earlier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from falq.errors import FalqError


class Delivery:
    """Acts that wait until an outcome is in its caller's hands.

    A result counts as given out once it is printed: a process that is killed before that leaves
    it to whoever makes the same call again.
    """

    def __init__(self) -> None:
        self._acts: list[Callable[[], None]] = []

    def then(self, act: Callable[[], None]) -> None:
        """Do this once the outcome is delivered; it must not raise."""
        self._acts.append(act)

    def made(self) -> None:
        """The caller has the outcome: do what waited for that, in order."""
        while self._acts:
            self._acts.pop(0)()


def handed_over(run: Callable[[Delivery], dict[str, Any]]) -> dict[str, Any]:
    """Give what ``run`` gives, or raise what it raises, to a caller in this process."""
    delivery = Delivery()
    try:
        outcome = run(delivery)
    except FalqError:
        delivery.made()
        raise
    delivery.made()
    return outcome
