"""Calls fal from this process: no queue, no limits, the same pipeline.

Serves ``--no-queue``, the fallback while the queue is down, and everything that goes on with
a request that is known already (``falq result``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from falq.fal.client import FalClient
from falq.files.download import Downloader
from falq.following import FollowRules
from falq.ledger import MemoryLedger, Rivals
from falq.pipeline import Pipeline
from falq.record import JobRecord
from falq.saving import LocalSaver, media_policy
from falq.settings import Settings
from falq.submitting import SubmitRules

OnEvent = Callable[[Mapping[str, Any]], None]


def go_on(
    settings: Settings,
    record: JobRecord,
    on_event: OnEvent | None = None,
    *,
    needs_key: bool = True,
    keep: Callable[[JobRecord], None] | None = None,
    rivals: Rivals | None = None,
) -> JobRecord:
    """Work on a job in this process from wherever its record stands, to its end.

    Costs money only from phase ``queued``.

    Args:
        settings: Whose key.
        record: The job; phase ``queued`` sends it, ``submitted`` follows it, ``downloading``
            only saves its files.
        on_event: Is told what happens.
        needs_key: False where only files are fetched.
        keep: Writes the record down after each change, before the act that follows.
        rivals: The calls beside it, whose requests at fal it leaves to them.

    Raises:
        MissingKeyError: A key is needed and none is set.
    """
    if needs_key:
        settings.require_key()
    return asyncio.run(_go_on(settings, record, MemoryLedger(record, on_event, keep, rivals)))


async def _go_on(settings: Settings, record: JobRecord, ledger: MemoryLedger) -> JobRecord:
    options = record.options
    async with (
        FalClient(settings.hosts, settings.key) as client,
        Downloader(media_policy(settings)) as downloader,
    ):
        pipeline = Pipeline(
            client=client,
            ledger=ledger,
            saver=LocalSaver(settings, downloader),
            follow=FollowRules.of(options),
            submit=SubmitRules(
                grace_s=settings.look_up_grace_s,
                resubmit=settings.on_unknown_submit == "resubmit",
            ),
        )
        return await pipeline.run()
