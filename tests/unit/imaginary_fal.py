"""A fal that plays a script, and an event loop whose time passes at once; no network, no sleep."""

import asyncio
import selectors
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from falq.errors import NetworkError
from falq.fal.history import History, HistoryItem
from falq.fal.outcomes import Accepted, Lost, LostKind, Ran
from falq.fal.replies import CancelOutcome, FalStatus, Output
from falq.fal.urls import RequestRef
from falq.ledger import MemoryLedger
from falq.pipeline import Saved
from falq.record import JobRecord

BEGIN_AT = 1_000_000.0


class _Hurried(selectors.SelectSelector):
    """Waits for nothing: what would be waited for has passed."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits for nothing"
        self.passed_s += max(0.0, timeout)
        return super().select(0)


class HurriedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.hurried = _Hurried()
        super().__init__(self.hurried)

    def time(self) -> float:
        return self.hurried.passed_s


@contextmanager
def hurried() -> Iterator[Callable[[Awaitable[Any]], Any]]:
    """Run coroutines in a loop whose clock and ``time.time`` jump instead of waiting."""
    loop = HurriedLoop()
    with mock.patch.object(time, "time", side_effect=lambda: BEGIN_AT + loop.time()):
        try:
            yield loop.run_until_complete
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


def job(**fields: Any) -> JobRecord:
    known: dict[str, Any] = {
        "job_id": "j", "model_id": "a/b", "arguments": {"prompt": "x"}, "mode": "queue",
        "created_at": BEGIN_AT,
    }  # fmt: skip
    return JobRecord(**(known | fields))


def ref(request_id: str = "r1") -> RequestRef:
    return RequestRef(model_id="a/b", request_id=request_id)


def lost(kind: LostKind, request_id: str | None = None) -> Lost:
    return Lost(kind, NetworkError("the reply was lost"), request_id)


def item(request_id: str = "r1", **fields: Any) -> HistoryItem:
    """Give an entry of a request that ended well."""
    known: dict[str, Any] = {
        "request_id": request_id, "model_id": "a/b", "sent_at": BEGIN_AT, "ended_at": BEGIN_AT + 1,
        "status_code": 200, "has_arguments": True, "arguments": {"prompt": "x"},
        "has_output": True, "output": {"text": "hello"},
    }  # fmt: skip
    return HistoryItem(**(known | fields))


def running(request_id: str = "r1") -> HistoryItem:
    return item(request_id, ended_at=None, status_code=None, has_output=False, output=None)


OUTPUT = Output(output={"text": "hello"}, request_id="r1", billable_units=1.0)
DONE = FalStatus(status="COMPLETED")
RUNS = FalStatus(status="IN_PROGRESS")
QUEUED = FalStatus(status="IN_QUEUE", queue_position=2)


class ImaginaryFal:
    """Stands in for ``FalClient``.

    Each script is a list; its last entry repeats, and one that is an exception is raised.
    ``events`` None: there is no stream. ``sent`` lists the paid POSTs.
    """

    def __init__(self, **scripts: Any) -> None:
        self.submits: list[Any] = scripts.pop("submits", [Accepted(ref())])
        self.runs: list[Any] = scripts.pop("runs", [Ran(OUTPUT)])
        self.statuses: list[Any] = scripts.pop("statuses", [DONE])
        self.results: list[Any] = scripts.pop("results", [OUTPUT])
        self.history: list[Any] = scripts.pop("history", [[]])
        self.cancels: list[Any] = scripts.pop("cancels", [CancelOutcome.REQUESTED])
        self.events: list[Any] | None = scripts.pop("events", None)
        assert not scripts
        self.sent: list[str] = []
        self.asked: list[str] = []

    def _play(self, script: list[Any], what: str) -> Any:
        self.asked.append(what)
        value = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(value, Exception):
            raise value
        return value

    async def submit(self, model_id: str, arguments: Any, **_: Any) -> Any:
        self.sent.append("submit")
        return self._play(self.submits, "submit")

    async def run(self, model_id: str, arguments: Any, **_: Any) -> Any:
        self.sent.append("run")
        return self._play(self.runs, "run")

    async def status(self, _ref: RequestRef, **_: Any) -> Any:
        return self._play(self.statuses, "status")

    async def status_stream(self, _ref: RequestRef, **_: Any) -> AsyncGenerator[FalStatus, None]:
        if self.events is None:
            raise NetworkError("no stream")
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            yield event

    async def result(self, _ref: RequestRef, **_: Any) -> Any:
        return self._play(self.results, "result")

    async def cancel(self, _ref: RequestRef, **_: Any) -> Any:
        return self._play(self.cancels, "cancel")

    async def requests_by_endpoint(self, model_id: str, **_: Any) -> Any:
        found = self._play(self.history, "history")
        return found if isinstance(found, History) else History(items=tuple(found))


class Shelf:
    """Saves nothing, or fails."""

    def __init__(self, *saved: Saved | Exception) -> None:
        self.saved = list(saved) or [Saved(files=[{"path": "/x.png"}])]

    async def save(self, record: Any, logs: Any, note: Any) -> Saved:
        value = self.saved.pop(0) if len(self.saved) > 1 else self.saved[0]
        if isinstance(value, Exception):
            raise value
        return value


class Rivalry(MemoryLedger):
    """A ledger among other jobs: some requests are theirs, some of them still wait.

    Args:
        record: The job.
        owned: Requests that other jobs own.
        awaiting: When equal jobs sent whose reply may still come.
    """

    def __init__(
        self, record: JobRecord, owned: tuple[str, ...] = (), awaiting: tuple[float, ...] = ()
    ) -> None:
        self.seen: list[dict[str, Any]] = []
        super().__init__(record, lambda event: self.seen.append(dict(event)))
        self.owned, self.awaiting = set(owned), awaiting

    async def claim(self, request_id: str) -> bool:
        return request_id not in self.owned

    async def owned_by_others(self, request_ids: Any) -> set[str]:
        return self.owned & set(request_ids)

    async def awaited_alike(self) -> list[float]:
        return list(self.awaiting)
