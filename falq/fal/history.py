"""Fal's record of requests, and finding in it the one whose reply was lost (fal-api.md §6.4).

A lost reply is looked up, never sent again blindly. A request is ours if its endpoint and
its canonical arguments are the same and it came not before a minute before our intent;
what another job has claimed is not ours. Arguments must be equal, not alike: a wrong match
would hand somebody else's result out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from falq.canonical import canonical
from falq.errors import FalqError
from falq.fal.problems import ended_problem
from falq.fal.reading import Reply, instant, integer, items, mapping, number, text_in

#: Clocks of fal and ours may differ; a request may seem older than its intent.
CLOCK_SLACK_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryItem:
    """One request of the account as fal recorded it.

    Attributes:
        arguments: What was sent; meaningless unless ``has_arguments``.
        output: What the model gave back; meaningless unless ``has_output``.
    """

    request_id: str
    model_id: str
    started_at: float | None = None
    sent_at: float | None = None
    ended_at: float | None = None
    status_code: int | None = None
    duration_s: float | None = None
    has_arguments: bool = False
    arguments: Any = None
    has_output: bool = False
    output: Any = None

    @property
    def seen_at(self) -> float | None:
        """When fal first saw it."""
        times = [at for at in (self.sent_at, self.started_at) if at is not None]
        return min(times, default=None)

    def to_platform_request(self) -> dict[str, Any]:
        """Give the ``platform_request`` of a RESULT_ENDPOINT_ONLY result, without payloads."""
        return {
            "request_id": self.request_id,
            "endpoint_id": self.model_id,
            "started_at": self.started_at,
            "sent_at": self.sent_at,
            "ended_at": self.ended_at,
            "status_code": self.status_code,
            "duration": self.duration_s,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """What fal showed of its record.

    Attributes:
        items: The requests.
        whole: Fal answered with a list and all of it was read; else nothing is proved by
            what is not in it.
        ahead_s: Fal's clock minus ours, as its answer told; None if it did not tell.
    """

    items: tuple[HistoryItem, ...] = ()
    whole: bool = True
    ahead_s: float | None = 0.0


class HistoryVerdict(StrEnum):
    """What fal's record says became of a request."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


def read_history(body: Any) -> list[HistoryItem]:
    """Read a page of the record; rows without ids are left out."""
    rows = (_read_item(mapping(row)) for row in items(mapping(body).get("items")))
    return [row for row in rows if row is not None]


def _read_item(row: Mapping[str, Any]) -> HistoryItem | None:
    request_id, model_id = text_in(row, "request_id"), text_in(row, "endpoint_id")
    if request_id is None or model_id is None:
        return None
    return HistoryItem(
        request_id=request_id,
        model_id=model_id,
        started_at=instant(row.get("started_at")),
        sent_at=instant(row.get("sent_at")),
        ended_at=instant(row.get("ended_at")),
        status_code=integer(row.get("status_code")),
        duration_s=number(row.get("duration")),
        has_arguments=row.get("json_input") is not None,
        arguments=row.get("json_input"),
        has_output=row.get("json_output") is not None,
        output=row.get("json_output"),
    )


def candidates(
    found: Iterable[HistoryItem], *, model_id: str, arguments: Any, since: float, near: float
) -> list[HistoryItem]:
    """Give the requests that have our arguments, the nearest to our intent first.

    Several remain when equal jobs are in flight; the caller claims the first that no other
    job claims at the same moment.

    Args:
        found: Requests that no other job owns.
        model_id: Of the job.
        arguments: Of the job.
        since: Nothing that fal saw before is ours.
        near: When the job's request was about to be sent.
    """
    ours = canonical(arguments)
    alike = [
        item
        for item in found
        if item.model_id == model_id
        and item.seen_at is not None
        and item.seen_at >= since
        and item.has_arguments
        and canonical(item.arguments) == ours
    ]
    return sorted(alike, key=lambda item: (_distance_s(item, near), item.request_id))


def left_by(waiting_at: Iterable[float], alike: Sequence[HistoryItem]) -> list[HistoryItem]:
    """Leave to each equal job that still waits for its reply the request nearest to it.

    Args:
        waiting_at: When those jobs were about to send.
        alike: Requests that may be theirs or ours, in the order that is best for us.
    """
    left = list(alike)
    for at in waiting_at:
        if left:
            left.remove(min(left, key=lambda item: _distance_s(item, at)))
    return left


def may_be_ours(item: HistoryItem, *, arguments: Mapping[str, Any], since: float) -> bool:
    """Tell whether a request may be ours though its arguments are not equal to ours.

    Fal may keep none, or write defaults into them. Only a text, a number or a truth value
    that differs shows that a request is another one; addresses may be rewritten.
    """
    if item.seen_at is not None and item.seen_at < since:
        return False
    if not item.has_arguments or not isinstance(item.arguments, dict):
        return True
    theirs = item.arguments
    return not any(_differ(arguments[name], theirs[name]) for name in arguments.keys() & theirs)


def _differ(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, str) and isinstance(theirs, str):
        return not (_is_address(ours) or _is_address(theirs)) and ours.strip() != theirs.strip()
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return isinstance(ours, bool) and isinstance(theirs, bool) and ours is not theirs
    numbers = isinstance(ours, int | float) and isinstance(theirs, int | float)
    return numbers and ours != theirs


def _is_address(text: str) -> bool:
    return "://" in text or text.startswith("data:")


def _distance_s(item: HistoryItem, at: float) -> float:
    return abs((item.seen_at or 0.0) - at)


def history_verdict(item: HistoryItem) -> HistoryVerdict:
    """Tell what became of a request; RUNNING also where the record does not say."""
    if item.status_code is not None and item.status_code >= 400:
        return HistoryVerdict.FAILED
    ended = item.ended_at is not None or item.status_code is not None
    done = item.has_output or (item.status_code is not None and 200 <= item.status_code < 300)
    return HistoryVerdict.SUCCEEDED if ended and done else HistoryVerdict.RUNNING


def history_problem(item: HistoryItem) -> FalqError:
    """Make the error of a request that the record shows as failed, in fal's words."""
    content = json.dumps(item.output if item.has_output else {}).encode()
    reply = Reply(status=item.status_code or 500, headers={}, content=content)
    return ended_problem(reply, model_id=item.model_id, request_id=item.request_id)
