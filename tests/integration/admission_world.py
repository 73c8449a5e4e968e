"""falq's scripts on a real server whose wall clock is a key, and what tests need around it."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from redis import Redis

from falq import keys
from falq.admission import Admission
from falq.enqueue import LANES, NewJob, enqueue
from falq.journal import Journal
from falq.limits import Limits
from falq.phases import Phase
from falq.scripts import Scripts, packaged

#: Runs of each state machine; more by ``FALQ_EXAMPLES``.
EXAMPLES = int(os.environ.get("FALQ_EXAMPLES", "30"))
ACCOUNT = "0123456789ab"
#: As in account.lua: the clock follows the wall by at most so much per call.
CAP = 5_000_000
LEASE = 10_000_000
HOLD = 600_000_000
WALL = "test:wall"
CLOCK = f"""local call = redis.call
local wall = tonumber(call('GET', '{WALL}'))
"""


def clocked(name: str) -> str:
    """Give a Lua file, with a clock that the test sets."""
    return CLOCK if name == "clock" else packaged(name)


def machine_settings(examples: int, steps: int) -> settings:
    """Give the settings of a state machine; ``FALQ_SHRINK=0`` shows failures as they came."""
    stages = {Stage.explicit, Stage.reuse, Stage.generate}
    if os.environ.get("FALQ_SHRINK", "1") == "1":
        stages.add(Stage.shrink)
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=stages,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


class World:
    """An account on an empty server, at a wall time that only the test moves."""

    def __init__(self, redis: Redis) -> None:
        redis.flushall()
        self.redis = redis
        self.scripts = Scripts(redis, clocked)
        self.admission = Admission(redis, ACCOUNT, scripts=self.scripts)
        self.journal = Journal(redis, ACCOUNT, scripts=self.scripts)
        self.wall = 1_700_000_000_000_000
        self.move(0)

    def move(self, by_us: int) -> None:
        self.wall += by_us
        self.redis.set(WALL, self.wall)

    def tick(self) -> None:
        """Let the logical clock follow, as each worker does every second."""
        self.admission.renew({})

    def pass_time(self, us: int) -> None:
        """Let time go by while workers tick."""
        while us > 0:
            step = min(us, CAP)
            self.move(step)
            self.tick()
            us -= step

    def now(self) -> int:
        return int(self.redis.hget(keys.scope(ACCOUNT, "@"), "now") or 0)

    def enqueue(self, job_id: str, queue: str = "q", limits: Limits | None = None, **changes):
        return enqueue(self.redis, new_job(job_id, queue, limits, **changes), self.scripts)

    def admit(self, limit: int = 1, worker: str = "w", **options):
        return self.admission.admit(worker, limit, **{"register": False} | options)

    def start(self, job_id: str, queue: str = "q", **changes) -> int:
        """Enqueue a job and admit it; give the token."""
        self.enqueue(job_id, queue, WIDE, **changes)
        (grant,) = self.admit().grants
        assert grant.job_id == job_id
        return grant.token

    def submit(self, job_id: str, token: int, request_id: str = "r") -> None:
        self.journal.advance(job_id, token, Phase.SUBMITTING, fields={"submits": 1})
        fields = {"request_id": request_id}
        self.journal.advance(job_id, token, Phase.SUBMITTED, fields=fields)

    def held(self, queue: str = "q") -> set[str]:
        """Name the jobs of a queue that hold a slot."""
        found = self.redis.smembers(keys.held(ACCOUNT, queue))
        return {job_id.decode() for job_id in found}

    def leases(self) -> dict[str, int]:
        found = self.redis.zrange(keys.leases(ACCOUNT), 0, -1, withscores=True)
        return {job_id.decode(): int(expiry) for job_id, expiry in found}

    def waiting(self, queue: str = "q") -> list[str]:
        return texts(self.redis.zrange(keys.waiting(ACCOUNT, queue), 0, -1))

    def rq_list(self, queue: str = "q") -> list[str]:
        return texts(self.redis.lrange(keys.rq_queue(queue), 0, -1))

    def adopt(self) -> list[str]:
        return texts(self.redis.lrange(keys.of_account(ACCOUNT, "adopt"), 0, -1))

    def phase(self, job_id: str) -> str:
        return self.journal.get(job_id).phase


#: Limits that hold nothing back.
WIDE = Limits(max_concurrent=999_999, start_interval_s=0, rate_per_min=60_000_000, burst=999_999)


def new_job(job_id: str, queue: str = "q", limits: Limits | None = None, **changes) -> NewJob:
    fields = {
        "job_id": job_id, "account": ACCOUNT, "queue": queue, "skill": "falq",
        "model_id": "fal-ai/flux/dev", "arguments": {"prompt": job_id}, "options": {},
        "mode": "queue", "priority": "normal", "limits": limits or WIDE, "job_timeout_s": 600.0,
        "fingerprint": job_id,
    }  # fmt: skip
    return NewJob(**fields | changes)


def lane(priority: str) -> int:
    return LANES[priority]


def texts(found: list[bytes]) -> list[str]:
    return [each.decode() for each in found]


def every_key(redis: Redis) -> dict[str, object]:
    """Give everything that Redis holds, to compare before and after."""
    readers = {
        b"hash": redis.hgetall,
        b"string": redis.get,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        b"stream": redis.xrange,
    }
    return {key.decode(): readers[redis.type(key)](key) for key in redis.scan_iter()}
