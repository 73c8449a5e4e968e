"""Writing behind: while a thread hashes and writes some bytes, the next ones arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from falq.files.partial import PartialFile

#: Bytes handed over at once; a download holds about twice as many in memory.
WRITE_BYTES = 512 * 1024
#: Runs a function with arguments in a thread, at once.
InThread = Callable[..., asyncio.Future[None]]


class WriteBehind:
    """Collects pieces for a partial file and has them written by a thread, one batch at a time.

    Args:
        part: What is written; whoever gives it also discards it.
        in_thread: Where the writing is done.
    """

    def __init__(self, part: PartialFile, in_thread: InThread) -> None:
        self._part = part
        self._in_thread = in_thread
        self._waiting: list[bytes] = []
        self._collected = 0
        self._writing: asyncio.Future[None] | None = None

    async def add(self, piece: bytes) -> bool:
        """Take a piece; True when a batch was handed over.

        Raises:
            OutputError: An earlier batch could not be written.
        """
        self._waiting.append(piece)
        self._collected += len(piece)
        if self._collected < WRITE_BYTES:
            return False
        await self._settle()
        self._writing = self._in_thread(_write_all, self._part, self._waiting)
        self._writing.add_done_callback(_look)
        self._waiting, self._collected = [], 0
        return True

    async def finish(self) -> None:
        """Wait until every piece is written.

        Raises:
            OutputError: One could not be.
        """
        await self._settle()
        await self._in_thread(_write_all, self._part, self._waiting)

    async def _settle(self) -> None:
        if self._writing is not None:
            await self._writing


def _write_all(part: PartialFile, pieces: list[bytes]) -> None:
    for piece in pieces:
        part.write(piece)


def _look(writing: asyncio.Future[None]) -> None:
    """Look at the outcome, so that a batch nobody waits for any more ends in silence."""
    if not writing.cancelled():
        writing.exception()
