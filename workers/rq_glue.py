"""All contact with RQ's internals (rq 3.0); each is held by a test of its own.

RQ's keys are a view of what falq's journal knows: ``rq info``, rq-dashboard and the stock
workers read them. What decides about money is the journal alone.

Internals leant on: ``Job.restore``, ``Job._handle_failure``, ``Job.prepare_for_execution``,
``Job.save``, ``Result.create``, ``Execution.create/heartbeat/delete``,
``BaseWorker.executions``, ``BaseWorker.handle_payload``, ``BaseWorker.heartbeat``,
``worker_registration.register``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

from redis import Redis
from redis.client import Pipeline
from rq import worker_registration
from rq.command import handle_command
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.executions import Execution, ExecutionRegistry
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.registry import BaseRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.suspension import is_suspended
from rq.utils import now
from rq.worker.base import BaseWorker, WorkerStatus

from falq import keys
from falq.exchange import Exchange

_Registry = TypeVar("_Registry", bound=BaseRegistry)
#: The one function that a job may name.
FUNCTION = "workers.job.run"
#: An execution that is not renewed for so long is dead, seconds.
EXECUTION_TTL_S = 20
#: RQ's own copy of a result; falq's journal keeps the real one.
RESULT_TTL_S = 86_400
#: A worker that is silent for so long leaves RQ's list of workers, seconds.
WORKER_TTL_S = 30


class RefusedFunctionError(PermissionError):
    """A job names a function that falq does not run."""


class FalqJob(Job):
    """An RQ job that turns no name into code except the one of falq's own function.

    RQ imports whatever a job names: its function and three callbacks. Who can write to
    Redis could run anything (``os.system`` was seen to run from a JSON job). A stock worker
    is held to the same by ``rq worker --job-class workers.rq_glue.FalqJob``.

    Attributes:
        started_registry: Of its queue, where somebody has one at hand; RQ makes one each time.
    """

    started_registry: StartedJobRegistry | None = None

    def _resolve(self, name: str | None) -> Callable[..., Any]:
        if name != FUNCTION:
            raise RefusedFunctionError(f"{name!r} is no function that falq runs")
        from workers.job import run

        return run

    def _refuse_extras(self) -> None:
        """Refuse what RQ would do beside the function: falq's jobs ask for none of it."""
        extras = {
            "webhooks": self.webhooks,
            # After the last of them only the intervals still tell.
            "retries": self.retries_left or self.retry_intervals,
            "repeats": self.repeats_left or self.repeat_intervals,
        }
        asked = [name for name, wanted in extras.items() if wanted]
        if asked:
            raise RefusedFunctionError(f"falq does no {' or '.join(asked)} of RQ's")

    @property
    def func(self) -> Callable[..., Any]:
        """The job's function, if it is falq's and nothing comes with it."""
        self._refuse_extras()
        if self.instance is not None:
            raise RefusedFunctionError("a method of an instance is no function that falq runs")
        return self._resolve(self.func_name)

    @property
    def success_callback(self) -> Any:
        """Nothing, or a refusal: falq's jobs have no callbacks."""
        return self._resolve(self._success_callback_name) if self._success_callback_name else None

    @property
    def failure_callback(self) -> Any:
        """Nothing, or a refusal."""
        return self._resolve(self._failure_callback_name) if self._failure_callback_name else None

    @property
    def stopped_callback(self) -> Any:
        """Nothing, or a refusal."""
        return self._resolve(self._stopped_callback_name) if self._stopped_callback_name else None

    @property
    def started_job_registry(self) -> StartedJobRegistry:
        """Give the registry that a worker has made once for all jobs of the queue."""
        # Not by its truth: RQ counts what is in it for that.
        if self.started_registry is not None:
            return self.started_registry
        made: StartedJobRegistry = super().started_job_registry
        return made

    def send_webhooks(self, *_: Any, **__: Any) -> None:
        """Send nothing: an address in a job is not one to call."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an execution ended.

    ``status`` None: the job goes on elsewhere, and its status is not ours to change.
    """

    job: Job
    execution: Execution
    status: JobStatus | None = None
    value: Any = None
    error: str = ""


