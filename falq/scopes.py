"""The scopes of an account: its limits, pauses and holds, and how each stands.

A scope is one queue, or the whole account (``@``). Limits live in Redis, resolved, so that
all workers change in the same instant; what was spent under the old ones is carried over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from falq import keys
from falq.exchange import Argument
from falq.limits import MICROSECONDS_PER_S, Limits, limit_arguments
from falq.scripts import Scripts

#: Queues that one call of a script looks at; Redis serves nobody else meanwhile.
PAGE = 200


@dataclass(frozen=True, kw_only=True)
class ScopeState:
    """How a scope stands; ``queue`` ``@`` is the account. Times in seconds."""

    queue: str
    waiting: int
    running: int
    wait_s: float | None
    limit: str
    paused: bool
    hold_reason: str
    max_concurrent: int | None
    start_interval_s: float
    rate_per_min: float | None
    burst: int


class Scopes:
    """The scopes of one account.

    Args:
        redis: Bytes replies.
        account: Whose.
        scripts: For tests.
    """

    def __init__(self, redis: Redis, account: str, scripts: Scripts | None = None) -> None:
        self._redis = redis
        self._account = account
        self._scripts = scripts or Scripts(redis)

    def _run(self, script: str, *args: Argument) -> Any:
        return self._scripts.run(script, [self._account, *args])

    def configure(self, queue: str, limits: Limits) -> None:
        """Put limits in force for a queue, for all workers at once; spent permits carry over."""
        self._run("configure", queue, "limits", *limit_arguments(limits))

    def configure_account(self, max_concurrent: int | None) -> None:
        """Cap the jobs of all queues together; None lifts the cap."""
        cap = "" if max_concurrent is None else max_concurrent
        self._run("configure", keys.ACCOUNT_SCOPE, "limits", cap, 0, 0, 1, f"account:{cap}")

    def pause(self, queue: str) -> None:
        """Start no more jobs of a queue; those that run go on."""
        self._run("configure", queue, "pause")

    def resume(self, queue: str) -> None:
        """Start jobs of a queue again; lifts a hold, too."""
        self._run("configure", queue, "resume")

    def hold(self, scope: str, for_s: float, reason: str) -> None:
        """Start nothing in a scope for some seconds; a longer hold stays."""
        self._run("configure", scope, "hold", microseconds(for_s), reason)

    def snapshot(self, queues: Sequence[str] | None = None) -> list[ScopeState]:
        """Say how the account and its queues stand; changes nothing. The account is first.

        Args:
            queues: Which; None: all that ever had a job of the account.
        """
        names = [keys.ACCOUNT_SCOPE, *(self.queues() if queues is None else queues)]
        pages = (names[i : i + PAGE] for i in range(0, len(names), PAGE))
        return [_state(row) for page in pages for row in self._run("explain", *page)]

    def queues(self) -> list[str]:
        """Name the queues that ever had a job of the account, or limits."""
        found: Any = self._redis.smembers(keys.of_account(self._account, "queues"))
        return sorted(name.decode() for name in found)


def microseconds(seconds: float) -> int:
    """Give a time as scripts take it."""
    return round(seconds * MICROSECONDS_PER_S)


def _state(row: Sequence[Any]) -> ScopeState:
    name, waiting, running, wait_us, limit, paused, held, most, interval, emission, burst = row
    return ScopeState(
        queue=name.decode(),
        waiting=waiting,
        running=running,
        wait_s=None if wait_us < 0 else wait_us / MICROSECONDS_PER_S,
        limit=limit.decode(),
        paused=bool(paused),
        hold_reason=held.decode(),
        max_concurrent=None if most == b"" else most,
        start_interval_s=interval / MICROSECONDS_PER_S,
        rate_per_min=60 * MICROSECONDS_PER_S / emission if emission else None,
        burst=burst,
    )
