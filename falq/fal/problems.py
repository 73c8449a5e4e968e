"""HTTP answers of fal as errors of ours, by a table, in fal's own words (fal-api.md §4).

Three places read the table: a paid POST, a result, and every other read. They differ in
what a 5xx and a 404 mean: on a result they may be the request's own end.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from falq.errors import (
    AccountError,
    BalanceError,
    ContentPolicyError,
    FalqError,
    InvalidKeyError,
    JobCancelledError,
    ModelError,
    NetworkError,
)
from falq.fal.reading import Reply, items, mapping, number, text_in
from falq.fal.redaction import clean, clean_text
from falq.fal.signals import EndpointRefusedError, RequestNotFoundError, StillRunningError

#: A wait that fal asks for is believed up to here.
MAX_RETRY_AFTER_S = 3600.0
_STILL_RUNNING = "still in progress"
_LOCKED = ("user is locked", "exhausted balance")
_MAX_COMPLAINTS = 5
#: Statuses that say nothing about the request itself: ask again later.
_TRANSIENT = frozenset((408, 409, 425, 429))
_KINDS: dict[str, type[ModelError]] = {
    "content_policy_violation": ContentPolicyError,
    "client_cancelled": JobCancelledError,
}
_MODEL_HINTS = {
    404: "check the model id: falq search QUERY",
    413: "send large files as URLs: falq upload FILE",
    422: "compare the arguments with: falq schema MODEL_ID",
}


def words(reply: Reply) -> str:
    """Give what fal says in a failing answer as one line."""
    body = reply.json_or_none()
    said = _words_in(body) if isinstance(body, dict | list) else _plain(reply)
    return clean_text(said) or f"HTTP {reply.status} without a reason"


def _words_in(body: Any) -> str:
    data = mapping(body)
    detail = body if isinstance(body, list) else data.get("detail")
    if isinstance(detail, list):
        return "; ".join(_complaint(entry) for entry in detail[:_MAX_COMPLAINTS])
    if isinstance(detail, str):
        return detail
    nested = mapping(data.get("error")) or mapping(detail)
    own = text_in(nested, "message") or text_in(data, "error") or text_in(data, "message")
    return own or text_in(data, "status") or ""


def _complaint(entry: Any) -> str:
    if not isinstance(entry, dict):
        return clean_text(str(entry))
    where = ".".join(str(part) for part in items(entry.get("loc")) if part != "body")
    said = clean_text(str(entry.get("msg") or entry.get("type") or "refused"))
    return f"{where}: {said}" if where else said


def _plain(reply: Reply) -> str:
    text = reply.content[:4096].decode("utf-8", "replace").strip()
    if text.startswith("<") or "text/html" in reply.headers.get("content-type", ""):
        return f"HTTP {reply.status} with a page of HTML from a gateway"
    return text


def error_types(reply: Reply) -> set[str]:
    """Give every type that a failing answer names, in the body and in the header."""
    body = reply.json_or_none()
    data = mapping(body)
    entries = [mapping(entry) for entry in items(data.get("detail"))]
    named = [data.get("error_type"), reply.headers.get("x-fal-error-type")]
    return {kind for kind in (*named, *(e.get("type") for e in entries)) if isinstance(kind, str)}


def is_own_failure(reply: Reply) -> bool:
    """Tell whether a failing answer is fal's word about the request, not a gateway's hiccup."""
    data = mapping(reply.json_or_none())
    named = "detail" in data and text_in(data, "error_type") is not None
    headers = reply.headers
    return named or "x-fal-error-type" in headers or "x-fal-request-id" in headers


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read for how many seconds fal asks to wait, from either header that says so.

    >>> retry_after({"retry-after": "7"}), retry_after({"retry-after": "soon"})
    (7.0, None)
    """
    said = headers.get("retry-after")
    wait_s = number(said)
    if wait_s is None and said is not None:
        wait_s = _until(said, headers.get("date"))
    if wait_s is None:
        wait_s = number(headers.get("x-ratelimit-reset"))
    return None if wait_s is None else min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def _until(moment: str, now: str | None) -> float | None:
    try:
        due, sent = parsedate_to_datetime(moment), parsedate_to_datetime(now or "")
        return (due - sent).total_seconds()
    except (ValueError, TypeError):
        return None


