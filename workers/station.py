"""One worker process' working place: connections, clients, and how a granted job is done."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from redis import Redis

from falq import __version__, outcome
from falq.admission import Admission, Grant
from falq.batches import Batches
from falq.embedded import revive_server
from falq.errors import FalqError, UsageError
from falq.fal.client import FalClient
from falq.files.spec import OutputSpec
from falq.following import FollowRules
from falq.home import ensure_home
from falq.journal import Journal
from falq.pipeline import Pipeline
from falq.planner import Change
from falq.record import JobRecord
from falq.scripts import Scripts
from falq.settings import Settings
from falq.submitting import SubmitRules
from workers.journal_ledger import JournalLedger
from workers.saving import WorkerSaver
from workers.spacing import Spacing
from workers.spool import Spool, drop_delivered
from workers.threads import Threads

#: Blocking calls at once; Redis answers in well under a millisecond.
THREADS = 8


class Station:
    """What all jobs of a worker process share.

    Args:
        settings: The worker's own: its key pays.
        redis: Bytes replies, with a pool for ``THREADS`` threads.
        saver: Where artifacts go.
        grace_s: How long fal's history is searched for a lost request.
    """

    def __init__(
        self, settings: Settings, redis: Redis, saver: WorkerSaver, *, grace_s: float
    ) -> None:
        self.settings = settings
        self.redis = redis
        scripts = Scripts(redis)
        self.admission = Admission(redis, settings.account, scripts=scripts)
        self.journal = Journal(redis, settings.account, scripts=scripts)
        self.client = FalClient(settings.hosts, settings.key)
        self.threads = Threads(THREADS, "falq-redis")
        self._calls = Batches(scripts.do_all, self.threads.run)
        self._saver = saver
        self._spacing = Spacing()
        self._rules = SubmitRules(
            grace_s=grace_s, resubmit=settings.on_unknown_submit == "resubmit"
        )

    def open_ledger(self, grant: Grant, record: JobRecord | None) -> JournalLedger | None:
        """Open the record of a granted job as it was read after the grant; None if it is gone."""
        if record is None or record.token != grant.token:
            return None
        return JournalLedger(
            self.journal,
            self.admission,
            record,
            threads=self.threads,
            calls=self._calls,
            redis=self.redis,
            spacing=self._spacing,
        )

    async def work(self, ledger: JournalLedger) -> JobRecord:
        """Do a job as far as it goes.

        Raises:
            HeldElsewhereError: Another worker holds it.
        """
        try:
            refuse_newer(ledger.record)
            return await self._pipeline(ledger).run()
        except UsageError as error:
            return await _end(ledger, error)

    async def refuse(self, ledger: JournalLedger, reason: str) -> JobRecord:
        """Fail a job that this worker must not run; nothing of it was sent."""
        return await _end(ledger, UsageError(reason, "falq runs no functions but its own"))

    def _pipeline(self, ledger: JournalLedger) -> Pipeline:
        return Pipeline(
            client=self.client,
            ledger=ledger,
            saver=self._saver,
            follow=_read_options(ledger.record.options),
            submit=self._rules,
        )

    def revive(self) -> None:
        """Start an embedded server that was killed; blocks."""
        if self.settings.embedded:
            with contextlib.suppress(FalqError):
                revive_server(self.settings.home)

    def empty_spool(self) -> None:
        """Remove the files of jobs that their callers have by now, and what is too much; blocks."""
        ensure_home(self.settings.home)
        drop_delivered(self._saver.spool.path, self.journal)
        self._saver.spool.bound()

    async def close(self) -> None:
        """Close what this process opened."""
        await self.client.aclose()
        await self._saver.aclose()
        self.threads.close()


def _read_options(options: Any) -> FollowRules:
    """Read what a job's caller wants, before anything is sent for it.

    Raises:
        UsageError: It makes no sense; another attempt would not, either.
    """
    try:
        if not isinstance(OutputSpec.of(options).directory, str):
            raise TypeError("output.directory is no text")
        return FollowRules.of(options)
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"the job's options cannot be read: {error}", "nothing was sent; call it again"
        ) from error


async def _end(ledger: JournalLedger, error: FalqError) -> JobRecord:
    shown = outcome.failed(ledger.record, time.time(), error)
    await ledger.apply(Change(to="failed", fields={}, error=error), shown)
    return ledger.record


def refuse_newer(record: JobRecord) -> None:
    """Refuse a job of a newer falq, whose meaning this one cannot know.

    Raises:
        UsageError: The job's major or minor version is ahead of ours.
    """
    if record.version and _series(record.version) > _series(__version__):
        raise UsageError(
            f"the job was enqueued by falq {record.version}, this worker is {__version__}",
            "upgrade the workers before the callers",
        )


def _series(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def build_station(settings: Settings, redis: Redis) -> Station:
    """Put together what jobs share: fal's client, the journal, the place for files."""
    settings.require_key()
    saver = WorkerSaver(settings, Spool(ensure_home(settings.home)))
    return Station(settings, redis, saver, grace_s=settings.look_up_grace_s)
