"""One call through the queue: enqueued, waited for, handed out; or past it where that is safe."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from falq import outcome
from falq.calling import Caller, CallRequest, new_job_id
from falq.delivery import Delivery
from falq.direct_call import call_directly
from falq.enqueue import Enqueued
from falq.errors import ArtifactError, FalqError, RedisUnavailableError, UsageError
from falq.fetching import salvage, settle
from falq.meeting import leave_nonce, part_ways, remove_nonce
from falq.phases import TERMINAL, Phase
from falq.settings import Settings
from falq.under_way import UnderWay

if TYPE_CHECKING:
    from falq.record import JobRecord

OnEvent = Callable[[Mapping[str, Any]], None]


def through_queue(attempt: QueuedCall) -> dict[str, Any]:
    """Make a call through the queue, with a nonce in its directory for as long as it is needed."""
    directory = attempt.request.output.directory
    nonce = nonce_in(directory)
    attempt.request = dataclasses.replace(attempt.request, nonce=nonce)
    try:
        return attempt.run()
    finally:
        if attempt.over:
            remove_nonce(directory, nonce)


def nonce_in(directory: str) -> str:
    """Leave a nonce in a caller's directory, and give it.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        return leave_nonce(directory)
    except OSError as error:
        raise UsageError(
            f"cannot write to {directory}: {error.strerror}",
            "nothing was sent; choose another directory with --output",
        ) from error


@dataclasses.dataclass
class QueuedCall:
    """One call through the queue.

    ``over`` says that no worker needs the caller's directory any more.
    """

    settings: Settings
    request: CallRequest
    wait_s: float | None
    on_event: OnEvent
    delivery: Delivery
    job_id: str = dataclasses.field(default_factory=new_job_id)
    over: bool = True

    def run(self) -> dict[str, Any]:
        """Enqueue, wait, and give the outcome."""
        try:
            caller = open_caller(self.settings)
        except RedisUnavailableError as error:
            return self._without_queue(error)
        with caller:
            try:
                enqueued = caller.enqueue(
                    self.request, job_id=self.job_id, attended=self.wait_s != 0
                )
            except RedisUnavailableError as error:
                if not error.refused:
                    raise
                return self._without_queue(error)
            self.over = enqueued.deduplicated
            self.job_id = enqueued.job_id
            if enqueued.deduplicated:
                # A job that we attach to knows the nonce of its own caller only.
                remove_nonce(self.request.output.directory, self.request.nonce)
            self.on_event(self._told(enqueued))
            record = caller.wait(
                self.job_id,
                wait_s=self.wait_s,
                idle_timeout_s=self.request.config.client_idle_timeout,
                on_event=self.on_event,
                known=True,
            )
            return self._shown(caller, record, deduplicated=enqueued.deduplicated)

    def _told(self, enqueued: Enqueued) -> dict[str, Any]:
        return {
            "job_id": enqueued.job_id,
            "deduplicated": enqueued.deduplicated,
            "stands": enqueued.phase.value,
            "by_key": self.request.idempotency_key is not None,
        }

    def _shown(self, caller: Caller, record: JobRecord, *, deduplicated: bool) -> dict[str, Any]:
        # A call that only enqueues gets its ticket even if a quick worker is done by now.
        enqueued_only = self.wait_s == 0 and not deduplicated
        if enqueued_only or record.phase not in TERMINAL | {Phase.UNKNOWN}:
            caller.leave(record.job_id)
            position = caller.position(record)
            return outcome.ticket(
                record.job_id, record.phase, record.request_id, position, deduplicated=deduplicated
            )
        self.over = True
        # A call that attaches to a paid job whose files could not be saved tries that again.
        give = salvage if deduplicated else settle
        shown = hand_out(
            caller,
            record,
            self.delivery,
            lambda: give(self.settings, record, self.request.output, self.on_event),
        )
        return shown | {"deduplicated": deduplicated}

    def _without_queue(self, error: RedisUnavailableError) -> dict[str, Any]:
        """Fall back to the direct API; certain that nothing was enqueued."""
        if self.settings.on_queue_down == "fail" or self.settings.key is None:
            raise error
        if self.request.idempotency_key is not None:
            error.message += "; what its idempotency key stands for is known to the queue alone"
            raise error
        if not self.request.fresh:
            self._refuse_if_under_way(error)
        self.on_event({"warning": f"{error.message}; calling fal directly, limits do not apply"})
        return call_directly(self.settings, self.request, self.job_id, self.on_event, self.delivery)

    def _refuse_if_under_way(self, error: RedisUnavailableError) -> None:
        """Leave a call alone that an earlier one of this home put into the queue."""
        job_id = UnderWay(self.settings.home).find(self.request.fingerprint(self.settings))
        if job_id is not None:
            raise RedisUnavailableError(
                f"{error.message}; job {job_id}, an equal call, may be under way",
                "nothing was sent; repeat the call once Redis is back, or make another one "
                "all the same with --fresh",
                job_id=job_id,
                retryable=False,
                may_be_billed=True,
            ) from error


def hand_out(
    caller: Caller, record: JobRecord, delivery: Delivery, give: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Give the outcome of a job that ended; nobody else gets it once it is delivered.

    A result whose files may still be saved is left to whoever makes the call again.
    """
    try:
        shown = give()
    except FalqError as error:
        lost = isinstance(error, ArtifactError) and not error.retryable
        if record.phase in TERMINAL and (record.result is None or lost):
            delivery.then(lambda: deliver(caller, record.job_id))
        raise
    delivery.then(lambda: deliver(caller, record.job_id))
    part_ways(record.options)
    return shown


def deliver(caller: Caller, job_id: str) -> None:
    """Note that a result reached its caller, whose connection may be closed by then."""
    with caller:
        caller.delivered(job_id)


def open_caller(settings: Settings, *, needs_key: bool = True) -> Caller:
    """Connect to the queue; an embedded one is started, and a worker for it when needed."""

    def start_worker() -> None:
        importlib.import_module("workers.cli").start_background(settings)

    return Caller(settings, start_worker, needs_key=needs_key)
