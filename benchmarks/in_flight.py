"""A thousand jobs of five seconds at once in one worker process: makespan and memory.

Usage: python benchmarks/in_flight.py [--jobs N] [--seconds S]

The jobs wait in a paused queue; time runs from its resumption. The ideal makespan is that of one
job. Memory is the worker's peak (VmHWM).

ext4 passes over inodes that were deleted in the last minutes: right after a test run or another
benchmark each new file takes 0.7 ms instead of 0.15. Wait some minutes, or let TMPDIR name a file
system where nothing was deleted just now.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from load import FALQ, caller_of, enqueue, place, wait_for

from falq.admission import Admission

MODEL_ID = "sandbox/chat"


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        place(directory, options.seconds) as env,
        caller_of(env) as caller,
    ):
        command = [*FALQ, "worker", "--concurrency", str(options.jobs)]
        with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as worker:
            try:
                wait_for(caller, enqueue(caller, f"{directory}/out", MODEL_ID, 1))
                base = peak_bytes(worker.pid)
                admission = Admission(caller.redis, caller.settings.account)
                queue = caller.journal.jobs(limit=1)[0].queue
                admission.pause(queue)
                job_ids = enqueue(caller, f"{directory}/out", MODEL_ID, options.jobs)
                begun = time.perf_counter()
                admission.resume(queue)
                wait_for(caller, job_ids)
                makespan_s = time.perf_counter() - begun
                peak = peak_bytes(worker.pid)
            finally:
                worker.terminate()
    ratio = makespan_s / options.seconds
    print(f"ideal makespan      {options.seconds:6.2f} s  (baseline)")
    print(f"falq, {options.jobs} jobs     {makespan_s:6.2f} s  ratio {ratio:.2f} (goal <= 1.3)")
    print(f"worker's memory     {peak / 1e6:6.0f} MB peak, {base / 1e6:.0f} MB after one job "
          "(goal <= 200 MB)")  # fmt: skip


if __name__ == "__main__":
    main()