def paid_problem(reply: Reply, *, model_id: str, ran: bool) -> FalqError:
    """Make the error of a paid POST that fal answered with a failure.

    Args:
        reply: The answer.
        model_id: The model that was called.
        ran: The model itself may have run (the sync API), so a refusal may cost.
    """
    fields = _fields(reply, model_id)
    if reply.status in (401, 403):
        return _account_problem(reply, fields)
    if reply.status in _TRANSIENT or reply.status >= 500:
        return NetworkError(_message(reply), **fields)
    return _refusal(reply, fields, may_be_billed=ran and _may_be_billed(reply))


def result_problem(reply: Reply, *, model_id: str, request_id: str) -> FalqError:
    """Make the error of a result that fal answered with a failure."""
    fields = _fields(reply, model_id) | {"request_id": request_id}
    named = bool(error_types(reply))
    if reply.status == 400 and _STILL_RUNNING in words(reply).lower():
        return StillRunningError(_message(reply), **fields)
    ended = named if reply.status in (401, 403, 404) else is_own_failure(reply)
    if ended and reply.status not in (405, 408, 429):
        return ended_problem(reply, model_id=model_id, request_id=request_id)
    return read_problem(reply, model_id=model_id, request_id=request_id)


def ended_problem(reply: Reply, *, model_id: str, request_id: str | None) -> FalqError:
    """Make the error of a request whose own end this answer is."""
    fields = _fields(reply, model_id) | {"request_id": request_id}
    return _refusal(reply, fields, may_be_billed=_may_be_billed(reply))


def read_problem(
    reply: Reply, *, model_id: str | None = None, request_id: str | None = None
) -> FalqError:
    """Make the error of a read that says nothing about how a request ended."""
    fields = _fields(reply, model_id) | {"request_id": request_id}
    if reply.status in (401, 403):
        return _account_problem(reply, fields)
    if reply.status == 405:
        return EndpointRefusedError(_message(reply), **fields)
    if reply.status == 404 and request_id is not None:
        return RequestNotFoundError(_message(reply), **fields)
    if reply.status < 400 or reply.status in _TRANSIENT or reply.status >= 500:
        return NetworkError(_message(reply), **fields)
    billed = request_id is not None and _may_be_billed(reply)
    return _refusal(reply, fields, may_be_billed=billed)


def _message(reply: Reply) -> str:
    return f"fal answered {reply.status}: {words(reply)}"


def _fields(reply: Reply, model_id: str | None) -> dict[str, Any]:
    return {
        "model_id": model_id,
        "request_id": reply.request_id,
        "detail": clean(mapping(reply.json_or_none()).get("detail")),
        "retry_after_s": retry_after(reply.headers),
    }


def _account_problem(reply: Reply, fields: dict[str, Any]) -> AccountError:
    if reply.status == 401:
        return InvalidKeyError(_message(reply), **fields)
    if any(mark in words(reply).lower() for mark in _LOCKED):
        return BalanceError(_message(reply), **fields)
    return AccountError(
        _message(reply), "the key is known but may not make this call: check its scope", **fields
    )


def _refusal(reply: Reply, fields: dict[str, Any], *, may_be_billed: bool) -> ModelError:
    kind = _kind_of(error_types(reply))
    hint = _MODEL_HINTS.get(reply.status) if kind is ModelError else None
    return kind(_message(reply), hint, may_be_billed=may_be_billed, **fields)


def _kind_of(types: set[str]) -> type[ModelError]:
    return next((kind for name, kind in _KINDS.items() if name in types), ModelError)


def _may_be_billed(reply: Reply) -> bool:
    units = number(reply.headers.get("x-fal-billable-units"))
    if units is not None:
        return units > 0
    return reply.status in (422, 499)
