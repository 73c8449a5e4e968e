"""A job's record as it stands in the journal; pure.

The record outlives every process that works on the job. Absent fields have their neutral
value, so that a record written by an older falq reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

#: Fields kept as JSON text in Redis.
JSON_FIELDS = frozenset({"arguments", "options", "error", "outcome", "result", "logs"})


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """Everything that falq knows of one job.

    ``job_id`` is ours, ``request_id`` fal's. Times are Unix seconds. ``result`` is fal's own
    JSON, kept with the model's ``logs`` from the moment it is known so that a failed download
    can be repeated;
    ``outcome`` is the object that the caller gets (design 1.4), ``error`` its error part.
    ``token`` fences late workers off; ``deaths`` counts holders lost since the last progress.
    ``resumed_at`` is when somebody asked for it once more; its time starts again then.
    ``loss`` names how the reply to the last POST was lost, ``submits`` counts POSTs that may
    have reached fal, ``attempts`` those that surely did not,
    ``unsent`` the last of them that did not even reach it.
    """

    job_id: str
    account: str = ""
    queue: str = ""
    skill: str = "falq"
    model_id: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    arguments_hash: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    mode: str = "sync"
    priority: str = "normal"
    phase: str = "queued"
    token: int = 0
    deaths: int = 0
    submits: int = 0
    attempts: int = 0
    unsent: int = 0
    request_id: str | None = None
    status_url: str | None = None
    response_url: str | None = None
    cancel_url: str | None = None
    first_submit_at: float | None = None
    submitting_at: float | None = None
    resumed_at: float | None = None
    loss: str | None = None
    lost_at: float | None = None
    loss_message: str | None = None
    created_at: float = 0.0
    started_at: float | None = None
    running_at: float | None = None
    downloading_at: float | None = None
    finished_at: float | None = None
    job_timeout_s: float = 600.0
    worker: str | None = None
    error: dict[str, Any] | None = None
    outcome: dict[str, Any] | None = None
    result: Any = None
    logs: list[dict[str, Any]] = field(default_factory=list)
    billable_units: float | None = None
    cancel_requested: bool = False
    delivered: bool = False
    recovered: bool = False
    fallback: bool = False
    foreign: bool = False
    polls: int = 0
    version: str = ""

    def changed(self, **fields: Any) -> Self:
        """Give a copy with other values in some fields.

        ``dataclasses.replace`` writes all fields anew, each past the guard of a frozen class:
        ten times as long, and a worker does this at each step of each job.

        Raises:
            TypeError: There is no such field.
        """
        mine = vars(self)
        if not fields.keys() <= mine.keys():
            raise TypeError(f"a record has no {', '.join(fields.keys() - mine.keys())}")
        copy = object.__new__(type(self))
        vars(copy).update(mine, **fields)
        return copy

    @property
    def sent(self) -> bool:
        """Whether fal may know of the job."""
        return self.submits > 0

    @property
    def shown_request_id(self) -> str | None:
        """Fal's id for people: that of a refused run is known from its refusal alone."""
        return self.request_id or (self.error or {}).get("request_id")


_READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "float | None": float,
    "bool": lambda text: text == "1",
    "str": str,
    "str | None": str,
}
_KNOWN = {
    f.name: json.loads if f.name in JSON_FIELDS else _READERS[str(f.type)]
    for f in fields(JobRecord)
}


def read_record(job_id: str, stored: Mapping[str, str]) -> JobRecord:
    """Read a record from the strings of its hash; unknown fields are those of a newer falq.

    >>> read_record("j", {"phase": "queued", "submits": "1", "loss": ""}).submits
    1
    """
    values = {k: _KNOWN[k](v) for k, v in stored.items() if k in _KNOWN and v != ""}
    return JobRecord(**(values | {"job_id": job_id}))


def write_fields(values: Mapping[str, Any]) -> dict[str, str]:
    """Turn fields into the strings of a record's hash; None is the empty string.

    >>> write_fields({"submits": 2, "loss": None, "recovered": True, "result": {"a": 1}})
    {'submits': '2', 'loss': '', 'recovered': '1', 'result': '{"a":1}'}
    """
    return {name: _write(name, value) for name, value in values.items()}


def _write(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in JSON_FIELDS:
        return json_text(value)
    text = str(int(value)) if isinstance(value, bool) else str(value)
    return text.encode(errors="replace").decode()


def json_text(value: Any) -> str:
    r"""Write JSON that Redis can keep: half a surrogate pair, which no UTF-8 has, as its escape.

    >>> json_text({"a": 1}), json_text("\ud800")
    ('{"a":1}', '"\\ud800"')
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text
