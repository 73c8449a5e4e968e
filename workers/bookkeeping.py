"""What a worker owes Redis beside its jobs: leases, heartbeats, presence, reaping, sweeping.

Blocks on Redis; runs in threads of its own, so that a busy event loop never looks dead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from rq.executions import Execution
from rq.job import Job, JobStatus

from falq import keys, presence
from falq.admission import Admission, Grant
from falq.errors import ConfigurationError, UsageError
from falq.foreign import describe, foreign_fields
from falq.journal import Journal
from falq.limits import Limits
from falq.meeting import part_ways
from falq.phases import TERMINAL, Phase
from falq.record import JobRecord
from falq.redis_link import count_replicas
from falq.scripts import Scripts
from workers.journal_ledger import JournalLedger
from workers.outage import Outage
from workers.rq_glue import Ending, FalqJob, RefusedFunctionError, RqWorker, foreign_spec

log = logging.getLogger("falq.worker")

#: Every so often, seconds: renew leases, reap dead ones, take strange jobs in, beat.
RENEW_S = 2.5
REAP_S = 1.0
TAKE_IN_S = 2.0
BEAT_S = 4.0
SPOOL_S = 5.0

JobAction = Callable[[str], None]
#: What is done, and how often, seconds.
Duties = dict[Callable[[], None], float]


@dataclass
class Held:
    """A job that this worker holds.

    ``record`` is as it was read after the grant; ``job`` and ``execution`` are RQ's view;
    ``refusal`` says why the job is not run; ``ended`` that its record needs us no more, only
    RQ's view does; ``cancel_asked`` that somebody asked to cancel it before its ledger was
    open.
    """

    grant: Grant
    record: JobRecord | None = None
    job: Job | None = None
    execution: Execution | None = None
    refusal: str | None = None
    ledger: JournalLedger | None = None
    ended: bool = False
    cancel_asked: bool = False

    @property
    def posting(self) -> bool:
        """Whether a paid POST was perhaps sent and its reply is still awaited here."""
        record = self.ledger.record if self.ledger is not None else None
        return record is not None and record.phase == Phase.SUBMITTING and record.lost_at is None


class Ended(NamedTuple):
    """A job that left this worker; no record, or one that waits: it is not ours any more."""

    held: Held
    record: JobRecord | None


class Bookkeeping:
    """The regular duties of one worker.

    Args:
        redis: Bytes replies; a pool.
        admission: Leases and sweeps.
        journal: Is told how many replicas there are.
        account: Whose jobs are served.
        queues: Glob, told to whoever asks.
        concurrency: Jobs at once, told to whoever asks.
        revive: Called while Redis is away: starts a killed server that is ours.
        empty_spool: Called now and then: removes what callers have fetched.
    """

    def __init__(
        self,
        redis: Redis,
        admission: Admission,
        journal: Journal,
        account: str,
        *,
        queues: str | None,
        concurrency: int,
        revive: Callable[[], None],
        empty_spool: Callable[[], None],
    ) -> None:
        self._revive, self._empty_spool = revive, empty_spool
        self.outage = Outage()
        self.name = f"{socket.gethostname()}.{os.getpid()}.{os.urandom(3).hex()}"
        self.held: dict[str, Held] = {}
        self.suspended = False
        self._redis = redis
        self._admission = admission
        self._scripts = Scripts(redis)
        self._journal = journal
        self._account = account
        self._facts = {"queues": queues or "*", "concurrency": concurrency}
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._rq = RqWorker(redis, self.name, self._on_stop_job)

    def start(self, wake: Callable[[], None], lose: JobAction, cancel: JobAction) -> None:
        """Register and begin the regular duties.

        Args:
            wake: Called when something may be admissible.
            lose: Called with a job whose lease another worker holds.
            cancel: Called with a job that somebody wants cancelled.
        """
        self._wake, self._lose, self._cancel = wake, lose, cancel
        self._rq.register_birth()  # type: ignore[no-untyped-call]
        self._attempt(self._beat)
        # What keeps jobs ours has a thread of its own: nothing else may make it wait.
        alive: Duties = {self._renew: RENEW_S, self._beat: BEAT_S}
        others: Duties = {
            self._reap: REAP_S, self._take_in: TAKE_IN_S, self._empty_spool: SPOOL_S,
        }  # fmt: skip
        for name, duty in (
            ("listen", self._listen),
            ("alive", partial(self._do_rounds, alive)),
            ("rounds", partial(self._do_rounds, others)),
        ):
            thread = threading.Thread(target=duty, name=f"falq-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the duties and leave."""
        self._ending.set()
        for thread in self._threads:
            thread.join(timeout=3)
        with contextlib.suppress(RedisError):
            self._rq.register_death()  # type: ignore[no-untyped-call]
            presence.leave(self._redis, self._account, self.name)

    def _on_stop_job(self, job_id: str) -> None:
        with contextlib.suppress(RedisError):
            self._redis.hset(keys.job(job_id), "cancel_requested", "1")
        self._cancel(job_id)

    def _listen(self) -> None:
        """Wait for wake-ups, cancels and RQ's commands on one connection."""
        while not self._ending.is_set():
            try:
                self._hear()
            except (RedisError, OSError):
                self._wake()
                self._ending.wait(0.5)

    def _hear(self) -> None:
        wake_channel = keys.wake(self._account, self.name)
        with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
            pubsub.subscribe(wake_channel, self._rq.pubsub_channel_name, keys.INTAKE_CHANNEL)
            self._wake()
            while not self._ending.is_set():
                message = pubsub.get_message(timeout=1.0)
                if message is None:
                    continue
                channel = message["channel"].decode()
                if channel == wake_channel:
                    self._heard(message["data"].decode())
                elif channel == keys.INTAKE_CHANNEL:
                    self._take_in()
                else:
                    self._rq.handle_payload(message)

    def _heard(self, text: str) -> None:
        if text.startswith("cancel:"):
            self._cancel(text.removeprefix("cancel:"))
        else:
            self._wake()

    def _do_rounds(self, duties: Duties) -> None:
        rounds = [(0.0, every, duty) for duty, every in duties.items()]
        while not self._ending.wait(0.2):
            now = time.monotonic()
            for i, (due_at, every, duty) in enumerate(rounds):
                if now >= due_at:
                    rounds[i] = (now + every, every, duty)
                    self._attempt(duty)

    def _attempt(self, duty: Callable[[], None]) -> None:
        try:
            duty()
        except RedisError as error:
            self.outage.tell(error)
            self._revive()
        except Exception:
            log.exception("%s failed; going on", duty.__name__.strip("_"))

    def _renew(self) -> None:
        tokens = {job_id: held.grant.token for job_id, held in list(self.held.items())}
        if not tokens:
            return
        for job_id in self._admission.renew(tokens):
            held = self.held.get(job_id)
            if held is not None and not held.ended:
                self._lose(job_id)

    def _reap(self) -> None:
        reaped = dict(self._admission.reap())
        if not reaped:
            return
        for record in self._journal.read_many(list(reaped)):
            facts = about(record) | {"phase": reaped[record.job_id]}
            log.warning("its holder is gone", extra=facts)

    def _take_in(self) -> None:
        taken, put_back = self._admission.take_in(Limits())
        for job_id, phase in put_back:
            self._reopen(job_id, Phase(phase))
        if taken or put_back:
            self._wake()

    def _reopen(self, job_id: str, phase: Phase) -> None:
        """Carry out what a dashboard's requeue asks for, without paying for a thing twice."""
        record = self._journal.find(job_id)
        if record is None or phase == Phase.DONE or given_up(record):
            self._redis.lrem(keys.rq_queue(record.queue if record else ""), 0, job_id)
            return
        self._redis.lrem(keys.rq_queue(record.queue), 0, job_id)
        self._journal.reopen(job_id, phase_to_resume(record), {"lost_at": None})

    def _beat(self) -> None:
        self.suspended = self._rq.is_suspended()
        self._journal.replicas = count_replicas(self._redis)
        self._rq.beat()
        self._announce()
        self.outage.over()

    def _announce(self) -> None:
        presence.announce(self._redis, self._account, self.name, self._facts)

    def begin(self, grants: Sequence[Grant]) -> list[Held]:
        """Show granted jobs as started; safe to repeat."""
        jobs = self._rq.load([grant.job_id for grant in grants])
        begun = [self._begin(*pair) for pair in zip(grants, jobs, strict=True)]
        fresh = [held for held in begun if held.job is not None and held.execution is None]
        executions = self._rq.start([held.job for held in fresh if held.job is not None])
        for held, execution in zip(fresh, executions, strict=True):
            held.execution = execution
        records = self._journal.read_many([grant.job_id for grant in grants])
        by_id = {record.job_id: record for record in records}
        for held in begun:
            held.record = by_id.get(held.grant.job_id)
        return begun

    def _begin(self, grant: Grant, job: FalqJob | None) -> Held:
        """Look at a job that was granted: may this worker run it?"""
        held = self.held.setdefault(grant.job_id, Held(grant))
        if job is None or held.execution is not None:
            return held
        try:
            _ = job.func, job.success_callback, job.failure_callback, job.stopped_callback
        except RefusedFunctionError as error:
            held.refusal = str(error)
        except Exception as error:  # noqa: BLE001  # a job that cannot be read is refused, too
            held.refusal = f"the job cannot be read as RQ's JSON: {type(error).__name__}"
        if grant.adopted:
            self._rq.clear_others(job)
        elif held.refusal is None:
            held.refusal = self._describe(grant, job)
        held.job = job
        return held

    def _describe(self, grant: Grant, job: FalqJob) -> str | None:
        """Fill the record of a job that a stock tool enqueued; say why it cannot be run."""
        keywords = foreign_spec(job)
        if keywords == {"job_id": grant.job_id}:
            return None
        try:
            fields = foreign_fields(keywords or {})
        except UsageError as error:
            return error.message
        describe(
            self._scripts, self._account, grant.job_id,
            queue=grant.queue, fields=fields, token=grant.token,
        )  # fmt: skip
        return None

    def end(self, ended: Sequence[Ended]) -> list[Exception | None]:
        """Show how jobs ended, in one round trip where none of them makes trouble."""
        records = [each.record for each in ended if each.record is not None]
        part_ways(*(record.options for record in records if record.phase in TERMINAL))
        endings = [_ending(each) for each in ended]
        try:
            self._rq.end([ending for ending in endings if ending is not None])
        except ResponseError as error:
            if len(ended) == 1:
                return [error]
            return [problem for each in ended for problem in self.end([each])]
        return [None] * len(ended)

    def surrender(self, held: Held) -> None:
        """Let another worker adopt a job at once."""
        self._admission.surrender({held.grant.job_id: held.grant.token})
        if held.job is not None and held.execution is not None:
            self._rq.end([Ending(job=held.job, execution=held.execution)])

    def let_go(self, held: Held) -> None:
        """Renew and beat no more for a job."""
        self.held.pop(held.grant.job_id, None)
        if held.execution is not None:
            self._rq.forget_execution(held.execution)


