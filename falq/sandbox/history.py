"""The request history of the Platform API (fal-api.md §6.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from falq.sandbox.faults import Fault
from falq.sandbox.paid_request import PaidRequest, iso

_DAY_S = 86_400.0
_STATUSES: Mapping[str, Callable[[int], bool]] = {
    "success": lambda code: code < 400,
    "user_error": lambda code: 400 <= code < 500,
    "error": lambda code: code >= 500,
}


@dataclass(frozen=True, kw_only=True)
class HistoryQuery:
    """What a caller wants to see.

    Attributes:
        start: Oldest Unix time, included.
        end: Newest Unix time, excluded; None for no bound.
    """

    start: float
    end: float | None = None
    status: str | None = None
    request_id: str | None = None
    payloads: bool = False
    sort_by: str = "ended_at"

    @classmethod
    def from_query(
        cls, query: Mapping[str, str], expand: Iterable[str], now: float
    ) -> HistoryQuery:
        """Read a query string.

        Raises:
            ValueError: A time is no time, or a word is none that fal knows.
        """
        request_id, status = query.get("request_id"), query.get("status")
        window_s = 90 * _DAY_S if request_id else _DAY_S
        sort_by = query.get("sort_by", "ended_at")
        if status not in (None, *_STATUSES) or sort_by not in {"ended_at", "duration"}:
            raise ValueError(f"status {status!r} or sort_by {sort_by!r} is not known")
        return cls(
            start=_unix(query["start"]) if "start" in query else now - window_s,
            end=_unix(query["end"]) if "end" in query else None,
            status=status,
            request_id=request_id,
            payloads="payloads" in set(expand),
            sort_by=sort_by,
        )

    def admits(self, request: PaidRequest) -> bool:
        """Tell whether a request is among those wanted."""
        if self.request_id and request.request_id != self.request_id:
            return False
        if self.status and (request.code is None or not _STATUSES[self.status](request.code)):
            return False
        return self.start <= request.queued_at and (
            self.end is None or request.queued_at < self.end
        )


def list_history(
    requests: Iterable[PaidRequest], query: HistoryQuery, faults: Iterable[Fault], now: float
) -> list[dict[str, Any]]:
    """List requests as fal does: the newest end first, running ones above all."""
    rules = list(faults)
    shown = [
        request
        for request in requests
        if query.admits(request) and not _hidden(request, [*rules, *request.faults], now)
    ]
    shown.sort(key=_duration if query.sort_by == "duration" else _end, reverse=True)
    return [_item(request, payloads=query.payloads) for request in shown]


def _hidden(request: PaidRequest, faults: Iterable[Fault], now: float) -> bool:
    for fault in faults:
        late = fault.name == "history-late" and now < request.queued_at + fault.number("seconds", 2)
        if late or (fault.name == "history-no-running" and not request.done):
            return True
    return False


def _end(request: PaidRequest) -> tuple[float, float]:
    return (request.ended_at or float("inf"), request.queued_at)


def _duration(request: PaidRequest) -> tuple[float, float]:
    return (request.metrics().get("inference_time", 0.0), request.queued_at)


def _item(request: PaidRequest, *, payloads: bool) -> dict[str, Any]:
    item = {
        "request_id": request.request_id,
        "endpoint_id": request.model.model_id,
        "started_at": iso(request.started_at or request.queued_at),
        "sent_at": iso(request.queued_at),
        "ended_at": iso(request.ended_at) if request.ended_at else None,
        "status_code": request.code,
        "duration": request.metrics().get("inference_time"),
    }
    if not payloads or not request.stored:
        return item
    # Inline results are not kept by fal (fal-api.md §7.5).
    inline = isinstance(request.arguments, dict) and request.arguments.get("sync_mode") is True
    kept = {} if request.output is None or inline else {"json_output": request.output}
    return {**item, "json_input": request.arguments, **kept}


def _unix(text: str) -> float:
    moment = datetime.fromisoformat(text)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.timestamp()
