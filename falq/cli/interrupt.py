"""Ctrl-C before a command runs: nothing has begun, so the process just leaves.

While modules are imported, Python's own handler would print a traceback, or be swallowed by
whatever is imported.
"""

from __future__ import annotations

import os
import signal

#: Exit code of a run that Ctrl-C ended.
INTERRUPTED = 130


def leave_at_once() -> None:
    """Let Ctrl-C end the process without a word; where it is ignored it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def hear() -> None:
    """Let Ctrl-C be a KeyboardInterrupt again: a command answers for what it began."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(*_: object) -> None:
    os._exit(INTERRUPTED)
