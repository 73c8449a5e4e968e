"""Follows a request at fal until its result is there; reads only, so all of it may be repeated.

A status may come from the stream or from polling; whatever fails on the way is tried again
until the job's time is over, because an error on a read says nothing about the request.
Where fal's own endpoints refuse (405) or know the request no longer (404), its request
history serves.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self

from falq.call_values import read_count, read_seconds
from falq.errors import (
    AccountError,
    FalqError,
    JobCancelledError,
    ModelError,
    NetworkError,
    ResultEndpointError,
)
from falq.fal.client import FalClient
from falq.fal.replies import CancelOutcome, FalStatus, LogLine, Output
from falq.fal.signals import EndpointRefusedError, RequestNotFoundError, StillRunningError
from falq.fal.urls import RequestRef
from falq.ledger import Ledger
from falq.planner import MAX_REFUSED_LOOKS, Change, cancelled, out_of_time, time_left_s
from falq.polling import backoff_s, poll_wait_s
from falq.recovering import HistoryReader, output_of, still_runs

#: How long a request that fal was asked to cancel is still followed, seconds.
CANCEL_PATIENCE_S = 30.0
#: The stream says nothing for so long: go on by polling, seconds.
STREAM_IDLE_S = 30.0
#: Looks at a result that fails without naming a cause: a gateway's hiccup passes.
MAX_VAGUE_FAILURES = 3

#: A read that says nothing about how the request stands.
_NO_ANSWER = (NetworkError, AccountError, ModelError, EndpointRefusedError, RequestNotFoundError)


@dataclass(frozen=True, kw_only=True)
class FollowRules:
    """How a caller wants its request followed."""

    poll_interval_s: float = 5.0
    fixed_poll_s: float | None = None
    max_polls: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Read them from the options of a job.

        Raises:
            UsageError: Somebody wrote values that are none.
        """
        return cls(
            poll_interval_s=read_seconds(options, "poll_interval_s") or cls.poll_interval_s,
            fixed_poll_s=read_seconds(options, "fixed_poll_s"),
            max_polls=read_count(options, "max_polls"),
        )

    @property
    def streams(self) -> bool:
        """Whether the status stream may be used: not where polls are counted or timed."""
        return self.fixed_poll_s is None and self.max_polls is None


def _steady_s() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Followed:
    """A result, and how it was found."""

    output: Output
    recovered: bool = False


