"""Small notes in the home that several processes share: sorted by day, forgotten after a week.

Each is a file of its own, so that writing, finding and dropping one costs the same however
many there are; only the first of a day looks at the days before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from falq.files.names import safe_id
from falq.home import ensure_home, private_subdirectory

#: Notes of so many days are kept, today's included.
KEEP_DAYS = 8
DAY_S = 86_400


class DailyNotes:
    """Notes of one kind, each with a name and one line of text.

    Args:
        home: The state directory; it is made when the first note is written.
        kind: Names the directory in it.
    """

    def __init__(self, home: Path, kind: str) -> None:
        self._home = home
        self._kind = kind

    def write(self, name: str, text: str) -> bool:
        """Write a note; False if there is one of that name from the same day already.

        Raises:
            ConfigurationError: The home cannot be used.
            OSError: The disk refuses.
        """
        try:
            fd = os.open(self._today() / safe_id(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return False
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        return True

    def read(self, name: str) -> str | None:
        """Give the text of the oldest note of a name; None if there is none."""
        for day in self._days():
            with contextlib.suppress(OSError):
                return (day / safe_id(name)).read_text(encoding="utf-8")
        return None

    def take(self, name: str, text: str) -> bool:
        """Write a note unless there is one; tell whether the text that stands there is ours.

        Raises:
            ConfigurationError, OSError: As ``write``.
        """
        if self.write(name, text) and self.read(name) != text:
            # Somebody's of another day; two that meet at midnight may both draw back.
            (self._today() / safe_id(name)).unlink(missing_ok=True)
        return self.read(name) == text

    def drop(self, name: str) -> None:
        """Remove a note; harmless when it is gone."""
        for day in self._days():
            with contextlib.suppress(OSError):
                (day / safe_id(name)).unlink()

    def find(self, text: str) -> str | None:
        """Give the name of a note with this text; reads all of them."""
        for day in self._days():
            for note in sorted(day.iterdir()):
                with contextlib.suppress(OSError):
                    if note.read_text(encoding="utf-8") == text:
                        return note.name
        return None

    def _days(self) -> Iterator[Path]:
        """Give the days that there are, oldest first; creates nothing."""
        if not os.path.isdir(self._home / self._kind):  # noqa: PTH112  # out of reach: none
            return iter(())
        directory = private_subdirectory(ensure_home(self._home), self._kind)
        return iter(sorted(directory.iterdir()))

    def _today(self) -> Path:
        """Give today's directory; whoever makes it removes those that are too old."""
        today = int(time.time() // DAY_S)
        path = self._home / self._kind / f"{today:06}"
        if not path.is_dir():
            directory = private_subdirectory(ensure_home(self._home), self._kind)
            for day in directory.iterdir():
                if day.name <= f"{today - KEEP_DAYS:06}":
                    shutil.rmtree(day, ignore_errors=True)
            private_subdirectory(directory, path.name)
        return path