def _ending(ended: Ended) -> Ending | None:
    job, execution, record = ended.held.job, ended.held.execution, ended.record
    if job is None or execution is None:
        return None
    if record is None or record.phase == Phase.QUEUED:
        return Ending(job=job, execution=execution)
    if record.phase == Phase.DONE:
        finished = JobStatus.FINISHED
        return Ending(job=job, execution=execution, status=finished, value=record.outcome)
    message = str((record.error or {}).get("message", record.phase))
    stopped = record.phase == Phase.CANCELLED
    status = JobStatus.STOPPED if stopped else JobStatus.FAILED
    return Ending(job=job, execution=execution, status=status, error=message)


def about(record: JobRecord) -> dict[str, str | None]:
    """Give what a log line says of a job beside its message."""
    return {
        "job_id": record.job_id, "request_id": record.shown_request_id, "queue": record.queue,
        "model_id": record.model_id, "phase": record.phase,
    }  # fmt: skip


def given_up(record: JobRecord) -> bool:
    """Tell whether a job failed that fal may know of, by an id that nobody knows.

    A person gave it up, or nothing could be found out; a click must not pay for it again.
    """
    maybe = bool((record.error or {}).get("may_be_billed"))
    return record.phase == Phase.FAILED and maybe and phase_to_resume(record) == Phase.QUEUED


def phase_to_resume(record: JobRecord) -> Phase:
    """Give the phase from which an ended job goes on without a new call, if it can."""
    if record.phase == Phase.UNKNOWN:
        return Phase.SUBMITTING
    if record.phase == Phase.FAILED and record.result is not None:
        return Phase.DOWNLOADING
    return Phase.SUBMITTED if record.request_id else Phase.QUEUED


def check_limits_of_process(concurrency: int) -> None:
    """Refuse a concurrency that the process' open files cannot carry."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = concurrency * 4 + 100
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    if min(wanted, hard) < concurrency + 50:
        raise ConfigurationError(f"--concurrency {concurrency} needs more open files than {hard}")
