"""Recent results as the page shows them, and their files, given out only if they are genuine."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from falq.files.sidecar import read_sidecar, shortened, sidecar_name
from falq.logs import redact
from falq.phases import Phase
from falq.record import JobRecord

#: Shown in the page itself; anything else, SVG and HTML above all, is only offered to save.
SHOWN_TYPES = frozenset(
    {
        "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif",
        "video/mp4", "video/webm", "audio/wav", "audio/x-wav", "audio/mpeg", "audio/ogg",
        "audio/flac", "audio/mp4",
    }
)  # fmt: skip
_MAX_SIDECAR_BYTES = 4 * 1024 * 1024
_MAX_TEXT_CHARS = 600
_MOST_DIGESTS = 4096


@dataclass(frozen=True, kw_only=True)
class FileCard:
    """One file. ``url`` and ``sidecar`` are paths of the dashboard, None where not here."""

    name: str
    content_type: str
    bytes: int
    url: str | None
    sidecar: str | None


@dataclass(frozen=True, kw_only=True)
class ResultCard:
    """What a job came to; ``remedy`` is the command that may still bring its files."""

    job_id: str
    model_id: str
    queue: str
    skill: str
    phase: str
    finished_at: float
    total_s: float
    billable_units: float | None
    recovered: bool
    request_id: str | None
    arguments: dict[str, Any]
    error: str | None
    remedy: str | None
    files: tuple[FileCard, ...]


def result_cards(records: Iterable[JobRecord]) -> list[dict[str, Any]]:
    """Give the cards of those jobs that ended, as JSON."""
    ended = {Phase.DONE, Phase.FAILED}
    return [dataclasses.asdict(_card(record)) for record in records if record.phase in ended]


def _card(record: JobRecord) -> ResultCard:
    outcome = record.outcome or {}
    message = (record.error or {}).get("message")
    return ResultCard(
        job_id=record.job_id,
        model_id=record.model_id,
        queue=record.queue,
        skill=record.skill,
        phase=record.phase,
        finished_at=record.finished_at or 0.0,
        total_s=float((outcome.get("timings") or {}).get("total_s") or 0.0),
        billable_units=record.billable_units,
        recovered=record.recovered,
        request_id=record.shown_request_id,
        arguments=_cut(shortened(record.arguments)),
        error=None if message is None else redact(str(message)),
        remedy=_remedy(record),
        files=tuple(_file_cards(record.job_id, outcome.get("files") or [])),
    )


def _remedy(record: JobRecord) -> str | None:
    """Name the free command for a failed job that fal has, or may have, a result of."""
    has_result = record.result is not None or record.request_id is not None
    return f"falq result {record.job_id}" if record.phase == Phase.FAILED and has_result else None


def _cut(value: Any) -> Any:
    """Shorten long texts: a page of prompts is not a page of novels."""
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value[:20]]
    if isinstance(value, str) and len(value) > _MAX_TEXT_CHARS:
        return value[:_MAX_TEXT_CHARS] + "…"
    return value


def _file_cards(job_id: str, files: Iterable[Mapping[str, Any]]) -> Iterable[FileCard]:
    for number, file in enumerate(files):
        path = Path(str(file.get("path", "")))
        here = f"/files/{job_id}/{number}" if path.is_file() else None
        beside = path.with_name(sidecar_name(path.name)).is_file() if path.name else False
        yield FileCard(
            name=path.name,
            content_type=str(file.get("content_type") or ""),
            bytes=int(file.get("bytes") or 0),
            url=here,
            sidecar=f"{here}/sidecar" if here and beside else None,
        )


def open_file(
    record: JobRecord, number: int, digests: Digests
) -> tuple[BufferedReader, Mapping[str, Any]] | None:
    """Open a file of a job if it still is the one that was saved; the caller closes it.

    Records lie in Redis, and who writes there could name any file of this machine. So a file
    is given out only if its content has the size and the SHA-256 that the record says: who
    knows those knows the file.
    """
    files = (record.outcome or {}).get("files") or []
    if number >= len(files):
        return None
    file: Mapping[str, Any] = files[number]
    handle = _open_regular(str(file.get("path", "")))
    if handle is None:
        return None
    found = os.fstat(handle.fileno())
    genuine = found.st_size == file.get("bytes") and digests.of(handle) == file.get("sha256")
    if genuine:
        handle.seek(0)
        return handle, file
    handle.close()
    return None


def open_sidecar(record: JobRecord, number: int) -> dict[str, Any] | None:
    """Read the sidecar of a job's file, if it is that job's."""
    files = (record.outcome or {}).get("files") or []
    if number >= len(files):
        return None
    handle = _open_regular(sidecar_name(str(files[number].get("path", ""))))
    if handle is None:
        return None
    with handle:
        shown = read_sidecar(handle.read(_MAX_SIDECAR_BYTES))
    return shown if shown is not None and shown.get("job_id") == record.job_id else None


def _open_regular(path: str) -> BufferedReader | None:
    """Open a regular file by an absolute path that is no symlink and holds no ``..``."""
    if not path.startswith("/") or ".." in Path(path).parts:
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return os.fdopen(fd, "rb")


class Digests:
    """SHA-256 of files, worked out once for as long as they do not change."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}

    def of(self, handle: BufferedReader) -> str:
        """Give the digest of an open file."""
        found = os.fstat(handle.fileno())
        identity = (
            found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        )  # fmt: skip
        if identity not in self._known:
            if len(self._known) >= _MOST_DIGESTS:
                self._known.clear()
            self._known[identity] = hashlib.file_digest(handle, "sha256").hexdigest()
        return self._known[identity]
