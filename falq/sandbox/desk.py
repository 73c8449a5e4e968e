"""Taking paid requests, running them within an account's limit, and remembering them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from falq.sandbox.catalogue import Catalogue
from falq.sandbox.ledger import Ledger
from falq.sandbox.outcome import settle
from falq.sandbox.paid_request import ERROR_CODES, PaidRequest

#: Seconds that a request thrown back by its runner waits before it may run again.
_REQUEUE_S = 0.3
#: A request must run for a moment before it can be seen to go back.
_MIN_RUN_S = 0.6


@dataclass
class _Account:
    waiting: deque[PaidRequest] = field(default_factory=deque)
    running: int = 0
    tickets: int = 0
    started: int = 0


class Desk:
    """All paid requests of a sandbox, and the turns in which they run.

    fal's limit counts the running requests of an account; queue requests wait for their turn
    (fal-api.md §5). Everything happens on the event loop's thread.
    """

    def __init__(self, catalogue: Catalogue, ledger: Ledger, limit: int | None = None) -> None:
        self._catalogue = catalogue
        self._ledger = ledger
        self._limit = limit
        self._requests: dict[str, PaidRequest] = {}
        self._by_model: dict[str, list[PaidRequest]] = defaultdict(list)
        self._accounts: dict[str, _Account] = defaultdict(_Account)

    @property
    def limit(self) -> int | None:
        """How many requests of one account run at a time, None for any number."""
        return self._limit

    def find(self, request_id: str) -> PaidRequest | None:
        """Find a request by its id."""
        return self._requests.get(request_id)

    def of_model(self, model_ids: Iterable[str], account: str) -> list[PaidRequest]:
        """List an account's requests to some models, oldest first."""
        found = [item for name in model_ids for item in self._by_model.get(name, ())]
        return [item for item in found if item.account == account]

    def is_full(self, account: str) -> bool:
        """Tell whether an account runs as much as it may."""
        return self._limit is not None and self._accounts[account].running >= self._limit

    def waiting(self, account: str) -> int:
        """Count an account's requests that wait for their turn."""
        return len(self._accounts[account].waiting)

    def register(self, request: PaidRequest) -> None:
        """Take a request: from here on it costs money and goes on by itself."""
        self._requests[request.request_id] = request
        self._by_model[request.model.model_id].append(request)
        self._ledger.count_registered(request.model.model_id)
        if request.fault("back-to-queue"):
            request.run_s = max(request.run_s, _MIN_RUN_S)
        _later(request.queue_s, self._line_up, request)

    def position(self, request: PaidRequest) -> int:
        """Count the requests ahead."""
        account = self._accounts[request.account]
        ticket = account.tickets if request.ticket is None else request.ticket
        return max(0, ticket - account.started)

    def cancel(self, request: PaidRequest) -> None:
        """End a waiting request at once, a running one too unless a fault says otherwise."""
        if request.status == "IN_PROGRESS" and request.fault("cancel-ignored"):
            return
        self._end_with_error(request, "client_cancelled", "Request was cancelled by the client")

    def _line_up(self, request: PaidRequest) -> None:
        if request.done:
            return
        account = self._accounts[request.account]
        request.ticket = account.tickets
        account.tickets += 1
        account.waiting.append(request)
        self._admit(request.account)

    def _admit(self, name: str) -> None:
        account = self._accounts[name]
        while account.waiting and not self.is_full(name):
            account.started += 1
            request = account.waiting.popleft()
            if not request.done:
                self._start(request)

    def _start(self, request: PaidRequest) -> None:
        request.status, request.started_at = "IN_PROGRESS", time.time()
        request.note(request.started_at, f"falq sandbox: {request.model.model_id} starts")
        self._accounts[request.account].running += 1
        self._ledger.count_start(request.model.model_id)
        request.announce()
        thrown_back = not request.requeued and request.uses["back-to-queue"]
        if request.run_s:
            _later(request.run_s / 2, self._halfway, request)
        _later(request.run_s / 2 if thrown_back else request.run_s, self._stop, request)

    def _halfway(self, request: PaidRequest) -> None:
        if not request.done:
            request.note(time.time(), "falq sandbox: 50%")

    def _stop(self, request: PaidRequest) -> None:
        if request.done:
            return
        if request.uses["back-to-queue"] and not request.requeued:
            self._throw_back(request)
            return
        broken = request.fault("completed-with-error")
        if broken:
            kind = str(broken.params.get("error_type", "runner_disconnected"))
            self._end_with_error(request, kind, kind.replace("_", " ").capitalize())
            return
        settle(request, self._catalogue.checker(request.model))
        self._end(request)

    def _throw_back(self, request: PaidRequest) -> None:
        request.requeued, request.status, request.started_at = True, "IN_QUEUE", None
        request.note(time.time(), "falq sandbox: runner lost, back to the queue")
        self._leave(request)
        request.announce()
        _later(_REQUEUE_S, self._line_up, request)

    def _end_with_error(self, request: PaidRequest, error_type: str, error: str) -> None:
        request.error, request.error_type = error, error_type
        request.code = ERROR_CODES.get(error_type, 503)
        request.output = {"detail": error, "error_type": error_type}
        self._end(request)

    def _end(self, request: PaidRequest) -> None:
        was_running = request.status == "IN_PROGRESS"
        request.status, request.ended_at = "COMPLETED", time.time()
        request.note(request.ended_at, "falq sandbox: done")
        if was_running:
            self._leave(request)
        request.announce()

    def _leave(self, request: PaidRequest) -> None:
        self._accounts[request.account].running -= 1
        self._ledger.count_end(request.model.model_id)
        self._admit(request.account)


def _later(delay_s: float, act: Callable[[PaidRequest], None], request: PaidRequest) -> None:
    loop = asyncio.get_running_loop()
    if delay_s > 0:
        loop.call_later(delay_s, act, request)
    else:
        loop.call_soon(act, request)
