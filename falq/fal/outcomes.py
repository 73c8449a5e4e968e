"""What a paid POST led to, as values: each names what falq may do next (design 2.4).

``NotSent`` and ``Busy`` are proofs that fal did not take the request, so it may be sent
again; ``Refused`` is final; ``Lost`` must be looked up in fal's history first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from falq.errors import FalqError, NetworkError
from falq.fal.problems import ended_problem, error_types, paid_problem, retry_after, words
from falq.fal.reading import Reply, integer, mapping
from falq.fal.replies import Output, read_output, read_ref
from falq.fal.urls import RequestRef


class LostKind(StrEnum):
    """How the answer to a paid POST went missing."""

    TIMEOUT = "timeout"
    DROPPED = "dropped"
    GARBAGE = "garbage"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    SERVER_ERROR = "server_error"
    GATEWAY_TIMEOUT = "gateway_timeout"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Fal took the request; from here on it is followed by its id."""

    ref: RequestRef
    queue_position: int | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """The sync API ran the model and this is the result."""

    output: Output


@dataclass(frozen=True, slots=True)
class NotSent:
    """No connection was made, so provably nothing was sent; safe to send again."""

    error: FalqError


@dataclass(frozen=True, slots=True)
class Busy:
    """Fal is over a limit and did not take the request; safe to send again later."""

    retry_after_s: float | None
    error: FalqError


@dataclass(frozen=True, slots=True)
class Refused:
    """Fal refused it; the same request would be refused again."""

    error: FalqError


@dataclass(frozen=True, slots=True)
class Lost:
    """It was sent and what became of it is not known; never to be sent blindly again.

    Attributes:
        request_id: Known where fal's header told it before the answer was lost.
        failed_at_fal: Fal itself names why this request failed (its own 5xx, not a
            gateway's): it ended, without a charge.
    """

    kind: LostKind
    error: FalqError
    request_id: str | None = None
    failed_at_fal: bool = False


_LOST_BY_STATUS = {
    405: LostKind.METHOD_NOT_ALLOWED,
    408: LostKind.GATEWAY_TIMEOUT,
    409: LostKind.GATEWAY_TIMEOUT,
    504: LostKind.GATEWAY_TIMEOUT,
}


def read_submit(model_id: str, reply: Reply) -> Accepted | Busy | Refused | Lost:
    """Tell what a submit led to."""
    if not 200 <= reply.status < 300:
        return _read_failure(model_id, reply, ran=False)
    body = reply.json_or_none()
    ref = read_ref(model_id, body)
    if ref is not None:
        return Accepted(ref, integer(mapping(body).get("queue_position")))
    return _busy_in_disguise(model_id, reply) or garbage(model_id, reply)


def read_run(model_id: str, reply: Reply) -> Ran | Busy | Refused | Lost:
    """Tell what a sync run led to."""
    if not 200 <= reply.status < 300:
        return _read_failure(model_id, reply, ran=True)
    try:
        output = read_output(reply)
    except ValueError:
        return garbage(model_id, reply)
    return _busy_in_disguise(model_id, reply) or Ran(output)


def garbage(model_id: str, reply: Reply) -> Lost:
    """Give the outcome of an answer that is no answer."""
    message = f"fal answered {reply.status} with something that is no reply: {words(reply)[:200]}"
    error = NetworkError(message, model_id=model_id, request_id=reply.request_id)
    return Lost(LostKind.GARBAGE, _unsure(error), reply.request_id)


def lost(kind: LostKind, reason: str, model_id: str, request_id: str | None = None) -> Lost:
    """Give the outcome of a connection that ended before the answer did."""
    return Lost(kind, _unsure(NetworkError(reason, model_id=model_id)), request_id)


def _unsure(error: FalqError) -> FalqError:
    error.retryable = False
    error.may_be_billed = True
    return error


def _busy_in_disguise(model_id: str, reply: Reply) -> Busy | None:
    # One project met the concurrency refusal with HTTP 200 (fal-api.md §5).
    body = mapping(reply.json_or_none()) if len(reply.content) < 4096 else {}
    if body.get("type") != "concurrent_requests_limit" or "detail" not in body:
        return None
    return _busy(model_id, reply)


def _busy(model_id: str, reply: Reply) -> Busy:
    error = NetworkError(
        f"fal is busy: {words(reply)}", model_id=model_id, retry_after_s=retry_after(reply.headers)
    )
    return Busy(retry_after(reply.headers), error)


def _read_failure(model_id: str, reply: Reply, *, ran: bool) -> Busy | Refused | Lost:
    if reply.status == 429:
        return _busy(model_id, reply)
    if reply.status < 400:
        return garbage(model_id, reply)
    error = paid_problem(reply, model_id=model_id, ran=ran)
    server = LostKind.SERVER_ERROR if reply.status >= 500 else None
    kind = _LOST_BY_STATUS.get(reply.status, server)
    if kind is None:
        return Refused(error)
    if ran and reply.status >= 500 and error_types(reply):
        ended = ended_problem(reply, model_id=model_id, request_id=reply.request_id)
        return Lost(kind, ended, reply.request_id, failed_at_fal=True)
    return Lost(kind, _unsure(error), reply.request_id)
