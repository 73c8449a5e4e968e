"""One paid request and what it says about itself."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from falq.sandbox.faults import Fault, find_view
from falq.sandbox.model import Model

Json = dict[str, Any]

#: Endings that fal answers with an HTTP status of their own (fal-api.md §4.2).
ERROR_CODES = {
    "client_cancelled": 499,
    "request_timeout": 504,
    "startup_timeout": 504,
    "runner_incomplete_response": 502,
    "runner_server_error": 500,
    "internal_error": 500,
}


def app_of(model_id: str) -> str:
    """Name the part of a model id that follow-up addresses use (fal-api.md §2.1).

    >>> app_of("fal-ai/flux/dev"), app_of("workflows/jane/flow/x")
    ('fal-ai/flux', 'workflows/jane/flow')
    """
    segments = model_id.split("/")
    return "/".join(segments[: 3 if segments[0] in {"workflows", "comfy"} else 2])


def iso(at: float) -> str:
    """Write Unix seconds as fal does."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


@dataclass(kw_only=True, eq=False)
class PaidRequest:
    """A request that was taken, from arrival to its end.

    Attributes:
        account: Whose request it is: a hash of the key.
        queue_s: Seconds that it waits before it may run.
        run_s: Seconds that it runs.
        uses: How often each of its faults has shown.
        ticket: Its place in the order of its account, set when it may run.
    """

    model: Model
    arguments: Any
    account: str
    origin: str
    queued_at: float
    queue_s: float = 0.0
    run_s: float = 0.0
    via: str = "queue"
    stored: bool = True
    faults: Sequence[Fault] = ()
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    uses: Counter[str] = field(default_factory=Counter)
    status: str = "IN_QUEUE"
    ticket: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    code: int | None = None
    output: Any = None
    error: str | None = None
    error_type: str | None = None
    units: float = 0.0
    notes: list[tuple[float, str]] = field(default_factory=list)
    requeued: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def app(self) -> str:
        """Owner and alias, as in the follow-up addresses."""
        return app_of(self.model.model_id)

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status == "COMPLETED"

    def fault(self, name: str) -> Fault | None:
        """Find one of its faults that still shows, and count it as shown."""
        return find_view(self.faults, name, self.uses)

    def note(self, at: float, message: str) -> None:
        """Add a line to its log."""
        self.notes.append((at, message))

    def announce(self) -> None:
        """Wake all who wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    def next_change(self) -> asyncio.Event:
        """Give what is set at its next change, so that none is missed while a line is written."""
        return self._changed

    async def end(self) -> None:
        """Wait until it has ended."""
        while not self.done:
            await self._changed.wait()

    def urls(self, origin: str) -> Json:
        """Write its three addresses, by the sub-path rule."""
        foreign = self.fault("foreign-urls")
        root = foreign.params.get("origin", "https://foreign.invalid") if foreign else origin
        base = f"{root}/queue/{self.app}/requests/{self.request_id}"
        suffix = "/response" if self.fault("response-suffix") else ""
        return {
            "response_url": base + suffix,
            "status_url": f"{base}/status",
            "cancel_url": f"{base}/cancel",
        }

    def log(self, since: float) -> list[Json]:
        """Give the lines of its log that are not older than a time."""
        return [
            {"message": message, "timestamp": iso(at), "level": "INFO", "source": "USER"}
            for at, message in self.notes
            if at >= since
        ]

    def error_fields(self) -> Json:
        """Give what its status says about its failure: nothing for a 422 (fal-api.md §2.3)."""
        return {"error": self.error, "error_type": self.error_type} if self.error_type else {}

    def metrics(self) -> Json:
        """Give the seconds that it ran."""
        if self.started_at is None or self.ended_at is None:
            return {}
        return {"inference_time": round(self.ended_at - self.started_at, 6)}
