"""Writing behind: while threads hash and write some bytes, the next ones arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from falq.files.partial import PartialFile

#: Bytes handed over at once; a download holds at most about three times as many in memory.
WRITE_BYTES = 2 * 1024 * 1024
#: Runs a function with arguments in a thread, at once.
InThread = Callable[..., asyncio.Future[None]]
Pieces = list[bytes | bytearray]


class WriteBehind:
    """Collects pieces for a partial file and has them hashed and written, a batch at a time.

    Args:
        part: What is written; whoever gives it also discards it.
        in_thread: Where the work is done: hashing and writing side by side.
    """

    def __init__(self, part: PartialFile, in_thread: InThread) -> None:
        self._part = part
        self._in_thread = in_thread
        self._waiting: Pieces = []
        self._collected = 0
        self._working: list[asyncio.Future[None]] = []

    async def add(self, piece: bytes | bytearray) -> bool:
        """Take a piece; True when a batch was handed over.

        Raises:
            OutputError: An earlier batch could not be written.
        """
        self._waiting.append(piece)
        self._collected += len(piece)
        if self._collected < WRITE_BYTES:
            return False
        await self._hand_over()
        return True

    async def finish(self) -> None:
        """Wait until every piece is hashed and written.

        Raises:
            OutputError: One could not be.
        """
        await self._hand_over()
        await self._settle()

    async def _hand_over(self) -> None:
        await self._settle()
        pieces, self._waiting, self._collected = self._waiting, [], 0
        self._working = [
            self._in_thread(_for_each, self._part.hash, pieces),
            self._in_thread(_for_each, self._part.write, pieces),
        ]
        for work in self._working:
            work.add_done_callback(_look)

    async def _settle(self) -> None:
        for work in self._working:
            await work


def _for_each(act: Callable[[bytes | bytearray], None], pieces: Pieces) -> None:
    for piece in pieces:
        act(piece)


def _look(work: asyncio.Future[None]) -> None:
    """Look at the outcome, so that a batch nobody waits for any more ends in silence."""
    if not work.cancelled():
        work.exception()
