"""Takes a result from fal's request history, where fal's own endpoints do not hand it out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from falq.errors import FalqError, ResultEndpointError
from falq.fal.client import FalClient
from falq.fal.history import HistoryItem, HistoryVerdict, history_problem, history_verdict
from falq.fal.replies import Output
from falq.ledger import Ledger

#: Looks for a request that fal is known to have, but whose record may come late; the waits
#: between them in seconds.
LATE_WAITS_S = (0.5, 1.0, 2.0)


@dataclass
class HistoryReader:
    """Reads what fal recorded of one request.

    Args:
        client: Fal.
        ledger: The job; its record has a request_id.
    """

    client: FalClient
    ledger: Ledger

    async def item(self) -> HistoryItem | None:
        """Give the request's entry; None while there is none.

        Raises:
            FalqError: The history does not answer.
        """
        record = self.ledger.record
        history = await self.client.requests_by_endpoint(
            record.model_id, start_at=None, request_id=record.request_id
        )
        return next((item for item in history.items if item.request_id == record.request_id), None)

    async def patient_item(self) -> HistoryItem | None:
        """Give the entry, waiting some seconds for one that comes late or an answer at all."""
        for wait_s in (*LATE_WAITS_S, None):
            try:
                item = await self.item()
            except FalqError as error:
                item = None
                await self.ledger.note({"warning": f"history: {error.message}"})
            if item is not None or wait_s is None:
                return item
            await asyncio.sleep(wait_s)
        return None


def still_runs(item: HistoryItem | None) -> bool:
    """Tell whether an entry says that fal still works on the request."""
    if item is None or item.ended_at is not None:
        return False
    return history_verdict(item) is HistoryVerdict.RUNNING


def output_of(item: HistoryItem | None, cause: FalqError) -> Output:
    """Give the result that an entry holds.

    Raises:
        ModelError: The request failed, in fal's words.
        ResultEndpointError: It holds none; ``detail`` is the ``platform_request``.
    """
    if item is not None and history_verdict(item) is HistoryVerdict.FAILED:
        raise history_problem(item)
    if item is not None and item.has_output:
        return Output(output=item.output, request_id=item.request_id)
    raise ResultEndpointError(
        f"fal took the request but does not hand out its result: {cause.message}",
        "look it up at https://fal.ai/dashboard/requests; it is not sent again",
        detail=item.to_platform_request() if item is not None else None,
    )
