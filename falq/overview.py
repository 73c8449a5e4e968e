"""What runs, waits, is limited and why: everything that status, dashboard and metrics show.

Reads only. It looks at a few hundred jobs at most, whatever the queue holds.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from falq import __version__, keys, presence
from falq.admission import Admission
from falq.background import find_instance
from falq.embedded import ServerState, find_server
from falq.journal import Journal
from falq.keys import ACCOUNT_SCOPE
from falq.logs import redact
from falq.phases import ACTIVE, TERMINAL, Phase
from falq.record import JobRecord
from falq.redis_link import check_server, connect, redis_address, translate_redis_errors
from falq.scopes import ScopeState
from falq.settings import Settings

#: Newest jobs among which recent results and failures are looked for.
RECENT_JOBS = 200
#: Jobs in flight that are listed one by one; more are only counted.
LISTED_JOBS = 100
#: Queues that are listed; of more, those with work.
LISTED_QUEUES = 200

_ENTERED = {
    Phase.QUEUED: "created_at",
    Phase.SUBMITTING: "submitting_at",
    Phase.SUBMITTED: "first_submit_at",
    Phase.RUNNING: "running_at",
    Phase.DOWNLOADING: "downloading_at",
}


@dataclass(frozen=True, kw_only=True)
class ServerLine:
    """The Redis that is used; ``where`` holds no password."""

    where: str
    embedded: bool
    product: str
    version: str


@dataclass(frozen=True, kw_only=True)
class ScopeLine(ScopeState):
    """A queue, or with the name ``@`` an account, and whose it is.

    ``held_by_account``: what holds the queue's next start is the account's limit, not its own.
    """

    account: str
    held_by_account: bool = False


@dataclass(frozen=True, kw_only=True)
class WorkerLine:
    """A worker that is there; ``jobs`` counts what it holds."""

    name: str
    host: str
    version: str
    account: str
    queues: str
    concurrency: int
    jobs: int


@dataclass(frozen=True, kw_only=True)
class JobLine:
    """A job in one line. Seconds: since it was enqueued, in its phase, since it ended.

    The age of a job that ended is how long it took.
    """

    job_id: str
    account: str
    queue: str
    model_id: str
    mode: str
    phase: str
    age_s: float
    in_phase_s: float
    ended_s: float | None
    request_id: str | None
    worker: str | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Overview:
    """One look at everything.

    Attributes:
        server: None: the embedded server does not run, and so nothing does.
        worker_pid: The background worker of this home.
        account: Ours; empty without a key.
        accounts: How each account stands as a whole.
        intake: Jobs that wait for a worker to take them into its account.
        jobs: In flight, oldest first.
        failures: Newest first, among the newest jobs.
        unknown: Jobs whose outcome only a person can decide about.
    """

    at: float
    version: str
    server: ServerLine | None
    worker_pid: int | None
    account: str
    accounts: tuple[ScopeLine, ...] = ()
    queues: tuple[ScopeLine, ...] = ()
    workers: tuple[WorkerLine, ...] = ()
    jobs: tuple[JobLine, ...] = ()
    failures: tuple[JobLine, ...] = ()
    unknown: tuple[JobLine, ...] = ()
    intake: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON; ``status`` is UP where there is a server, DOWN where none runs."""
        status = "UP" if self.server is not None else "DOWN"
        return {"status": status} | dataclasses.asdict(self)


def look_around(settings: Settings) -> Overview:
    """Look at everything; starts no server.

    Raises:
        RedisUnavailableError: FALQ_REDIS_URL is set and cannot be reached.
    """
    redis = find_redis(settings)
    if redis is None:
        return _nothing(settings)
    with redis, translate_redis_errors():
        return overview(redis, settings)


def find_redis(settings: Settings) -> Redis | None:
    """Connect without starting anything; None where no embedded server runs."""
    if not settings.embedded:
        return connect(settings)
    state = find_server(settings.home)
    if state is None:
        return None
    return connect(dataclasses.replace(settings, redis_url=state.url))


def _nothing(settings: Settings) -> Overview:
    return Overview(
        at=time.time(),
        version=__version__,
        server=None,
        worker_pid=_worker_pid(settings),
        account=settings.account,
    )


def _worker_pid(settings: Settings) -> int | None:
    return find_instance(settings.home, f"worker-{settings.account}")


def overview(redis: Redis, settings: Settings) -> Overview:
    """Look at everything in a Redis."""
    journal = Journal(redis, settings.account)
    recent = journal.jobs(limit=RECENT_JOBS)
    present = presence.workers(redis)
    accounts = _accounts(settings, present, recent)
    scopes = [line for each in accounts for line in scopes_of(redis, each, LISTED_QUEUES)]
    held = journal.read_many(_in_flight(redis, accounts))
    now = time.time()
    return Overview(
        at=now,
        version=__version__,
        server=_server(redis, settings),
        worker_pid=_worker_pid(settings),
        account=settings.account,
        accounts=tuple(line for line in scopes if line.queue == ACCOUNT_SCOPE),
        queues=tuple(line for line in scopes if line.queue != ACCOUNT_SCOPE),
        workers=_workers(present, Counter(record.worker for record in held)),
        jobs=_lines(sorted(held, key=lambda record: record.created_at)[:LISTED_JOBS], now),
        failures=_lines((record for record in recent if record.phase == Phase.FAILED), now),
        unknown=_lines(journal.unknown()[:LISTED_JOBS], now),
        intake=_count(redis.llen(keys.INTAKE)),
    )


