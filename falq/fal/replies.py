"""What fal's queue says about a request, read tolerantly (fal-api.md §2.2 to §2.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from falq.fal.reading import Reply, integer, items, mapping, number, text_in
from falq.fal.urls import RequestRef

IN_QUEUE = "IN_QUEUE"
IN_PROGRESS = "IN_PROGRESS"
COMPLETED = "COMPLETED"
_STATUSES = frozenset((IN_QUEUE, IN_PROGRESS, COMPLETED))
#: An id becomes part of URLs and Redis keys; fal's are UUIDs.
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:-]{0,199}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """A line of a model's log; fal sends a moving window of them, not a growing list."""

    message: str
    timestamp: str | None = None
    level: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FalStatus:
    """Where a request stands at fal.

    Attributes:
        status: ``IN_QUEUE``, ``IN_PROGRESS`` or ``COMPLETED``; any other word of fal's is
            read as ``IN_PROGRESS``.
        queue_position: Requests ahead, from 0.
        error: Set on a failed request, which is COMPLETED too. A failed one may leave it
            empty: only the result tells for sure.
    """

    status: str
    queue_position: int | None = None
    logs: tuple[LogLine, ...] = ()
    error: str | None = None
    error_type: str | None = None
    inference_s: float | None = None

    @property
    def completed(self) -> bool:
        """Whether fal will do no more."""
        return self.status == COMPLETED


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What a model gave back.

    Attributes:
        billable_units: In the model's pricing unit, not a currency (fal-api.md §3).
    """

    output: Any
    request_id: str | None = None
    billable_units: float | None = None


class CancelOutcome(StrEnum):
    """What fal said to a cancel; a requested one may still complete and be billed."""

    REQUESTED = "requested"
    ALREADY_COMPLETED = "already_completed"
    NOT_FOUND = "not_found"


class KeyState(StrEnum):
    """What fal thinks of a key; an empty balance does not show."""

    VALID = "valid"
    INVALID = "invalid"
    LOCKED = "locked"
    MISSING = "missing"


def read_ref(model_id: str, body: Any) -> RequestRef | None:
    """Read the reply to a submit; None if it names no usable request id."""
    data = mapping(body)
    request_id = data.get("request_id")
    if not isinstance(request_id, str) or _REQUEST_ID.fullmatch(request_id) is None:
        return None
    return RequestRef(
        model_id=model_id,
        request_id=request_id,
        status_url=text_in(data, "status_url"),
        response_url=text_in(data, "response_url"),
        cancel_url=text_in(data, "cancel_url"),
    )


def read_status(body: Any) -> FalStatus:
    """Read a status; anything that is none counts as still running."""
    data = mapping(body)
    status = text_in(data, "status")
    logs = data.get("logs")
    metrics = data.get("metrics")
    return FalStatus(
        status=status if status is not None and status in _STATUSES else IN_PROGRESS,
        queue_position=integer(data.get("queue_position")),
        logs=_read_logs(logs) if logs else (),
        error=_read_error(data),
        error_type=text_in(data, "error_type"),
        inference_s=number(mapping(metrics).get("inference_time")) if metrics else None,
    )


def _read_error(data: Mapping[str, Any]) -> str | None:
    error = data.get("error")
    return None if error is None or error == "" else str(error)


def _read_logs(logs: Any) -> tuple[LogLine, ...]:
    lines = (mapping(line) for line in items(logs))
    return tuple(
        LogLine(
            message=str(line["message"]),
            timestamp=text_in(line, "timestamp"),
            level=text_in(line, "level"),
        )
        for line in lines
        if line.get("message") is not None
    )


def read_output(reply: Reply) -> Output:
    """Read a result.

    Raises:
        ValueError: The body is no JSON.
    """
    return Output(
        output=reply.json(),
        request_id=reply.request_id,
        billable_units=number(reply.headers.get("x-fal-billable-units")),
    )
