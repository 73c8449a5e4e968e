"""Which job may start now: decided inside Redis, for all workers of an account together.

Every start of a job is admitted by one script that picks the queue, checks its limits and
the account's, pops the job and takes its lease (``falq/lua/admit.lua``). Semantics: GCRA for
rate and burst, the time of the last start for the interval, leases for concurrency,
start-time fair queueing between queues (``ARCHITECTURE.md``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from redis import Redis

from falq import keys
from falq.errors import JobCancelledError
from falq.exchange import Argument
from falq.limits import MICROSECONDS_PER_S, Limits, limit_arguments
from falq.scopes import PAGE, Scopes, microseconds
from falq.scripts import Scripts

#: A holder that is silent for so long has lost its job, seconds.
LEASE_S = 10.0
#: A job whose outcome is unknown keeps its slot so long: it may run at fal, seconds.
HOLD_S = 600.0
#: Holders that a job may lose without getting on.
MAX_DEATHS = 3
#: Ids at each end of a queue that one sweep looks at.
SWEEP_IDS = 500


class Grant(NamedTuple):
    """Leave to work on a job: its token fences every other holder off."""

    job_id: str
    queue: str
    token: int
    adopted: bool


class Admitted(NamedTuple):
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


class Admission(Scopes):
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
        super().__init__(redis, account, scripts)
        self._lease_us = microseconds(lease_s)

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
        wait_us, reason, waiting, gone, *rest = reply.decode().split("\0")
        if gone != "0":
            first = 2 * int(gone)
            self._end_dropped(rest[:first])
            del rest[:first]
        grants = [
            Grant(rest[i], rest[i + 1], int(rest[i + 2]), rest[i + 3] == "1")
            for i in range(0, len(rest), 4)
        ]
        wait_s = None if wait_us == "-1" else int(wait_us) / MICROSECONDS_PER_S
        return Admitted(tuple(grants), wait_s, reason, waiting == "1")

    def _end_dropped(self, dropped: Sequence[str]) -> None:
        """End waiting jobs that a stock tool cancelled or deleted; they cost no permit."""
        args: list[Argument] = []
        for job_id, queue in zip(dropped[::2], dropped[1::2], strict=True):
            error = JobCancelledError(
                "cancelled by another tool before anything was sent",
                "nothing is billed",
                job_id=job_id,
            )
            args += [job_id, queue, json.dumps(error.to_dict())]
        self._run("vanish", *args)

    def acquire(self, job_id: str, worker: str) -> Grant | float | None:
        """Admit a job that a stock RQ worker popped.

        Returns:
            A grant, the seconds to wait before asking again, or None if another holds it.
        """
        reply = self._run("acquire", worker, job_id, self._lease_us)
        if reply[0] == 1:
            _, token, queue, adopted = reply
            return Grant(job_id, queue.decode(), token, adopted == 1)
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
        found = self._run("reap", self._lease_us, microseconds(HOLD_S), MAX_DEATHS)
        texts = [each.decode() for each in found]
        return list(zip(texts[::2], texts[1::2], strict=True))

    def take_in(self, defaults: Limits) -> tuple[int, list[tuple[str, str]]]:
        """Take in jobs without an account, and what stock tools pushed; end what they cancelled.

        Returns:
            How many wait now, and the ended jobs (with their phase) that a tool put back.
        """
        taken = 0
        asked: list[tuple[str, str]] = []
        for lists in self._rq_lists():
            found, dropped, ended = self._run(
                "take_in", *limit_arguments(defaults), SWEEP_IDS, *lists
            )
            if dropped:
                self._end_dropped([each.decode() for each in dropped])
            texts = [each.decode() for each in ended]
            asked.extend(zip(texts[::2], texts[1::2], strict=True))
            taken += found
        return taken, asked

    def _rq_lists(self) -> Iterator[list[bytes]]:
        """Give RQ's lists in pages, at least one page; a script must not keep Redis long."""
        cursor = 0
        while True:
            reply: Any = self._redis.sscan(keys.RQ_QUEUES, cursor, count=PAGE)
            cursor, lists = reply
            yield lists
            if cursor == 0:
                return


def _pairs(held: Mapping[str, int]) -> list[Argument]:
    return [part for pair in held.items() for part in pair]


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