def _accounts(
    settings: Settings, present: Sequence[Mapping[str, str]], recent: Iterable[JobRecord]
) -> list[str]:
    found = {worker.get("account", "") for worker in present}
    found |= {record.account for record in recent}
    others = sorted(found - {settings.account, ""})
    return ([settings.account] if settings.account else []) + others


def accounts_in_use(redis: Redis, settings: Settings) -> list[str]:
    """Name the accounts that have workers or newest jobs, ours first."""
    recent = Journal(redis, settings.account).jobs(limit=RECENT_JOBS)
    return _accounts(settings, presence.workers(redis), recent)


def scopes_of(redis: Redis, account: str, most: int | None = None) -> list[ScopeLine]:
    """Say how an account and its queues stand; the account is first.

    Args:
        redis: Bytes replies.
        account: Whose.
        most: Where there are more queues, only so many of those with work are listed.
    """
    admission = Admission(redis, account)
    names = admission.queues()
    if most is not None and len(names) > most:
        names = _with_work(redis, account, most)
    states = admission.snapshot(names)
    lines = [ScopeLine(account=account, **dataclasses.asdict(state)) for state in states]
    return [lines[0], *(_under(lines[0], line) for line in lines[1:])]


def _under(whole: ScopeLine, line: ScopeLine) -> ScopeLine:
    """Give a queue's line with the account's limit where that one holds longer."""
    if not whole.limit or _until(line) >= _until(whole):
        return line
    return dataclasses.replace(
        line,
        limit=whole.limit,
        wait_s=whole.wait_s,
        hold_reason=whole.hold_reason,
        held_by_account=True,
    )


def _until(line: ScopeLine) -> float:
    return math.inf if line.wait_s is None else line.wait_s


def _with_work(redis: Redis, account: str, most: int) -> list[str]:
    ready: Any = redis.zrange(keys.of_account(account, "ready"), 0, most - 1)
    parked: Any = redis.zrange(keys.of_account(account, "parked"), 0, most - 1)
    return sorted({name.decode() for name in (*ready, *parked)})[:most]


def _in_flight(redis: Redis, accounts: Iterable[str]) -> list[str]:
    """List the jobs that hold a lease, those first whose lease began first."""
    found: list[str] = []
    for account in accounts:
        leases: Any = redis.zrange(keys.leases(account), 0, 10 * LISTED_JOBS)
        found += [job_id.decode() for job_id in leases]
    return found


def _server(redis: Redis, settings: Settings) -> ServerLine:
    state = find_server(settings.home) if settings.embedded else None
    if isinstance(state, ServerState):
        return ServerLine(
            where=str(state.socket), embedded=True, product=state.product, version=state.version
        )
    facts = check_server(redis)
    return ServerLine(
        where=str(redis_address(settings)),
        embedded=False,
        product="valkey" if facts.is_valkey else "redis",
        version=facts.version or "",
    )


def _workers(
    present: Sequence[Mapping[str, str]], jobs: Mapping[str | None, int]
) -> tuple[WorkerLine, ...]:
    return tuple(
        WorkerLine(
            name=worker["name"],
            host=worker.get("host", ""),
            version=worker.get("version", ""),
            account=worker.get("account", ""),
            queues=worker.get("queues", "*"),
            concurrency=int(worker.get("concurrency", "0")),
            jobs=jobs.get(worker["name"], 0),
        )
        for worker in present
    )


def _lines(records: Iterable[JobRecord], now: float) -> tuple[JobLine, ...]:
    return tuple(job_line(record, now) for record in records)


def job_line(record: JobRecord, now: float) -> JobLine:
    """Give a job in one line."""
    ended = record.phase in TERMINAL or record.phase == Phase.UNKNOWN
    until = record.finished_at if ended and record.finished_at is not None else now
    entered = getattr(record, _ENTERED.get(Phase(record.phase), "finished_at"), None)
    message = (record.error or {}).get("message")
    return JobLine(
        job_id=record.job_id,
        account=record.account,
        queue=record.queue,
        model_id=record.model_id,
        mode=record.mode,
        phase=record.phase,
        age_s=_span(record.created_at, until),
        in_phase_s=_span(entered, now),
        ended_s=_span(record.finished_at, now) if ended and record.finished_at else None,
        request_id=record.shown_request_id,
        worker=record.worker if record.phase in ACTIVE else None,
        error=None if message is None else redact(str(message)),
    )


def _span(start: float | None, end: float) -> float:
    return 0.0 if not start else round(max(0.0, end - start), 3)


def _count(reply: Any) -> int:
    return int(reply)
