"""Kill and pause workers, kill Redis, spoil fal's replies, and count what became of the money.

    python -m tests.chaos --jobs 200 --kills 50 [--redis-kills 4] [--pauses 5] [--workers 4]
                          [--seed N]

Several workers on one Redis; each kill is a SIGKILL, each pause a SIGSTOP, some of them past
the lease. Some models take a request and answer 5xx, 405 or nothing; fal's history comes late,
and fails now and then; some jobs ask for the same as an earlier one. Ends with 1 if a job was
lost, or if more was bought than jobs asked for.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from falq.calling import Caller, CallRequest, new_job_id
from falq.errors import RedisUnavailableError
from falq.fal.arguments import encode_arguments
from falq.files.spec import OutputSpec
from falq.phases import TERMINAL, Phase
from falq.queue_config import load_queue_config
from falq.sandbox import RunningSandbox, running_sandbox
from falq.sandbox.ledger import short_hash
from falq.settings import Settings
from tests.acceptance.world import Server

MODELS = (
    "sandbox/flux/dev",
    "sandbox/flux/schnell",
    "sandbox/stable-audio",
    "sandbox/fault/drop-registered",
    "sandbox/fault/503-registered",
    "sandbox/fault/405-registered",
    "sandbox/fault/html-502-registered",
    "sandbox/fault/503/1",
)
#: One in so many jobs asks for the same as an earlier one.
EQUAL_EVERY = 6
#: Pauses, seconds: a lease is ten.
PAUSES_S = (2.0, 6.0, 14.0)
#: Jobs of one queue that may run at once.
MAX_CONCURRENT = 4
#: What is still open so long after the last kill is lost, seconds.
DRAIN_S = 150.0
#: A kill every so often, seconds, on average.
KILL_EVERY_S = 1.0


@dataclass
class Job:
    """One job as it was asked for."""

    job_id: str
    model_id: str
    arguments: dict[str, Any]


@dataclass
class Chaos:
    """One run."""

    root: Path
    sandbox: RunningSandbox
    dice: random.Random
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sandbox.add_fault("history-late", op="history", seconds=1.0)
        for model_id in MODELS:
            self.sandbox.add_fault("history-5xx", model_id=model_id, op="history", times=3)
        self.server = Server(self.root / "r")
        self.environ = {
            "PATH": os.environ["PATH"], "HOME": str(self.root),
            "FALQ_HOME": str(self.root / "home"),
            "FALQ_REDIS_URL": self.server.url, "FALQ_FAL_URL": self.sandbox.url,
            "FAL_KEY": "chaos:chaos", "FALQ_LOOK_UP_GRACE_S": "3",
            "FAL_QUEUE_MAX_CONCURRENT": str(MAX_CONCURRENT), "FAL_QUEUE_START_INTERVAL": "0",
            "FAL_QUEUE_RATE_PER_MIN": "60000", "FAL_QUEUE_BURST": "1000",
            "FAL_QUEUE_JOB_TIMEOUT": "120",
        }  # fmt: skip
        self.settings = Settings.from_env(self.environ)
        self.config = load_queue_config(None, self.settings.queue_overrides, lambda _: None)

    def start_worker(self) -> None:
        with (self.root / "workers.log").open("ab") as log:
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "falq", "worker"], env=self.environ, cwd=self.root,
                    stdout=log, stderr=log, start_new_session=True,
                )
            )  # fmt: skip

    def kill_worker(self) -> None:
        victim = self.workers.pop(self.dice.randrange(len(self.workers)))
        victim.kill()
        victim.wait()
        self.start_worker()

    def pause_worker(self) -> None:
        victim = self.dice.choice(self.workers)
        victim.send_signal(signal.SIGSTOP)
        for_s = self.dice.choice(PAUSES_S)
        threading.Timer(for_s, lambda: victim.send_signal(signal.SIGCONT)).start()

    def kill_redis(self) -> None:
        self.server.kill()
        time.sleep(self.dice.uniform(0.2, 3.0))
        self.server.start()

    def enqueue(self, number: int) -> None:
        """Enqueue one job, however long Redis is away."""
        latency_s = self.dice.choice([0.0, 0.5, 1.0, 2.0, 5.0])
        job = Job(
            new_job_id(), self.dice.choice(MODELS),
            {"prompt": f"chaos {number}", "sandbox_latency": latency_s},
        )  # fmt: skip
        if self.jobs and number % EQUAL_EVERY == 0:
            earlier = self.jobs[-1]
            job = Job(job.job_id, earlier.model_id, earlier.arguments)
        self.jobs.append(job)
        request = CallRequest(
            model_id=job.model_id,
            arguments=job.arguments,
            output=OutputSpec(directory=str(self.root / "out")),
            config=self.config,
            sync=self.dice.random() < 0.5,
            fresh=True,
        )
        while True:
            try:
                with Caller(self.settings) as caller:
                    caller.enqueue(request, job_id=job.job_id, attended=False)
                return
            except RedisUnavailableError:
                time.sleep(0.2)

    def records(self) -> dict[str, Any]:
        with Caller(self.settings) as caller:
            found = caller.journal.read_many([job.job_id for job in self.jobs])
        return {record.job_id: record for record in found}

    def drain(self) -> dict[str, Any]:
        """Wait until every job has ended, or for so long that the rest is lost."""
        give_up_at = time.monotonic() + DRAIN_S
        while True:
            records = self.records()
            open_jobs = [r for r in records.values() if r.phase not in TERMINAL | {Phase.UNKNOWN}]
            if not open_jobs or time.monotonic() > give_up_at:
                return records
            time.sleep(0.5)

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.server.close()


def play(chaos: Chaos, given: argparse.Namespace) -> dict[str, Any]:
    """Run jobs and kills side by side; give what became of them."""
    for _ in range(given.workers):
        chaos.start_worker()
    acts = [chaos.kill_worker] * given.kills + [chaos.kill_redis] * given.redis_kills
    acts += [chaos.pause_worker] * given.pauses
    length_s = max(10.0, len(acts) * KILL_EVERY_S)
    feeder = threading.Thread(target=_feed, args=(chaos, given.jobs, length_s))
    feeder.start()
    chaos.dice.shuffle(acts)
    for act in acts:
        time.sleep(chaos.dice.uniform(0.2, 1.8) * KILL_EVERY_S)
        act()
    feeder.join()
    return _account(chaos, chaos.drain())


def _feed(chaos: Chaos, jobs: int, length_s: float) -> None:
    for number in range(jobs):
        chaos.enqueue(number)
        time.sleep(length_s / jobs * chaos.dice.uniform(0.0, 2.0))


def _account(chaos: Chaos, records: dict[str, Any]) -> dict[str, Any]:
    phases = Counter(record.phase for record in records.values())
    ended = sum(phases[phase] for phase in TERMINAL | {Phase.UNKNOWN})
    posts = [each for each in chaos.sandbox.log() if each["arguments_hash"]]
    bought = Counter(each["arguments_hash"] for each in posts if each["registered"])
    asked = Counter(short_hash(encode_arguments(job.arguments)) for job in chaos.jobs)
    too_many = {each for each, count in bought.items() if count > asked[each]}
    peaks = chaos.sandbox.stats()["peak_by_model"]
    return {
        "done": phases["done"],
        "failed": phases["failed"] + phases["cancelled"],
        "unknown": phases["unknown"],
        "lost": len(chaos.jobs) - ended,
        "paid_twice": len(too_many),
        "posts": len(posts),
        "recovered": sum(1 for record in records.values() if record.recovered),
        "peak_concurrency": max(peaks.values(), default=0),
        "max_concurrent": MAX_CONCURRENT,
        "lost_jobs": [
            (job.job_id, records[job.job_id].phase if job.job_id in records else "no record")
            for job in chaos.jobs
            if job.job_id not in records
            or records[job.job_id].phase not in TERMINAL | {Phase.UNKNOWN}
        ],
        "paid_twice_jobs": [
            job.job_id
            for job in chaos.jobs
            if short_hash(encode_arguments(job.arguments)) in too_many
        ],
        "failures": [
            (record.job_id, (record.error or {}).get("message"))
            for record in records.values()
            if record.phase in ("failed", "unknown")
        ],
    }


def main() -> int:
    """Read the command line, run, print, and judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--redis-kills", type=int, default=0)
    parser.add_argument("--pauses", type=int, default=5)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", action="store_true", help="Keep the directory with the logs.")
    given = parser.parse_args()
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    root = Path(tempfile.mkdtemp(prefix="falq-chaos-"))
    began_at = time.monotonic()
    with running_sandbox() as sandbox:
        chaos = Chaos(root, sandbox, random.Random(seed))
        try:
            found = play(chaos, given)
        finally:
            chaos.close()
    kept = str(root) if given.keep else None
    if not given.keep:
        _remove(root)
    print(json.dumps({"seed": seed, **found, "kept": kept}, indent=2))
    print(f"{time.monotonic() - began_at:.0f} s", file=sys.stderr)
    return 1 if found["lost"] or found["paid_twice"] else 0


def _remove(root: Path) -> None:
    import shutil

    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
