"""What a person sees while waiting: one live line on a terminal, else a line per change."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from falq.cli.show import Voice
from falq.cli.waiting import Transfer, Waiting, said_once, shown_bytes

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

#: A transfer is said again, without a terminal, after so much more of it.
_SHARE_STEP = 0.25
_FRAMES_PER_S = 8


class _View(Protocol):
    def keep(self, text: str) -> None: ...
    def show(self, waiting: Waiting) -> None: ...
    def close(self) -> None: ...


class Progress:
    """Shows the events of a job on stderr; call it with each. A context manager.

    Before anything else is printed it has to be closed, or the live line is in the way.

    Args:
        voice: Silent when quiet.
    """

    def __init__(self, voice: Voice) -> None:
        self._begun = time.monotonic()
        self._waiting = Waiting(since_at=self._begun)
        self._view = _view(voice, self._begun)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show one event."""
        text = said_once(event)
        if text is not None:
            self._view.keep(text)
        after = self._waiting.after(event, time.monotonic())
        if after != self._waiting:
            self._waiting = after
            self._view.show(after)

    def close(self) -> None:
        """Take the live line away; harmless to repeat."""
        self._view.close()


def _view(voice: Voice, begun: float) -> _View:
    if not voice.quiet and sys.stderr.isatty():
        return _LiveLine(begun)
    return _Lines(voice, begun)


class _Lines:
    """Plain lines, each with the seconds since the start; the same one is not said twice."""

    def __init__(self, voice: Voice, begun: float) -> None:
        self._voice = voice
        self._begun = begun
        self._said: object = None

    def keep(self, text: str) -> None:
        self._voice.say(f"[{time.monotonic() - self._begun:6.1f}s] {text}")

    def show(self, waiting: Waiting) -> None:
        transfer = waiting.transfer
        step = None if transfer is None else int((transfer.share or 0.0) / _SHARE_STEP)
        told = replace(waiting, since_at=0.0, eligible_at=None, transfer=None)
        said = (told, step)
        nothing = not waiting.phase and transfer is None
        if nothing or said == self._said:
            return
        self._said = said
        amount = "" if transfer is None else f", {_amount(transfer)}"
        self.keep(waiting.line(time.monotonic()) + amount)

    def close(self) -> None:
        """Nothing stays open."""


def _amount(transfer: Transfer) -> str:
    done = shown_bytes(transfer.done_bytes)
    return done if transfer.of_bytes is None else f"{done} of {shown_bytes(transfer.of_bytes)}"


class _LiveLine:
    """One line that moves: what the job waits for, for how long, and a bar for a file."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._waiting = Waiting(since_at=begun)
        self._live: Live | None = None

    def _open(self) -> Live:
        """Start drawing at the first event: rich takes longer to load than a call to send."""
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                get_renderable=self._draw,
                console=Console(stderr=True),
                refresh_per_second=_FRAMES_PER_S,
                transient=True,
            )
            self._live.start()
        return self._live

    def keep(self, text: str) -> None:
        from rich.text import Text

        # As Text: a model's log line may hold what rich reads as markup.
        console = self._open().console
        console.print(Text(text), style="" if console.no_color else "dim", soft_wrap=True)

    def show(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._open()

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        grid = Table.grid(padding=(0, 1))
        elapsed = Text(f"{now - self._begun:.1f} s", style="cyan")
        cells: list[Any] = [Spinner("dots"), elapsed, Text(self._waiting.line(now))]
        transfer = self._waiting.transfer
        if transfer is not None:
            share = transfer.share
            bar = ProgressBar(total=1.0, completed=share or 0.0, pulse=share is None, width=24)
            cells += [bar, Text(_amount(transfer), style="green")]
        grid.add_row(*cells)
        return grid