@dataclass
class Follower:
    """Follows one request.

    Args:
        client: Fal.
        ledger: The job; its record has a request_id.
        rules: How to look.
        logs: Log lines seen so far, each once.
    """

    client: FalClient
    ledger: Ledger
    rules: FollowRules
    logs: dict[tuple[str | None, str], LogLine] = field(default_factory=dict)
    polls: int = 0
    refusals: int = 0
    vague: int = 0
    failures: int = 0
    cancel_at: float | None = None
    position: int | None = None
    _began_at: tuple[float, float] = field(default_factory=lambda: (time.time(), _steady_s()))

    async def until_result(self) -> Followed:
        """Follow the request to its end.

        Raises:
            ModelError: It failed, in fal's words, or was cancelled.
            JobTimeoutError: The job's time or polls are used up; it may still run.
            ResultEndpointError: It ended, but fal hands out no result; ``detail`` is the
                ``platform_request``.
            HeldElsewhereError: Another worker goes on with the job.
        """
        if self.ledger.record.mode == "sync" or self.ledger.record.fallback:
            return await self._history_until_result()
        async with aclosing(self._statuses()) as statuses:
            async for status in statuses:
                if status is not None:
                    await self._tell(status)
                if status is None or status.completed:
                    found = await self._try_result(status)
                    if found is not None:
                        return found
        raise AssertionError  # pragma: no cover  # the statuses end only by raising

    @property
    def ref(self) -> RequestRef:
        """The request as fal named it."""
        record = self.ledger.record
        return RequestRef(
            model_id=record.model_id,
            request_id=record.request_id or "",
            status_url=record.status_url,
            response_url=record.response_url,
            cancel_url=record.cancel_url,
        )

    def log_lines(self) -> list[dict[str, Any]]:
        """Give the log lines seen so far, each once, in fal's order."""
        return [
            {"timestamp": line.timestamp, "level": line.level, "message": line.message}
            for line in self.logs.values()
        ]

    async def _statuses(self) -> AsyncGenerator[FalStatus | None, None]:
        """Give each status; None where only the result endpoint can tell.

        A request is looked at once however late it is: it may have ended long ago.
        """
        if self.rules.streams and self._lateness() is None:
            try:
                async with aclosing(self._streamed()) as streamed:
                    async for status in streamed:
                        yield status
            except JobCancelledError:
                raise
            except _NO_ANSWER:
                self.failures = 0
        while True:
            await self._heed_cancel()
            yield await self._poll()
            self._check_time()
            await self._rest(self._wait_s())

    async def _streamed(self) -> AsyncGenerator[FalStatus, None]:
        stream = self.client.status_stream(self.ref, logs=True, idle_s=STREAM_IDLE_S)
        coming: asyncio.Future[FalStatus] | None = None
        try:
            while True:
                await self._heed_cancel()
                self._check_time()
                coming = coming or asyncio.ensure_future(anext(stream))
                await self._first_of(coming)
                if coming.done():
                    status, coming = coming.result(), None
                    yield status
        except StopAsyncIteration:
            return
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
            await stream.aclose()

    async def _first_of(self, coming: asyncio.Future[FalStatus]) -> None:
        """Wait for the stream, but no longer than a second or until a cancel is asked."""
        asked = asyncio.ensure_future(self.ledger.cancel_asked.wait())
        waited: set[asyncio.Future[Any]] = {coming} if self.cancel_at else {coming, asked}
        try:
            await asyncio.wait(waited, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()

    async def _poll(self) -> FalStatus | None:
        self.polls += 1
        try:
            status = await self.client.status(self.ref, logs=True)
        except (EndpointRefusedError, RequestNotFoundError):
            return None
        except _NO_ANSWER as error:
            self.failures += 1
            await self.ledger.note({"warning": f"status: {error.message}; trying again"})
            queued = self.ledger.record.phase == "submitted"
            word = "IN_QUEUE" if queued else "IN_PROGRESS"
            return FalStatus(status=word, queue_position=self.position)
        self.failures = 0
        return status

    def _wait_s(self) -> float:
        if self.failures:
            return backoff_s(self.failures, random.random())  # noqa: S311  # jitter
        age_s = self._now() - (self.ledger.record.submitting_at or self._now())
        return poll_wait_s(
            age_s,
            self.rules.poll_interval_s,
            fixed_s=self.rules.fixed_poll_s,
            position=self.position,
        )

    async def _rest(self, wait_s: float) -> None:
        """Wait before the next look; the last one comes when the job's time is over."""
        wait_s = min(wait_s, time_left_s(self.ledger.record, self._now()))
        if self.cancel_at is not None:
            await asyncio.sleep(min(wait_s, 1.0))
            return
        try:
            async with asyncio.timeout(wait_s):
                await self.ledger.cancel_asked.wait()
        except TimeoutError:
            return

    async def _heed_cancel(self) -> None:
        if self.ledger.cancel_asked.is_set() and self.cancel_at is None:
            await self._cancel()
        if self.cancel_at is not None and self._now() - self.cancel_at > CANCEL_PATIENCE_S:
            raise cancelled(may_be_billed=True)

    def _now(self) -> float:
        """Give the time by a clock that nobody sets while we follow: a job must not end by it."""
        wall, steady = self._began_at
        return wall + _steady_s() - steady

    def _lateness(self) -> FalqError | None:
        return out_of_time(self.ledger.record, self._now(), self.polls, self.rules.max_polls)

    def _check_time(self) -> None:
        late = self._lateness()
        if late is not None:
            raise late

    async def _cancel(self) -> None:
        self.cancel_at = self._now()
        try:
            outcome = await self.client.cancel(self.ref)
        except FalqError as error:
            self.cancel_at = None
            self.ledger.cancel_asked.clear()
            await self.ledger.note({"cancel": "failed", "warning": error.message})
            return
        await self.ledger.note({"cancel": outcome.value})
        if outcome is CancelOutcome.NOT_FOUND:
            raise cancelled(may_be_billed=True)

    async def _tell(self, status: FalStatus) -> None:
        """Write what a status says into the record and to those who watch."""
        phase = "submitted" if status.status == "IN_QUEUE" else "running"
        if phase != self.ledger.record.phase and not status.completed:
            await self.ledger.apply(Change(to=phase, fields={}))
        if status.queue_position != self.position and status.queue_position is not None:
            await self.ledger.note({"fal_queue_position": status.queue_position})
        self.position = status.queue_position
        for line in status.logs:
            if (line.timestamp, line.message) not in self.logs:
                self.logs[(line.timestamp, line.message)] = line
                await self.ledger.note({"log": line.message, "at": line.timestamp})

    async def _try_result(self, status: FalStatus | None) -> Followed | None:
        """Give the result; None where it has to be asked for once more."""
        try:
            return Followed(await self.client.result(self.ref))
        except StillRunningError:
            self.refusals = 0
        except (EndpointRefusedError, RequestNotFoundError) as error:
            self.refusals += 1
            if self.refusals >= MAX_REFUSED_LOOKS:
                return await self._from_history(error)
            return await self._once_more(status, self.refusals)
        except (NetworkError, AccountError) as error:
            self.failures += 1
            await self.ledger.note({"warning": f"result: {error.message}; trying again"})
        except FalqError as error:
            self.vague += 1
            if not self._is_vague(error, status) or self.vague >= MAX_VAGUE_FAILURES:
                raise self._worded(error, status) from error
            return await self._once_more(status, self.vague)
        return None

    async def _once_more(self, status: FalStatus | None, attempt: int) -> Followed | None:
        await asyncio.sleep(backoff_s(attempt, 0.5, first_s=0.3))
        return await self._try_result(status)

    def _is_vague(self, error: FalqError, status: FalStatus | None) -> bool:
        """Tell whether a failure may be a gateway's: neither named nor told by the status."""
        told = status is not None and status.error is not None
        return type(error) is ModelError and not told and not isinstance(error.detail, list)

    def _worded(self, error: FalqError, status: FalStatus | None) -> FalqError:
        if self.cancel_at is not None:
            return cancelled(may_be_billed=True)
        if status is not None and status.error and status.error not in error.message:
            error.message = f"{status.error}: {error.message}"
        if status is not None and error.detail is None and status.error_type:
            error.detail = {"error_type": status.error_type}
        return error

    async def _from_history(self, cause: FalqError) -> Followed:
        """Take the result from fal's history, because the result endpoint refuses it."""
        reader = HistoryReader(self.client, self.ledger)
        while still_runs(item := await reader.patient_item()) and self._lateness() is None:
            await self._heed_cancel()
            await self._rest(self._wait_s())
        return Followed(output_of(item, cause), recovered=True)

    async def _history_until_result(self) -> Followed:
        """Wait in fal's history for the end of a sync run whose connection was lost."""
        reader = HistoryReader(self.client, self.ledger)
        while True:
            await self._heed_cancel()
            self.polls += 1
            try:
                item = await reader.item()
                self.failures = 0
            except _NO_ANSWER as error:
                self.failures += 1
                await self.ledger.note({"warning": f"history: {error.message}; trying again"})
                item = None
            if item is not None and not still_runs(item):
                lost = ResultEndpointError("the run's reply was lost")
                return Followed(output_of(item, lost), recovered=True)
            self._check_time()
            await self._rest(self._wait_s())
