"""What the sandbox saw: each request with its times, and the counts that tests rely on."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

#: Entries kept; the counts go on beyond.
MAX_ENTRIES = 200_000


def short_hash(data: bytes) -> str:
    """Name bytes by a hash that is short enough to read."""
    return hashlib.sha256(data).hexdigest()[:16]


@dataclass(kw_only=True)
class Entry:
    """One request to the sandbox.

    Attributes:
        at: Arrival of the request's head on the monotonic clock, in seconds.
        wall: The same in Unix seconds.
        ended: When the reply was decided or broken off, None while it goes on.
        arguments_hash: Hash of the body's bytes, of paid POSTs only.
        status: HTTP status of the reply, None if none was sent.
        registered: A paid request was taken because of it.
    """

    method: str
    role: str
    path: str
    at: float = field(default_factory=time.monotonic)
    wall: float = field(default_factory=time.time)
    op: str = ""
    model_id: str = ""
    request_id: str | None = None
    key_hash: str | None = None
    arguments_hash: str | None = None
    status: int | None = None
    ended: float | None = None
    registered: bool = False
    fault: str | None = None


class Ledger:
    """Entries of all requests, and counts of those that cost money."""

    def __init__(self) -> None:
        self.in_progress: Counter[str] = Counter()
        self.clear()

    def clear(self) -> None:
        """Forget entries and counts, but not what is in progress."""
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self.posts: Counter[str] = Counter()
        self.registered: Counter[str] = Counter()
        self.peaks: Counter[str] = Counter(self.in_progress)
        self.peak = self.in_progress.total()

    def add(self, entry: Entry) -> None:
        """Note a request when it arrives."""
        self._entries.append(entry)

    def count_post(self, model_id: str) -> None:
        """Count a paid POST, whether or not it is taken."""
        self.posts[model_id] += 1

    def count_registered(self, model_id: str) -> None:
        """Count a paid request that was taken."""
        self.registered[model_id] += 1

    def count_start(self, model_id: str) -> None:
        """Count a request that begins to run."""
        self.in_progress[model_id] += 1
        self.peaks[model_id] = max(self.peaks[model_id], self.in_progress[model_id])
        self.peak = max(self.peak, self.in_progress.total())

    def count_end(self, model_id: str) -> None:
        """Count a request that no longer runs."""
        self.in_progress[model_id] -= 1
        if not self.in_progress[model_id]:
            del self.in_progress[model_id]

    def entries(self) -> list[dict[str, Any]]:
        """Give all entries as JSON objects, oldest first; ``arrived`` repeats ``at``."""
        return [{**vars(entry), "arrived": entry.at} for entry in self._entries]

    def stats(self) -> dict[str, Any]:
        """Give the counts as a JSON object."""
        return {
            "posts": dict(self.posts),
            "registered": self.registered.total(),
            "registered_by_model": dict(self.registered),
            "in_progress": self.in_progress.total(),
            "in_progress_by_model": dict(self.in_progress),
            "peak_in_progress": self.peak,
            "peak_by_model": dict(self.peaks),
            "now": time.monotonic(),
        }
