"""Running a sandbox: beside a test in a thread, or as the whole of a process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from falq.sandbox.faults import Rule
from falq.sandbox.server import Sandbox

T = TypeVar("T")


class RunningSandbox:
    """A sandbox that runs in a thread of this process.

    Attributes:
        url: Its origin, for ``FALQ_FAL_URL``.
    """

    def __init__(self, url: str, sandbox: Sandbox, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self._parts = sandbox.parts
        self._loop = loop

    def log(self) -> list[dict[str, Any]]:
        """List every request seen, oldest first; see ``ledger.Entry``."""
        return self._do(self._parts.ledger.entries)

    def stats(self) -> dict[str, Any]:
        """Give the counts, as ``GET /sandbox/stats`` does."""
        return self._do(self._parts.ledger.stats)

    def posts(self, model_id: str | None = None) -> int:
        """Count the paid POSTs that arrived, taken or not."""
        counts = self._parts.ledger.posts
        return self._do(lambda: counts.total() if model_id is None else counts[model_id])

    def registered(self, model_id: str | None = None) -> int:
        """Count the paid requests that were taken: what fal would charge for."""
        counts = self._parts.ledger.registered
        return self._do(lambda: counts.total() if model_id is None else counts[model_id])

    def add_fault(
        self,
        fault: str,
        *,
        model_id: str = "*",
        op: str | None = None,
        times: int | None = None,
        **params: Any,
    ) -> Rule:
        """Script a fault; see ``faults`` for names.

        Raises:
            ValueError: The fault or the operation has no such name.
        """
        book = self._parts.book
        return self._do(lambda: book.add(fault, model_id=model_id, op=op, times=times, **params))

    def clear_faults(self) -> None:
        """Forget every scripted fault."""
        self._do(self._parts.book.clear)

    def clear_log(self) -> None:
        """Forget the log and the counts."""
        self._do(self._parts.ledger.clear)

    def _do(self, act: Callable[[], T]) -> T:
        async def on_loop() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(on_loop(), self._loop).result(10)


@contextlib.contextmanager
def running_sandbox(
    *, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> Iterator[RunningSandbox]:
    """Run a sandbox in a thread for the length of a ``with`` block.

    Args:
        host: Address to listen on.
        port: Port, 0 for a free one.
        options: Those of ``Sandbox``.

    Raises:
        OSError: The port is taken or may not be used.
    """
    loop, sandbox = asyncio.new_event_loop(), Sandbox(**options)
    thread = threading.Thread(target=loop.run_forever, name="falq-sandbox", daemon=True)
    thread.start()
    try:
        starting = asyncio.run_coroutine_threadsafe(sandbox.start(host, port), loop)
        yield RunningSandbox(starting.result(10), sandbox, loop)
    finally:
        asyncio.run_coroutine_threadsafe(_wind_down(sandbox), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    latency: float = 0.0,
    ready: Callable[[str], None] | None = None,
    **options: Any,
) -> None:
    """Run a sandbox until SIGTERM or SIGINT; prints nothing.

    Args:
        host: Address to listen on.
        port: Port, 0 for a free one.
        latency: Seconds that each request runs.
        ready: Called with the origin as soon as it answers.
        options: Further ones of ``Sandbox``.

    Raises:
        OSError: The port is taken or may not be used.
    """
    asyncio.run(_serve(Sandbox(latency=latency, **options), host, port, ready))


async def _serve(
    sandbox: Sandbox, host: str, port: int, ready: Callable[[str], None] | None
) -> None:
    ended = asyncio.Event()
    url = await sandbox.start(host, port)
    _on_signals(ended.set)
    try:
        if ready is not None:
            ready(url)
        await ended.wait()
    finally:
        await _wind_down(sandbox)


def _on_signals(act: Callable[[], None]) -> None:
    # Outside the main thread and on Windows there are no such handlers.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, act)


async def _wind_down(sandbox: Sandbox) -> None:
    await sandbox.stop()
    current = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() if task is not current]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()
