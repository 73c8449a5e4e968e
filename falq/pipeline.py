"""Carries a job from its queue to files on disk, one step at a time.

The planner names the step, this module does it and writes the outcome into the record
before going on; a process that dies between two steps leaves a record from which another
one continues.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from falq import outcome, planner
from falq.errors import (
    ArtifactError,
    DownloadError,
    FalqError,
    OutputError,
    ResultEndpointError,
)
from falq.fal.client import FalClient
from falq.following import Follower, FollowRules
from falq.ledger import Ledger
from falq.planner import Change, Step
from falq.record import JobRecord
from falq.submitting import SubmitRules, Submitter

Note = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What became of a result's artifacts.

    ``files`` as in design 1.4; ``failures`` are those of ``falq.files.save.SavedFiles``.
    ``remote`` says that the caller's directory is out of reach: the caller fetches the files
    itself, and ``files`` tells what it must find.
    """

    files: Sequence[Mapping[str, Any]] = ()
    failures: Sequence[Mapping[str, Any]] = ()
    log_path: str | None = None
    remote: bool = False


class Saver(Protocol):
    """Saves the artifacts of a result where the caller wants them."""

    async def save(self, record: JobRecord, logs: Sequence[Mapping[str, Any]], note: Note) -> Saved:
        """Save what is not saved yet; safe to repeat.

        Raises:
            ArtifactError: Nothing could be saved at all.
        """
        ...


@dataclass(kw_only=True)
class Pipeline:
    """One job's way through the steps.

    Args:
        client: Fal.
        ledger: The job's record.
        saver: Where artifacts go.
        follow: How the caller wants its request followed.
        submit: What to do about lost replies.
    """

    client: FalClient
    ledger: Ledger
    saver: Saver
    follow: FollowRules = field(default_factory=FollowRules)
    submit: SubmitRules = field(default_factory=SubmitRules)
    logs: list[dict[str, Any]] = field(default_factory=list)

    async def run(self) -> JobRecord:
        """Work on the job until it ends or goes back to its queue.

        A failure of the job is no exception: it is in the record that is returned.

        Raises:
            HeldElsewhereError: Another worker holds the job; this one must let go.
        """
        acts = {
            Step.SUBMIT: self._send_to_queue,
            Step.RUN: self._run_sync,
            Step.LOOK_UP: self._look_up,
            Step.FOLLOW: self._follow,
            Step.DOWNLOAD: self._download,
            Step.CANCEL_UNSENT: self._cancel_unsent,
        }
        ours = True
        while ours and (step := planner.next_step(self.ledger.record)) is not Step.STOP:
            ours = await acts[step]()
        return self.ledger.record

    async def _send_to_queue(self) -> bool:
        return await self._apply(await self._submitter.send(sync=False))

    async def _run_sync(self) -> bool:
        return await self._apply(await self._submitter.send(sync=True))

    async def _look_up(self) -> bool:
        return await self._apply(await self._submitter.look_up())

    @property
    def _submitter(self) -> Submitter:
        return Submitter(self.client, self.ledger, self.submit)

    async def _apply(self, change: Change) -> bool:
        """Apply a change; one that carries an error ends the job with its outcome."""
        if change.error is None:
            return await self.ledger.apply(change)
        return await self.ledger.apply(change, self._failed(change.error))

    def _failed(self, error: FalqError) -> dict[str, Any]:
        logs = self.logs or self.ledger.record.logs
        return outcome.failed(self.ledger.record, time.time(), error, logs=logs)

    async def _cancel_unsent(self) -> bool:
        error = planner.cancelled(may_be_billed=False)
        return await self._apply(Change(to="cancelled", fields={}, error=error))

    async def _follow(self) -> bool:
        follower = Follower(self.client, self.ledger, self.follow)
        try:
            followed = await follower.until_result()
        except ResultEndpointError as error:
            return await self._endpoint_only(error)
        except FalqError as error:
            return await self._apply(planner.after_failure(error))
        finally:
            self.logs = follower.log_lines()
        return await self.ledger.apply(
            Change(
                to="downloading",
                fields={
                    "result": followed.output.output,
                    "logs": self.logs,
                    "billable_units": followed.output.billable_units,
                    "recovered": followed.recovered or self.ledger.record.recovered,
                },
            )
        )

    async def _endpoint_only(self, error: ResultEndpointError) -> bool:
        shown = outcome.endpoint_only(self.ledger.record, time.time(), error.detail)
        return await self.ledger.apply(Change(to="done", fields={}), shown)

    async def _download(self) -> bool:
        logs = self.logs or self.ledger.record.logs
        try:
            saved = await self.saver.save(self.ledger.record, logs, self.ledger.note)
        except FalqError as error:
            return await self._apply(Change(to="failed", fields={}, error=error))
        if saved.failures:
            return await self._partly(saved)
        shown = outcome.completed(
            self.ledger.record, time.time(), saved.files, logs=logs, log_path=saved.log_path
        )
        if saved.remote:
            shown["remote"] = True
        return await self.ledger.apply(Change(to="done", fields={}), shown)

    async def _partly(self, saved: Saved) -> bool:
        """End a job of which some files are missing; the result and the rest are kept."""
        error = partly_error(saved)
        shown = self._failed(error) | {"files": [dict(file) for file in saved.files]}
        return await self.ledger.apply(Change(to="failed", fields={}, error=error), shown)


def partly_error(saved: Saved) -> ArtifactError:
    """Give the error of a result of which some artifacts could not be saved."""
    missing = "; ".join(f"{each['field']}: {each['error']}" for each in saved.failures)
    whole = len(saved.files) + len(saved.failures)
    unwritten = all(each["type"] == OutputError.__name__ for each in saved.failures)
    kind = OutputError if unwritten else DownloadError
    return kind(
        f"{len(saved.failures)} of {whole} files could not be saved: {missing}",
        retryable=any(each["retryable"] for each in saved.failures),
        detail=[dict(each) for each in saved.failures],
    )
