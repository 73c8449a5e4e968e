"""Sidecars: ``<file>.json`` beside an artifact says which call made it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from falq.files.artifacts import SavedFile, is_data_uri, short_url

#: A sidecar larger than this is none of ours.
MAX_SIDECAR_BYTES = 4 * 1024 * 1024
_MARKS = frozenset({"job_id", "model_id", "sha256", "bytes"})


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """What is written down about the job whose files are saved.

    Attributes:
        created_at: Unix seconds; also the timestamp in names, so that a job that is saved
            once more gets the same ones.
        sandbox: The job ran at ``FALQ_FAL_URL``, not at fal.
    """

    job_id: str
    model_id: str
    request_id: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    billable_units: float | None = None
    created_at: float = 0.0
    sandbox: bool = False


def sidecar_name(name: str) -> str:
    """Give the name of a file's sidecar.

    >>> sidecar_name("cat.png")
    'cat.png.json'
    """
    return f"{name}.json"


def write_sidecar(saved: SavedFile, job: JobFacts, created: str) -> bytes:
    """Give the text of a sidecar; ``created`` is an ISO 8601 time."""
    shown: dict[str, Any] = {
        "model_id": job.model_id,
        "arguments": shortened(job.arguments),
        "request_id": job.request_id,
        "job_id": job.job_id,
        "sha256": saved.sha256,
        "bytes": saved.bytes,
        "content_type": saved.content_type,
        "url": saved.url,
        "billable_units": job.billable_units,
        "created": created,
    }
    if job.sandbox:
        shown["sandbox"] = True
    return (json.dumps(shown, indent=2, ensure_ascii=False) + "\n").encode(errors="replace")


def read_sidecar(text: bytes | None) -> dict[str, Any] | None:
    """Read a sidecar; None for anything that is none of ours."""
    try:
        shown = json.loads(text or b"")
    except (ValueError, RecursionError):
        return None
    return shown if isinstance(shown, dict) and shown.keys() >= _MARKS else None


def shortened(value: Any) -> Any:
    """Give a copy of a JSON value in which ``data:`` URIs have lost their bytes.

    >>> shortened({"image_url": "data:image/png;base64,AAAA", "seed": 1})
    {'image_url': 'data:image/png;base64,… (26 characters)', 'seed': 1}
    """
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    return short_url(value) if isinstance(value, str) and is_data_uri(value) else value
