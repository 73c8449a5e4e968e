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

from falq import keys
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

    Asks for the phase of one job at a time: what looks on must not slow what it looks at, and
    reading a thousand records takes as long as ending a hundred jobs.
    """
    left, give_up_at = list(job_ids), time.monotonic() + limit_s
    while left:
        looked_at = left if _phases(caller, left[-1:])[0] == Phase.DONE else left[-1:]
        phases = _phases(caller, looked_at)
        bad = [i for i, at in zip(looked_at, phases, strict=True) if at in TERMINAL - {Phase.DONE}]
        if bad or time.monotonic() > give_up_at:
            sys.exit(f"not done: {caller.journal.find((bad or left)[0])}")
        if looked_at is left:
            left = [i for i, at in zip(left, phases, strict=True) if at != Phase.DONE]
        else:
            time.sleep(0.02)


def _phases(caller: Caller, job_ids: list[str]) -> list[str]:
    with caller.redis.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hget(keys.job(job_id), "phase")
        return [phase.decode() for phase in pipe.execute()]
