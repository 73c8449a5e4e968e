"""A call straight from this process, as sure to be paid for once as one through the queue.

Its record is on this machine's disk before the POST leaves. When the process is killed, the
same call goes on where it stood, and ``falq result`` fetches what fal has.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from falq.calling import CallRequest
from falq.errors import ConfigurationError
from falq.fetching import may_be_there, outcome_of, salvage_direct
from falq.keeping import forget, keep, kept_records
from falq.phases import ACTIVE, Phase
from falq.presence import lives_here
from falq.record import JobRecord
from falq.settings import Settings

OnEvent = Callable[[Mapping[str, Any]], None]


def call_directly(
    settings: Settings, request: CallRequest, job_id: str, on_event: OnEvent | None
) -> dict[str, Any]:
    """Make a call from here, or go on with an equal one whose process was killed.

    Raises:
        FalqError: What went wrong.
    """
    tell = on_event or (lambda _: None)
    record = _named(request.to_record(job_id, settings.account), request.fingerprint(settings))
    earlier = None if request.fresh else _abandoned(settings.home, record)
    if earlier is not None:
        tell({"job_id": earlier.job_id, "deduplicated": True})
        shown = salvage_direct(settings, earlier, request.output, on_event)
        forget(settings.home, earlier.job_id)
        return shown | {"deduplicated": True}
    tell({"job_id": job_id})
    return _call(settings, record, on_event)


def _call(settings: Settings, record: JobRecord, on_event: OnEvent | None) -> dict[str, Any]:
    from falq.direct import go_on

    def keep_it(now: JobRecord) -> None:
        # A home that cannot be used must not stop a call that needs none.
        with contextlib.suppress(OSError, ConfigurationError):
            keep(settings.home, now)

    ended = go_on(settings, record, on_event, keep=keep_it)
    has_all = ended.phase == Phase.DONE and ended.result is not None
    if has_all or not (ended.result is not None or may_be_there(ended)):
        forget(settings.home, ended.job_id)
    return outcome_of(ended)


def _named(record: JobRecord, name: str) -> JobRecord:
    """Write into a record which call it is, and which process makes it."""
    worker = f"{socket.gethostname()}.{os.getpid()}.direct"
    options = record.options | {"fingerprint": name}
    return dataclasses.replace(record, options=options, worker=worker)


def _abandoned(home: Path, record: JobRecord) -> JobRecord | None:
    """Find an equal call that was sent and whose result reached nobody."""
    for kept in kept_records(home):
        sent = kept.phase in ACTIVE | {Phase.UNKNOWN} or kept.result is not None
        same = kept.options.get("fingerprint") == record.options["fingerprint"]
        same = same and kept.account == record.account
        if sent and same and not lives_here(kept.worker or ""):
            return kept
    return None
