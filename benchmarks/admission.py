"""One admission decision of falq against the ``limits`` library asked for the same limits.

A decision of falq: pick the queue, check rate and burst, start interval and concurrency of
the queue and of the account, pop the job, lease it. The baseline only checks: its moving
window is asked three times (rate, interval, account). Both talk to one private server over
loopback; the rounds are interleaved, so that noise of the machine hits both.

A worker with room asks for 20 jobs at once, so the line "a start of 20" is what a start costs
under load; the baseline has no such call.

    python benchmarks/admission.py [--rounds N]
"""

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from falq.admission import Admission
from falq.enqueue import NewJob, enqueue
from falq.limits import Limits
from falq.scripts import Scripts
from falq.server_binary import find_binary

QUEUES = (1, 1_000, 10_000)
BATCH = 50
GOAL_RATIO = 0.4
GOAL_FLAT = 1.2
#: What a worker asks for at once.
MANY = 20
#: Never reached, so that each decision is a start: the dearest one.
WIDE = Limits(max_concurrent=999_999, start_interval_s=0, rate_per_min=60_000_000, burst=999_999)


@contextmanager
def server() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as directory:
        command = [
            find_binary().path, "--port", str(port), "--bind", "127.0.0.1", "--dir", directory,
            "--save", "", "--appendonly", "no",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            await_server(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def await_server(port: int) -> None:
    with Redis(port=port) as redis:
        while True:
            try:
                redis.ping()
                return
            except RedisConnectionError:
                time.sleep(0.01)


class Falq:
    """An account with so many queues, each with work."""

    def __init__(self, redis: Redis, queues: int, jobs: int) -> None:
        self.account = f"a{queues}"
        self.scripts = Scripts(redis)
        self.admission = Admission(redis, self.account, scripts=self.scripts)
        for number in range(max(jobs, queues)):
            self._enqueue(redis, f"q{number % queues}", number)

    def _enqueue(self, redis: Redis, queue: str, number: int) -> None:
        new = NewJob(
            job_id=f"{self.account}-{number}", account=self.account, queue=queue, skill="s",
            model_id="fal-ai/flux/dev", arguments={"prompt": "a cat"}, options={}, mode="sync",
            priority="normal", limits=WIDE, job_timeout_s=600, fingerprint=f"f{number}",
            fresh=True,
        )  # fmt: skip
        enqueue(redis, new, self.scripts)

    def decide(self) -> None:
        assert self.admission.admit("bench", 1).grants

    def decide_many(self) -> None:
        assert len(self.admission.admit("bench", MANY).grants) == MANY


class Baseline:
    """The same limits with the moving window of ``limits``."""

    def __init__(self, port: int) -> None:
        self.limiter = MovingWindowRateLimiter(RedisStorage(f"redis://127.0.0.1:{port}"))
        self.items = [
            (RateLimitItemPerMinute(1000), "rate"),
            (RateLimitItemPerSecond(1000), "interval"),
            (RateLimitItemPerMinute(1000), "account"),
        ]

    def decide(self) -> None:
        for item, name in self.items:
            self.limiter.hit(item, name, "queue")


def sample(decide: Callable[[], None]) -> list[float]:
    taken = []
    for _ in range(BATCH):
        start = time.perf_counter()
        decide()
        taken.append((time.perf_counter() - start) * 1e6)
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    with server() as port, Redis(port=port) as redis:
        contenders: dict[str, Callable[[], None]] = {"limits x 3": Baseline(port).decide}
        for queues in QUEUES:
            falq = Falq(redis, queues, (rounds + 1) * BATCH)
            contenders[f"falq, {queues} queues"] = falq.decide
        starts = Falq(redis, 100, (rounds + 1) * BATCH * MANY).decide_many
        contenders[f"falq, a start of {MANY}"] = starts
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for decide in contenders.values():
            sample(decide)
        for _ in range(rounds):
            for name, decide in contenders.items():
                taken[name].extend(sample(decide))
    medians = {name: statistics.median(each) for name, each in taken.items()}
    medians[f"falq, a start of {MANY}"] /= MANY
    return report(medians)


def report(medians: dict[str, float]) -> int:
    baseline, one = medians["limits x 3"], medians["falq, 1 queues"]
    for name, median in medians.items():
        print(f"{name:20} {median:7.1f} us   {median / baseline:.2f} x limits")
    many = medians[f"falq, {QUEUES[-1]} queues"]
    print(f"ratio at 1 queue {one / baseline:.2f} (goal <= {GOAL_RATIO})")
    print(f"{QUEUES[-1]} queues / 1 queue {many / one:.2f} (goal <= {GOAL_FLAT})")
    return 0 if one / baseline <= GOAL_RATIO and many / one <= GOAL_FLAT else 1


if __name__ == "__main__":
    sys.exit(main())
