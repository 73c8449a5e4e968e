"""Server-sent events, as far as fal's status stream uses them (fal-api.md §2.4)."""

from __future__ import annotations

#: A status with its window of logs stays far below; what grows past it is no event.
MAX_EVENT_BYTES = 4 * 1024 * 1024


class EventReader:
    r"""Cut a byte stream into the ``data`` of its events.

    >>> reader = EventReader()
    >>> reader.feed(b"data: {}"), reader.feed(b"\n\ndata: 1\ndata: 2\r\n\r\n")
    ([], ['{}', '1\n2'])
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._held_bytes = 0

    def feed(self, chunk: bytes) -> list[str]:
        """Take the next bytes and give the events that they complete.

        Raises:
            ValueError: An event is larger than ``MAX_EVENT_BYTES``.
        """
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        found = [event for line in lines if (event := self._take(line.rstrip(b"\r"))) is not None]
        if len(self._rest) + self._held_bytes > MAX_EVENT_BYTES:
            raise ValueError(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        return found

    def _take(self, line: bytes) -> str | None:
        if line:
            self._hold(line)
            return None
        event = "\n".join(self._data) if self._data else None
        self._data, self._held_bytes = [], 0
        return event

    def _hold(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._held_bytes += len(value)
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
