"""Looks for a paid request whose reply was lost, in fal's request history.

What is not found there is sent again only where its absence is proved. fal's history may be
late, cut, or without arguments; it may show a request that could be ours but need not be.
None of that is a proof.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from falq.errors import FalqError
from falq.fal.client import FalClient
from falq.fal.history import (
    CLOCK_SLACK_S,
    History,
    HistoryItem,
    candidates,
    left_by,
    may_be_ours,
)
from falq.fal.urls import RequestRef
from falq.ledger import Ledger
from falq.planner import look_up_wait_s

#: Clocks that differ by less are taken to agree, seconds: a Date header has no fractions.
AGREE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a look came to.

    Attributes:
        request_id: Found, and claimed for the job.
        absent: It is proved that fal has no such request.
        why: Why nothing can be said.
    """

    request_id: str | None = None
    absent: bool = False
    why: str = ""


@dataclass
class Search:
    """Searches for the request of one job.

    Args:
        client: Fal.
        ledger: The job, in phase ``submitting``.
        ahead_s: Fal's clock minus ours, as far as it is known.
    """

    client: FalClient
    ledger: Ledger
    ahead_s: float = 0.0

    async def throughout(self, grace_s: float) -> Sight:
        """Look several times over a grace period; what the last look says counts.

        The period is measured from here, by a clock that nobody sets: whoever takes a job
        over gives the history its whole time once more.
        """
        clock = asyncio.get_running_loop().time
        began_at, tries, sight = clock(), 0, Sight(why="fal's history was not asked")
        while (wait_s := look_up_wait_s(clock() - began_at, grace_s, tries)) is not None:
            await asyncio.sleep(wait_s)
            tries += 1
            try:
                sight = await self.look()
            except FalqError as error:
                sight = Sight(why=f"fal's history does not answer: {error.message}")
                await self.ledger.note({"warning": f"history: {error.message}; trying again"})
            if sight.request_id is not None:
                break
        return sight

    async def look(self) -> Sight:
        """Look once, and claim what is ours.

        Raises:
            FalqError: The history does not answer.
        """
        record = self.ledger.record
        if record.request_id is not None and await self._is_known(record.request_id):
            return Sight(request_id=record.request_id)
        history = await self._history()
        if any(item.request_id == record.request_id for item in history.items):
            named = [record.request_id] if record.request_id is not None else []
            return await self._claimed(named) or Sight(why="the request is another job's")
        free = await self._free(history.items)
        alike = candidates(
            free, model_id=record.model_id, arguments=record.arguments, since=self._since(),
            near=self._intent_at() + self.ahead_s,
        )  # fmt: skip
        waiting_at = [at + self.ahead_s for at in await self.ledger.awaited_alike()]
        ours = [item.request_id for item in left_by(waiting_at, alike)]
        return await self._claimed(ours) or self._absence(history, free, alike)

    async def _history(self) -> History:
        """Read the history from before the intent on, by fal's clock."""
        history = await self._read()
        if history.ahead_s is not None and abs(history.ahead_s - self.ahead_s) > AGREE_S:
            earlier, self.ahead_s = self.ahead_s, history.ahead_s
            if history.ahead_s < earlier:
                history = await self._read()
        return history

    async def _read(self) -> History:
        model_id = self.ledger.record.model_id
        return await self.client.requests_by_endpoint(model_id, start_at=self._since())

    def _intent_at(self) -> float:
        record = self.ledger.record
        return record.created_at if record.submitting_at is None else record.submitting_at

    def _since(self) -> float:
        """Give the time before which nothing is ours.

        The intent was timed by a worker, perhaps a dead one, the start by Redis: whichever
        is earlier, because either clock may be wrong.
        """
        started_at = self.ledger.record.started_at
        earliest = self._intent_at() if started_at is None else min(started_at, self._intent_at())
        return earliest + min(0.0, self.ahead_s) - CLOCK_SLACK_S

    async def _free(self, items: Sequence[HistoryItem]) -> list[HistoryItem]:
        others = await self.ledger.owned_by_others([item.request_id for item in items])
        return [item for item in items if item.request_id not in others]

    async def _claimed(self, request_ids: Sequence[str]) -> Sight | None:
        for request_id in request_ids:
            if await self.ledger.claim(request_id):
                return Sight(request_id=request_id)
        return None

    async def _is_known(self, request_id: str) -> bool:
        """Tell whether fal's queue knows an id; a run of the sync API never shows there.

        A header may have told it before the reply was lost; some gateways put an id of their
        own there, so what that id does not find is searched for by its arguments.
        """
        record = self.ledger.record
        if record.mode == "sync" or record.fallback:
            return False
        try:
            await self.client.status(RequestRef(model_id=record.model_id, request_id=request_id))
        except FalqError:
            return False
        return await self.ledger.claim(request_id)

    def _absence(
        self, history: History, free: Sequence[HistoryItem], alike: Sequence[HistoryItem]
    ) -> Sight:
        """Say whether a history without our request proves that fal did not take it."""
        record, since = self.ledger.record, self._since()
        if not history.whole:
            return Sight(why="fal's history is not there as a whole")
        if history.ahead_s is None:
            return Sight(why="fal's history does not tell its time")
        if alike:
            return Sight(why="fal has an equal request that may be another job's")
        if any(may_be_ours(item, arguments=record.arguments, since=since) for item in free):
            return Sight(why="fal has a request whose arguments it does not show as they were")
        return Sight(absent=True)
