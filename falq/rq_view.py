"""RQ's record of a job, as RQ 3.0 with its JSON serializer writes it, without importing rq.

A view for RQ's own tools (a test compares the two); what decides about a job is its journal.
"""

from __future__ import annotations

import json
import time
import zlib

from falq.exchange import Argument

#: The function that every job of falq names; ``workers.job`` has it.
JOB_FUNCTION = "workers.job.run"
#: RQ's own copy of a result lives this long, seconds.
RESULT_TTL_S = 86_400


def rq_fields(job_id: str, queue: str, model_id: str) -> list[Argument]:
    """Give the fields of a queued job's hash, each followed by its value."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
    call = json.dumps([JOB_FUNCTION, None, [], {"job_id": job_id}])
    fields: dict[str, Argument] = {
        "created_at": stamp, "enqueued_at": stamp, "started_at": "", "ended_at": "",
        "last_heartbeat": "", "worker_name": "", "group_id": "",
        "data": zlib.compress(call.encode()), "success_callback_name": "",
        "failure_callback_name": "", "stopped_callback_name": "", "description": model_id,
        "timeout": -1, "status": "queued", "origin": queue, "result_ttl": RESULT_TTL_S,
    }  # fmt: skip
    return [part for pair in fields.items() for part in pair]
