"""Trivial jobs through one worker process: falq's worker against a stock rq Worker.

Usage: python benchmarks/throughput.py [--jobs N] [--runs N]

The stock worker is measured with the cheapest job there is, a function that does nothing, and
with falq's own job (``workers.job.run``). falq's worker does the whole job each time: limits,
journal, a paid call to the sandbox at latency 0, a file, the outcome.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from load import FALQ, caller_of, enqueue, place, wait_for
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

MODEL_ID = "sandbox/chat"
SERIALIZER = "rq.serializers.JSONSerializer"


def stock(env: dict[str, str], queue: str) -> float:
    """Run a stock worker until its queue is empty; give its time without its start."""
    url = "unix://" + env["FALQ_HOME"] + "/redis/redis.sock"
    command = [sys.executable, "-m", "rq.cli", "worker", "--burst", "-u", url]
    command += ["--serializer", SERIALIZER, "--logging_level", "WARNING"]
    begun = time.perf_counter()
    subprocess.run([*command, "empty"], env=env, check=True, capture_output=True)
    start_s = time.perf_counter() - begun
    begun = time.perf_counter()
    subprocess.run([*command, queue], env=env, check=True, capture_output=True)
    return time.perf_counter() - begun - start_s


def measure(jobs: int, env: dict[str, str], directory: str) -> tuple[float, float, float]:
    with (
        caller_of(env) as caller,
        subprocess.Popen([*FALQ, "worker"], env=env, stderr=subprocess.DEVNULL) as worker,
    ):
        try:
            wait_for(caller, enqueue(caller, f"{directory}/out", MODEL_ID, 20))
            begun = time.perf_counter()
            wait_for(caller, enqueue(caller, f"{directory}/out", MODEL_ID, jobs))
            ours = jobs / (time.perf_counter() - begun)
        finally:
            worker.terminate()
        worker.wait()
        few = max(10, jobs // 20)
        redis: Redis = caller.redis
        queue = Queue("nothing", connection=redis, serializer=JSONSerializer)
        for _ in range(few):
            queue.enqueue("time.time")
        nothing = few / stock(env, "nothing")
        enqueue(caller, f"{directory}/out", MODEL_ID, few)
        same = few / stock(env, caller.journal.jobs(limit=1)[0].queue)
    return ours, nothing, same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory() as directory, place(directory, 0.0) as env:
            rows.append(measure(options.jobs, env | {"PYTHONPATH": str(Path.cwd())}, directory))
    ours, nothing, same = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"stock rq Worker, a job that does nothing   {nothing:7.1f} jobs/s  (baseline)")
    print(f"stock rq Worker, falq's job                {same:7.1f} jobs/s")
    print(f"falq worker, falq's job                    {ours:7.1f} jobs/s")
    print(f"ratio to nothing {ours / nothing:.1f}, to the same job {ours / same:.1f} (goal >= 8)")


if __name__ == "__main__":
    main()
