"""A call straight from this process, as sure to be paid for once as one through the queue.

Its record is on this machine's disk before the POST leaves. When the process is killed, the
same call goes on where it stood, through the queue or not, and ``falq result`` fetches what fal
has.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from falq.calling import CallRequest
from falq.canonical import call_hash
from falq.delivery import Delivery
from falq.errors import ConfigurationError, FalqError, UnreachableError
from falq.fetching import may_be_there, outcome_of, salvage_direct
from falq.files.spec import OutputSpec
from falq.keeping import find_kept, forget, keep, kept_records, lock_of
from falq.ledger import Rivals
from falq.phases import ACTIVE, Phase
from falq.record import JobRecord
from falq.settings import Settings

OnEvent = Callable[[Mapping[str, Any]], None]


def call_directly(
    settings: Settings,
    request: CallRequest,
    job_id: str,
    on_event: OnEvent,
    delivery: Delivery,
    *,
    beside_queue: bool = True,
) -> dict[str, Any]:
    """Make a call from here, or go on with an equal one whose process is gone.

    ``beside_queue`` says that Redis is not known to be away.

    Raises:
        ConfigurationError: The home cannot keep the record of the call; nothing was sent.
        FalqError: What went wrong.
    """
    resumed = resume_abandoned(settings, request, on_event, delivery)
    if resumed is not None:
        return resumed
    on_event({"job_id": job_id, "direct": True})
    record = _named(request.to_record(job_id, settings.account), request.fingerprint(settings))
    try:
        lock = lock_of(settings.home, job_id)
        lock.acquire()
    except (OSError, ConfigurationError) as error:
        raise _not_kept(settings.home, error) from error
    with _Handling(
        settings.home, job_id, delivery, lock.release, beside_queue=beside_queue
    ) as handling:
        return outcome_of(handling.go_on(settings, record, on_event))


def resume_abandoned(
    settings: Settings, request: CallRequest, on_event: OnEvent, delivery: Delivery
) -> dict[str, Any] | None:
    """Go on with an equal direct call that was sent and whose result reached nobody.

    Gives its outcome; None if there is none, or if ``fresh`` forbids it. Of two that ask at
    once, one gets it.

    Raises:
        FalqError: What became of it.
    """
    if request.fresh:
        return None
    name = request.fingerprint(settings)
    for kept in kept_records(settings.home):
        if kept.options.get("fingerprint") != name or kept.account != settings.account:
            continue
        lock = lock_of(settings.home, kept.job_id)
        if not lock.acquire():
            continue
        earlier = find_kept(settings.home, kept.job_id)
        if earlier is not None and _was_sent(earlier):
            on_event({"job_id": earlier.job_id, "deduplicated": True, "direct": True})
            with _Handling(settings.home, earlier.job_id, delivery, lock.release) as handling:
                shown = handling.salvage(settings, earlier, request.output, on_event)
                return shown | {"deduplicated": True}
        lock.release()
    return None


def fetch_directly(
    settings: Settings, kept: JobRecord, output: OutputSpec, on_event: OnEvent, delivery: Delivery
) -> dict[str, Any]:
    """Fetch the result of a direct call without a new one.

    Raises:
        UnreachableError: Another process still works on it.
        FalqError: What became of it.
    """
    lock = lock_of(settings.home, kept.job_id)
    if not lock.acquire():
        raise UnreachableError(
            f"job {kept.job_id} is still under way in the process that made the call",
            "it ends there; once that process is gone, falq result JOB goes on with it",
            job_id=kept.job_id,
            retryable=False,
            may_be_billed=True,
        )
    with _Handling(settings.home, kept.job_id, delivery, lock.release) as handling:
        return handling.salvage(settings, kept, output, on_event)


class _Handling:
    """One direct call while this process works on it; a context manager.

    Its record goes, and its lock is let go, when the outcome is delivered: an equal call finds
    it until then. A record of what may still be had from fal stays.
    """

    def __init__(
        self,
        home: Path,
        job_id: str,
        delivery: Delivery,
        let_go: Callable[[], None],
        *,
        beside_queue: bool = True,
    ) -> None:
        self._home = home
        self._job_id = job_id
        self._delivery = delivery
        self._let_go = let_go
        self._beside_queue = beside_queue
        self._last: JobRecord | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, FalqError):
            if self._last is None or not _is_worth_keeping(self._last):
                self._delivery.then(lambda: forget(self._home, self._job_id))
            self._delivery.then(self._let_go)
        else:
            self._let_go()

    def go_on(self, settings: Settings, record: JobRecord, on_event: OnEvent) -> JobRecord:
        """Work on a call to its end; refuse to send what cannot be kept."""
        from falq.direct import go_on

        keeper, rivals = self._keeper(on_event), self._rivals(settings)
        return go_on(settings, record, on_event, keep=keeper, rivals=rivals)

    def salvage(
        self, settings: Settings, kept: JobRecord, output: OutputSpec, on_event: OnEvent
    ) -> dict[str, Any]:
        """Get what an earlier process was billed for."""
        self._last = kept
        keeper, rivals = self._keeper(on_event), self._rivals(settings)
        shown = salvage_direct(settings, kept, output, on_event, keep=keeper, rivals=rivals)
        self._last = None
        return shown

    def _rivals(self, settings: Settings) -> Rivals:
        from falq.direct_rivals import DirectRivals

        return DirectRivals(settings, self._job_id, beside_queue=self._beside_queue)

    def _keeper(self, on_event: OnEvent) -> Callable[[JobRecord], None]:
        def keep_it(record: JobRecord) -> None:
            try:
                keep(self._home, record)
            except (OSError, ConfigurationError) as error:
                if _is_intent(record):
                    raise _not_kept(self._home, error) from error
                on_event({"warning": f"the record of the call cannot be kept: {error}"})
            self._last = record

        return keep_it


def _is_intent(record: JobRecord) -> bool:
    return record.phase == Phase.SUBMITTING and record.loss is None


def _is_worth_keeping(record: JobRecord) -> bool:
    """Tell whether something of a call may still be fetched."""
    if record.phase == Phase.DONE and record.result is not None:
        return False
    return record.result is not None or may_be_there(record)


def _was_sent(record: JobRecord) -> bool:
    if record.cancel_requested:
        return False
    return record.phase in ACTIVE | {Phase.UNKNOWN} or record.result is not None


def _not_kept(home: Path, error: OSError | ConfigurationError) -> ConfigurationError:
    said = error.message if isinstance(error, ConfigurationError) else error.strerror
    return ConfigurationError(
        f"the record of a paid call cannot be kept in {home}: {said}",
        "nothing was sent; make room there, mend its mode, or set FALQ_HOME",
    )


def _named(record: JobRecord, name: str) -> JobRecord:
    """Write into a record which call it is, and which process makes it."""
    return record.changed(
        options=record.options | {"fingerprint": name},
        arguments_hash=call_hash(record.model_id, record.arguments),
        worker=f"{socket.gethostname()}.{os.getpid()}.direct",
    )
