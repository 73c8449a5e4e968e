"""Fal's record of requests, and finding in it the one whose reply was lost (fal-api.md §6.4).

A lost reply is looked up, never sent again blindly. A request is ours if its endpoint and
its canonical arguments are the same and it came not before a minute before our intent;
what another job has claimed is not ours. Arguments must be equal, not alike: a wrong match
would hand somebody else's result out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
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
    found: Iterable[HistoryItem],
    *,
    model_id: str,
    arguments: Any,
    intent_at: float,
    claimed: Collection[str] = (),
) -> list[HistoryItem]:
    """Give the requests that may be ours, the nearest to our intent first.

    Several remain when equal jobs are in flight; the caller claims the first that no other
    job claims at the same moment.
    """
    ours = canonical(arguments)
    alike = [
        item
        for item in found
        if item.model_id == model_id
        and item.request_id not in claimed
        and item.seen_at is not None
        and item.seen_at >= intent_at - CLOCK_SLACK_S
        and item.has_arguments
        and canonical(item.arguments) == ours
    ]
    return sorted(alike, key=lambda item: (_distance_s(item, intent_at), item.request_id))


def find_ours(
    found: Iterable[HistoryItem],
    *,
    model_id: str,
    arguments: Any,
    intent_at: float,
    claimed: Collection[str] = (),
) -> HistoryItem | None:
    """Give the request that is ours; None if the record does not show it (yet)."""
    ours = candidates(
        found, model_id=model_id, arguments=arguments, intent_at=intent_at, claimed=claimed
    )
    return ours[0] if ours else None


def _distance_s(item: HistoryItem, intent_at: float) -> float:
    return abs((item.seen_at or 0.0) - intent_at)


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
