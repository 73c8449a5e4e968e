"""What the worker benchmarks share: a sandbox and a falq home of their own, and many jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from falq.calling import Caller, CallRequest, new_job_id
from falq.files.spec import OutputSpec
from falq.meeting import leave_nonce
from falq.phases import TERMINAL, Phase
from falq.queue_config import QueueConfig
from falq.settings import Settings

#: Limits that hold nothing back.
OPEN = QueueConfig(
    max_concurrent=100_000, start_interval=0, global_rate_per_min=10_000_000, global_burst=100_000
)
FALQ = [sys.executable, "-m", "falq"]


@contextmanager
def place(directory: str, latency_s: float) -> Iterator[dict[str, str]]:
    """Give the environment of a sandbox and a home; both end with the block."""
    command = [*FALQ, "sandbox", "--port", "0", "--latency", str(latency_s), "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
        url = json.loads(sandbox.stdout.readline())["url"]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("FAL_", "FALQ_"))}
        env |= {"FALQ_FAL_URL": url, "FALQ_HOME": f"{directory}/home"}
        try:
            yield env
        finally:
            subprocess.run([*FALQ, "down", "-q"], env=env, stdout=subprocess.DEVNULL, check=False)
            sandbox.terminate()


def enqueue(caller: Caller, directory: str, model_id: str, count: int) -> list[str]:
    """Put jobs that write one small file each into one queue."""
    Path(directory).mkdir(exist_ok=True)
    output = OutputSpec(directory=directory, sidecar=False)
    requests = (
        CallRequest(
            model_id=model_id, arguments={"prompt": f"boat {i}"}, output=output, config=OPEN,
            fresh=True, nonce=leave_nonce(directory),
        )
        for i in range(count)
    )  # fmt: skip
    return [
        caller.enqueue(request, job_id=new_job_id(), attended=False).job_id for request in requests
    ]


def caller_of(env: dict[str, str]) -> Caller:
    """Connect as a caller that starts no worker."""
    return Caller(Settings.from_env(env))


def wait_for(caller: Caller, job_ids: list[str], limit_s: float = 600.0) -> None:
    """Wait until all jobs are done; anything else ends the benchmark.

    Asks for one job at a time while it waits: what looks on must not slow what it looks at.
    """
    left, give_up_at = list(job_ids), time.monotonic() + limit_s
    while left:
        records = caller.journal.read_many(left[-1:])
        if records[0].phase in TERMINAL:
            records = caller.journal.read_many(left[-200:])
            left[-200:] = [r.job_id for r in records if r.phase not in TERMINAL]
        bad = [r for r in records if r.phase in TERMINAL and r.phase != Phase.DONE]
        if bad or time.monotonic() > give_up_at:
            sys.exit(f"not done: {bad[:1] or left[:3]}")
        time.sleep(0.02)