class RqWorker(BaseWorker):
    """This process as RQ's tools see it: registered, beating, with its executions.

    It runs nothing by itself; the engine tells it what starts and ends. Its methods block on
    Redis and are called from threads.

    Args:
        redis: Connection with bytes replies.
        name: The worker's name, unique among all machines.
        on_stop_job: Is told the id of a job that ``rq``'s stop command names.
    """

    job_class = FalqJob
    log_result_lifespan = False

    def __init__(self, redis: Redis, name: str, on_stop_job: Callable[[str], None]) -> None:
        super().__init__(
            [],
            name=name,
            connection=redis,
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL_S,
            log_job_description=False,
        )
        self.log = logging.getLogger("falq.rq")
        self._on_stop_job = on_stop_job
        self._exchange = Exchange(redis)
        self._started = cache(partial(self._registry, StartedJobRegistry))
        self._finished = cache(partial(self._registry, FinishedJobRegistry))

    def _registry(self, kind: type[_Registry], queue: str) -> _Registry:
        connection = self.connection
        return kind(queue, connection=connection, job_class=FalqJob, serializer=JSONSerializer)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002
        """Let executions die soon after their last beat; stock waits 90 s."""
        return EXECUTION_TTL_S

    def handle_payload(self, message: dict[str, Any]) -> None:
        """Carry out a command of RQ's: stop-job for any execution, shutdown, suspend."""
        payload = json.loads(message["data"])
        if payload.get("command") in ("stop-job", "stop-execution"):
            self._on_stop_job(str(payload.get("job_id")))
        elif payload.get("command") == "shutdown":
            handle_command(self, payload)

    def is_suspended(self) -> bool:
        """Tell whether ``rq suspend`` asks all workers to start nothing."""
        return bool(is_suspended(self.connection, self))

    def serve_queues(self, names: Collection[str]) -> None:
        """Register for queues found at run time, so that RQ's tools list us with them."""
        new = sorted(set(names) - set(self.queue_names()))
        if not new:
            return
        self.queues += [self._queue(name) for name in new]
        with self.connection.pipeline() as pipe:
            pipe.hset(self.key, "queues", ",".join(self.queue_names()))
            worker_registration.register(self, pipe)
            pipe.execute()

    def _queue(self, name: str) -> Queue:
        return Queue(name, connection=self.connection, job_class=FalqJob, serializer=JSONSerializer)

    def load(self, job_ids: Sequence[str]) -> list[FalqJob | None]:
        """Read jobs in one round trip; None for one that is gone or cannot be read."""
        found = self._exchange.hashes([keys.rq_job(job_id) for job_id in job_ids])
        return [self._restore(i, raw) for i, raw in zip(job_ids, found, strict=True)]

    def _restore(self, job_id: str, raw: dict[bytes, bytes]) -> FalqJob | None:
        job = FalqJob(id=job_id, connection=self.connection, serializer=JSONSerializer)
        try:
            job.restore(raw)
        except (NoSuchJobError, ValueError):
            return None
        job.started_registry = self._started(job.origin)
        return job

    def start(self, jobs: Sequence[Job]) -> list[Execution]:
        """Show jobs as started by us, in one round trip.

        No transaction: what a lost connection leaves half shown runs out by itself.
        """
        self.serve_queues({job.origin for job in jobs})
        executions = []
        with self.connection.pipeline(transaction=False) as pipe:
            for job in jobs:
                started = Execution.create(job, EXECUTION_TTL_S, pipe, worker_name=self.name)
                job.prepare_for_execution(self.name, pipeline=pipe)
                pipe.persist(job.key)
                executions.append(started)
            self._send(pipe)
        self.executions.update({execution.id: execution for execution in executions})
        return executions

    def end(self, endings: Sequence[Ending]) -> None:
        """Show how executions ended, in one round trip; no transaction, as in :meth:`start`."""
        if not endings:
            return
        with self.connection.pipeline(transaction=False) as pipe:
            for ending in endings:
                self._end(ending, pipe)
            self._send(pipe)
        for ending in endings:
            self.executions.pop(ending.execution.id, None)

    def _end(self, ending: Ending, pipe: Pipeline) -> None:
        job, execution = ending.job, ending.execution
        if ending.status is not None:
            job.ended_at = now()
            facts: dict[str, Any] = {
                "pipeline": pipe, "worker_name": self.name, "execution_id": execution.id,
                "execution_started_at": execution.created_at, "execution_ended_at": job.ended_at,
            }  # fmt: skip
            if ending.status == JobStatus.FINISHED:
                self._finish(job, ending.value, facts, pipe)
            else:
                job.set_status(ending.status, pipeline=pipe)
                job._handle_failure(ending.error, **facts)  # noqa: SLF001
                self.increment_failed_job_count(pipe)
            if job.started_at:
                self.increment_total_working_time(job.ended_at - job.started_at, pipe)
        execution.delete(job=job, pipeline=pipe)

    def _finish(self, job: Job, value: Any, facts: dict[str, Any], pipe: Pipeline) -> None:
        """Do what RQ's own worker does, with registries at hand."""
        self.increment_successful_job_count(pipeline=pipe)
        job.set_status(JobStatus.FINISHED, pipeline=pipe)
        # All of it: a tool may have deleted the job, and half a hash breaks RQ's pages.
        job.save(pipeline=pipe, include_meta=False, include_result=False)
        successful = Result.Type.SUCCESSFUL
        Result.create(job, successful, RESULT_TTL_S, return_value=value, **facts)
        self._finished(job.origin).add(job, RESULT_TTL_S, pipe)
        job.cleanup(RESULT_TTL_S, pipeline=pipe, remove_from_queue=False)

    def _send(self, pipe: Pipeline) -> None:
        """Send what RQ has put on a pipeline; nobody needs the replies."""
        self._exchange.send_all([arguments for arguments, _ in pipe.command_stack])

    def forget_execution(self, execution: Execution) -> None:
        """Stop beating for an execution whose end could not be written."""
        self.executions.pop(execution.id, None)

    def beat(self) -> None:
        """Say that we and all our executions are alive, 100 executions a round trip."""
        executions = list(self.executions.values())
        with self.connection.pipeline(transaction=False) as pipe:
            state = WorkerStatus.BUSY if executions else WorkerStatus.IDLE
            pipe.hset(self.key, "state", state)
            self.heartbeat(WORKER_TTL_S, pipeline=pipe)
            fresh = pipe.execute()[0] == 1
        if fresh:
            self._write_again()
        for first in range(0, len(executions), 100):
            with self.connection.pipeline(transaction=False) as pipe:
                for execution in executions[first : first + 100]:
                    registry = execution.job.started_job_registry
                    execution.heartbeat(registry, EXECUTION_TTL_S, pipeline=pipe)
                self._send(pipe)

    def _write_again(self) -> None:
        """Our hash had expired, and the beat made a new one: fill it."""
        with self.connection.pipeline() as pipe:
            pipe.hset(self.key, mapping=self.serialize())
            pipe.expire(self.key, WORKER_TTL_S)
            worker_registration.register(self, pipe)
            pipe.execute()

    def clear_others(self, job: Job) -> None:
        """Remove what a dead worker's execution of an adopted job left behind."""
        registry = StartedJobRegistry(job.origin, connection=self.connection, job_class=FalqJob)
        others = ExecutionRegistry(job.id, self.connection).get_execution_ids()
        with self.connection.pipeline() as pipe:
            for execution_id in others:
                Execution(execution_id, job.id, self.connection).delete(job=job, pipeline=pipe)
            pipe.zremrangebyscore(registry.key, 0, now().timestamp())
            pipe.execute()


def foreign_spec(job: Job) -> dict[str, Any] | None:
    """Give the call that a plain RQ job asks for: its keyword arguments; None if unreadable."""
    try:
        kwargs = dict(job.kwargs)
        args = list(job.args)
    except (DeserializationError, TypeError, ValueError, KeyError):
        return None
    return kwargs if not args else None
