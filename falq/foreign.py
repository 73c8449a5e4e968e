"""Calls that stock tools enqueue: ``Queue.enqueue("workers.job.run", kwargs={...})``.

Such a job has an id of RQ's and keyword arguments instead of a record. The worker that is
granted it writes what it asks for into its record, and goes on as with any other job.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falq import __version__
from falq.canonical import arguments_hash
from falq.errors import UsageError
from falq.model_id import parse_model_id
from falq.record import write_fields
from falq.scripts import Scripts

_KEYWORDS = ("model_id", "arguments", "sync")
_EXPECTED = "expected model_id='owner/name', arguments={...} and perhaps sync=False"


def foreign_fields(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of a record for the keyword arguments of a plain RQ job.

    >>> foreign_fields({"model_id": "fal-ai/flux/dev", "arguments": {"a": 1}})["mode"]
    'sync'

    Raises:
        UsageError: A keyword is missing, unknown or of the wrong type.
    """
    unknown = sorted(set(keywords) - set(_KEYWORDS))
    if unknown:
        raise UsageError(f"unknown keyword argument {unknown[0]!r}: {_EXPECTED}")
    model_id, arguments = keywords.get("model_id"), keywords.get("arguments")
    if not isinstance(model_id, str):
        raise UsageError(f"model_id is {_kind(model_id)}: {_EXPECTED}")
    if not isinstance(arguments, dict):
        raise UsageError(f"arguments is {_kind(arguments)}: {_EXPECTED}")
    sync = keywords.get("sync", True)
    if not isinstance(sync, bool):
        raise UsageError(f"sync is {_kind(sync)}: {_EXPECTED}")
    model_id = parse_model_id(model_id)
    return {
        "model_id": model_id,
        "arguments": arguments,
        "arguments_hash": arguments_hash({"model_id": model_id, "arguments": arguments}),
        "mode": "sync" if sync else "queue",
        "version": __version__,
    }


def _kind(value: Any) -> str:
    return "missing" if value is None else type(value).__name__


def describe(
    scripts: Scripts,
    account: str,
    job_id: str,
    *,
    queue: str,
    fields: Mapping[str, Any],
    token: int | None = None,
) -> bool:
    """Write what a plain RQ job asks for into its record, which is made if there is none.

    Safe to repeat.

    Args:
        scripts: Of the Redis.
        account: Whose worker has the job.
        job_id: RQ's.
        queue: Where it was enqueued.
        fields: Of ``foreign_fields``.
        token: Of the grant; None: the job was popped by a stock worker and not admitted yet.

    Returns:
        False if another worker holds it, or it has gone on.
    """
    pairs = [part for pair in write_fields(fields).items() for part in pair]
    holder = "" if token is None else token
    said = scripts.run("describe", [account, job_id, holder, queue, *pairs])
    return bool(said == b"OK")
