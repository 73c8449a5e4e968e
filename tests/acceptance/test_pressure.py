"""Four worker processes at full pressure: every start within the promise, none wasted."""

import threading
import time
from itertools import pairwise

import pytest
from world import Home, until

from falq.calling import Caller, CallRequest, new_job_id
from falq.files.spec import OutputSpec
from falq.meeting import leave_nonce
from falq.queue_config import QueueConfig
from falq.sandbox import running_sandbox
from falq.settings import Settings

WORKERS = 4
PRESSURE_S = 30.0
#: What a run lasts at the sandbox, seconds.
RUN_S = 0.2
#: Arrivals may bunch by what lies between admission and the first byte, seconds.
JITTER_S = 1.5
#: Processes that a start waits for one after the other: the worker that wakes, its thread,
#: Redis, the thread again. Each is late by what the machine makes everybody late.
TURNS = 4
#: Starts are stored with microseconds.
ROUNDING_S = 2e-6
BUSY = QueueConfig(
    max_concurrent=3, start_interval=0.05, global_rate_per_min=300, global_burst=5
)  # fmt: skip
SPACED = QueueConfig(
    max_concurrent=9, start_interval=0.5, global_rate_per_min=6000, global_burst=50
)  # fmt: skip


def enqueue(caller, directory, model_id, config, count):
    output = OutputSpec(directory=str(directory), sidecar=False)
    return [
        caller.enqueue(
            CallRequest(
                model_id=model_id, arguments={"prompt": f"{i}"}, output=output, config=config,
                fresh=True, nonce=leave_nonce(str(directory)),
            ),
            job_id=new_job_id(), attended=False,
        ).job_id
        for i in range(count)
    ]  # fmt: skip


def starts(caller, job_ids):
    records = caller.journal.read_many(job_ids)
    return sorted(record.started_at for record in records if record.started_at is not None)


def assert_promise(started_at, config, slack_s):
    rate = config.global_rate_per_min / 60
    for i, first in enumerate(started_at):
        for j, last in enumerate(started_at[i:], start=1):
            assert j <= config.global_burst + (last - first + slack_s) * rate
    gaps = [later - earlier for earlier, later in pairwise(started_at)]
    assert all(gap >= config.start_interval - slack_s for gap in gaps)


class Lateness(threading.Thread):
    """How late this machine wakes a process that sleeps, on average, while it lives."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._late_s: list[float] = []
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.is_set():
            begun = time.monotonic()
            time.sleep(0.02)
            self._late_s.append(time.monotonic() - begun - 0.02)

    def end(self) -> float:
        self._ending.set()
        self.join()
        return sum(self._late_s) / len(self._late_s)


@pytest.mark.timeout(150)
def test_four_workers_keep_every_limit_and_use_what_it_permits(tmp_path):
    with running_sandbox(latency=RUN_S) as sandbox:
        home = Home(tmp_path, sandbox, {})
        home.out.mkdir(exist_ok=True)
        workers = [home.start_worker() for _ in range(WORKERS)]
        try:
            with Caller(Settings.from_env(home.environ())) as caller:
                until(lambda: len(live(caller)) == WORKERS)
                busy = enqueue(caller, home.out, "sandbox/chat", BUSY, 250)
                spaced = enqueue(caller, home.out, "sandbox/flux/dev", SPACED, 80)
                lateness = Lateness()
                lateness.start()
                time.sleep(PRESSURE_S)
                late_s = lateness.end()
                posts = sandbox.log()
                check(starts(caller, busy), BUSY, posts, "sandbox/chat", late_s)
                check(starts(caller, spaced), SPACED, posts, "sandbox/flux/dev", late_s)
                peaks = sandbox.stats()
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
            home.close()
    assert peaks["peak_in_progress"] <= BUSY.max_concurrent + SPACED.max_concurrent


def live(caller):
    from falq import presence

    return presence.workers(caller.redis)


def check(started_at, config, log, model_id, late_s):
    """Hold one queue's starts against the promise, and against what it permits."""
    assert_promise(started_at, config, ROUNDING_S)
    arrived = sorted(
        entry["at"] for entry in log if entry["method"] == "POST" and entry["model_id"] == model_id
    )
    rate = config.global_rate_per_min / 60
    for i, first in enumerate(arrived):
        for j, last in enumerate(arrived[i:], start=1):
            assert j <= config.global_burst + (last - first + JITTER_S) * rate
    span_s = started_at[-1] - started_at[0]
    # An interval counts from the start before, so that each lateness adds up; a rate does not.
    gap_s = config.start_interval + TURNS * late_s
    permitted = min(config.global_burst + span_s * rate, 1 + span_s / gap_s)
    assert span_s > PRESSURE_S * 0.9
    assert len(started_at) >= 0.99 * permitted - 1
    assert len(arrived) >= len(started_at) - config.max_concurrent


def test_a_queue_born_later_is_served_at_once(tmp_path):
    with running_sandbox() as sandbox:
        home = Home(tmp_path, sandbox, {})
        home.out.mkdir(exist_ok=True)
        worker = home.start_worker()
        try:
            with Caller(Settings.from_env(home.environ())) as caller:
                until(lambda: live(caller))
                waits = []
                for model_id in ("sandbox/chat", "sandbox/flux/dev", "sandbox/tts/turbo"):
                    time.sleep(0.3)
                    (job_id,) = enqueue(caller, home.out, model_id, QueueConfig(), 1)
                    (started_at,) = until(lambda job_id=job_id: starts(caller, [job_id]))
                    waits.append(started_at - caller.get(job_id).created_at)
                assert min(waits) < 0.1
        finally:
            worker.kill()
            worker.wait()
            home.close()
