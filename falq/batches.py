"""Work on many things in one go: while a batch is under way in a thread, the next one gathers.

A thousand jobs each ask Redis a few times. One at a time, each question costs a change of
threads, a round trip and, where Redis writes to its disk at once, a write of its own; in
batches they share all three. A lone question waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")
#: Things of one batch at most: those who wait for its end should not wait long.
MOST = 100


class Batches(Generic[_T]):
    """A kind of work that is done in batches.

    Args:
        work: Does a batch; gives each thing's outcome, which may be an exception. Blocks.
        in_thread: Runs a blocking function, given with its arguments, in a thread.
    """

    def __init__(
        self,
        work: Callable[[Sequence[_T]], Sequence[Any]],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._work = work
        self._in_thread = in_thread
        self._waiting: list[tuple[_T, asyncio.Future[Any]]] = []
        self._turns: asyncio.Task[None] | None = None

    async def do(self, thing: _T) -> Any:
        """Have one thing done with the next batch, and give its outcome.

        Raises:
            Exception: What it came to, or the whole batch.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((thing, done))
        if self._turns is None:
            self._turns = asyncio.create_task(self._take_turns())
        return await done

    async def _take_turns(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                outcomes = await self._outcomes([thing for thing, _ in batch])
                for (_, done), outcome in zip(batch, outcomes, strict=True):
                    _settle(done, outcome)
        finally:
            self._turns = None

    async def _outcomes(self, things: Sequence[_T]) -> Sequence[Any]:
        try:
            outcomes: Sequence[Any] = await self._in_thread(self._work, things)
            return outcomes
        except Exception as error:  # noqa: BLE001  # each of those who wait gets it
            return [error] * len(things)


def _settle(done: asyncio.Future[Any], outcome: Any) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
