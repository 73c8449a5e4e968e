"""Which job may start now: decided inside Redis, for all workers of an account together.

Every start of a job is admitted by one script that picks the queue, checks its limits and
the account's, pops the job and takes its lease (``falq/lua/admit.lua``). Semantics: GCRA for
rate and burst, the time of the last start for the interval, leases for concurrency,
start-time fair queueing between queues (``ARCHITECTURE.md``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from falq import keys
from falq.enqueue import limit_arguments
from falq.limits import MICROSECONDS_PER_S, Limits
from falq.scripts import Argument, Scripts

#: A holder that is silent for so long has lost its job, seconds.
LEASE_S = 10.0
#: A job whose outcome is unknown keeps its slot so long: it may run at fal, seconds.
HOLD_S = 600.0
#: Holders that a job may lose without getting on.
MAX_DEATHS = 3
#: Ids at each end of a queue that one sweep looks at.
SWEEP_IDS = 500


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Leave to work on a job: its token fences every other holder off."""

    job_id: str
    queue: str
    token: int
    adopted: bool


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """What a worker got.

    Attributes:
        grants: Jobs to work on now.
        wait_s: Nothing more can start before that, if nothing changes; None: only a wake-up
            can change it.
        reason: ``<scope>:<limit>`` that holds the next job; scope ``@`` is the account.
        waiting: Whether any job waits at all.
    """

    grants: tuple[Grant, ...]
    wait_s: float | None
    reason: str
    waiting: bool


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


class Admission:
    """Admission to the queues of one account.

    Args:
        redis: Bytes replies.
        account: Whose.
        lease_s: Life of a lease without renewal.
        scripts: For tests.
    """

    def __init__(
        self,
        redis: Redis,
        account: str,
        *,
        lease_s: float = LEASE_S,
        scripts: Scripts | None = None,
    ) -> None:
        self._redis = redis
        self._account = account
        self._lease_us = _us(lease_s)
        self._scripts = scripts or Scripts(redis)

    def _run(self, script: str, *args: Argument) -> Any:
        return self._scripts.run(script, [self._account, *args])

    def admit(
        self, worker: str, limit: int, *, queues: str | None = None, register: bool = True
    ) -> Admitted:
        """Take up to ``limit`` jobs that may start now.

        A job that was taken is leased: it must be renewed, ended or handed over. Not safe to
        repeat blindly, but nothing is lost: what a lost reply gave comes back after the lease.

        Args:
            worker: Its name; the channel that wakes it.
            limit: Jobs that it has room for.
            queues: Glob of the queues that it serves.
            register: It sleeps after a refusal and wants to be woken.
        """
        reply = self._run(
            "admit", worker, limit, self._lease_us, glob_to_lua(queues), int(register)
        )
        wait_us, reason, waiting = reply[:3]
        found = reply[3:]
        grants = tuple(_grant(found[i : i + 4]) for i in range(0, len(found), 4))
        return Admitted(
            grants=grants,
            wait_s=None if wait_us < 0 else wait_us / MICROSECONDS_PER_S,
            reason=reason.decode(),
            waiting=bool(waiting),
        )

    def acquire(self, job_id: str, worker: str) -> Grant | float | None:
        """Admit a job that a stock RQ worker popped.

        Returns:
            A grant, the seconds to wait before asking again, or None if another holds it.
        """
        reply = self._run("acquire", worker, job_id, self._lease_us)
        if reply[0] == 1:
            return Grant(job_id=job_id, queue=reply[2].decode(), token=reply[1], adopted=False)
        if reply[0] == 2:
            return None
        return 1.0 if reply[1] < 0 else reply[1] / MICROSECONDS_PER_S

    def renew(self, held: Mapping[str, int]) -> set[str]:
        """Lengthen the leases of jobs; give those that are held by others by now."""
        lost = self._run("renew", self._lease_us, *_pairs(held))
        return {job_id.decode() for job_id in lost}

    def surrender(self, held: Mapping[str, int]) -> int:
        """Leave jobs to other workers at once; give how many were still ours."""
        return int(self._run("surrender", self._lease_us, *_pairs(held)))

    def reap(self) -> list[tuple[str, str]]:
        """See to jobs whose holder is gone; give them with the phase they were in."""
        found = self._run("reap", self._lease_us, _us(HOLD_S), MAX_DEATHS)
        texts = [each.decode() for each in found]
        return list(zip(texts[::2], texts[1::2], strict=True))

    def take_in(self, defaults: Limits) -> tuple[int, list[tuple[str, str]]]:
        """Take in jobs without an account, and what stock tools pushed.

        Returns:
            How many wait now, and the ended jobs (with their phase) that a tool put back.
        """
        taken, *asked = self._run("take_in", *limit_arguments(defaults), SWEEP_IDS)
        texts = [each.decode() for each in asked]
        return int(taken), list(zip(texts[::2], texts[1::2], strict=True))

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
        """Start jobs of a queue again."""
        self._run("configure", queue, "resume")

    def hold(self, scope: str, for_s: float, reason: str) -> None:
        """Start nothing in a scope for some seconds; a longer hold stays."""
        self._run("configure", scope, "hold", _us(for_s), reason)

    def queues(self) -> list[str]:
        """Name the queues that ever had a job of the account."""
        found: Any = self._redis.smembers(keys.of_account(self._account, "queues"))
        return sorted(name.decode() for name in found)

    def snapshot(self, queues: Sequence[str] | None = None) -> list[ScopeState]:
        """Say how the account and its queues stand; changes nothing. The account is first."""
        names = self.queues() if queues is None else queues
        return [_state(row) for row in self._run("explain", *names)]


def _us(seconds: float) -> int:
    return round(seconds * MICROSECONDS_PER_S)


def _pairs(held: Mapping[str, int]) -> list[Argument]:
    return [part for pair in held.items() for part in pair]


def _grant(row: Sequence[Any]) -> Grant:
    job_id, queue, token, adopted = row
    return Grant(job_id=job_id.decode(), queue=queue.decode(), token=token, adopted=bool(adopted))


def _state(row: Sequence[Any]) -> ScopeState:
    name, waiting, running, wait_us, limit, paused, held, most, interval, emission, burst = row
    emission_us = float(emission)
    return ScopeState(
        queue=name.decode(),
        waiting=waiting,
        running=running,
        wait_s=None if wait_us < 0 else wait_us / MICROSECONDS_PER_S,
        limit=limit.decode(),
        paused=paused == b"1",
        hold_reason=held.decode(),
        max_concurrent=int(most) if most else None,
        start_interval_s=float(interval) / MICROSECONDS_PER_S,
        rate_per_min=60 * MICROSECONDS_PER_S / emission_us if emission_us else None,
        burst=int(burst),
    )


def glob_to_lua(glob: str | None) -> str:
    """Turn a glob of queue names into a Lua pattern; '' serves all.

    >>> glob_to_lua("flux*__v?"), glob_to_lua(None), glob_to_lua("a-b")
    ('^flux.*__v.$', '', '^a%-b$')
    """
    if glob is None:
        return ""
    wild = {"*": ".*", "?": "."}
    parts = [wild.get(c) or (c if c.isalnum() or c == "_" else f"%{c}") for c in glob]
    return f"^{''.join(parts)}$"
