"""Claims, transitions, faults and clocks in any order: Redis agrees with a model at each step.

The model is written from the definitions (limits, phases, fencing), not from the scripts.
``FALQ_EXAMPLES`` asks for more than the default number of runs.
"""

import math

import pytest
from admission_world import (
    ACCOUNT,
    CAP,
    EXAMPLES,
    HOLD,
    LEASE,
    World,
    lane,
    machine_settings,
    texts,
)
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from falq import keys
from falq.admission import Grant
from falq.journal import FencedError, IllegalTransitionError
from falq.limits import Limits
from falq.phases import Phase

QUEUES = ("q1", "q2", "q3")
SCOPES = ("@", *QUEUES)
HOUR = 3_600_000_000
TERMINAL = ("done", "failed", "cancelled")
IN_FLIGHT = ("submitting", "submitted", "running", "downloading")
STEPS = {
    "queued": ("submitting", "failed"),
    "submitting": ("submitted", "queued", "failed", "unknown"),
    "submitted": ("running", "done", "failed"),
    "running": ("downloading", "failed"),
    "downloading": ("done", "failed"),
}
limits_of = st.builds(
    Limits,
    max_concurrent=st.sampled_from([0, 1, 1, 2, 3, 50]),
    start_interval_s=st.sampled_from([0, 0, 0.7, 3]),
    rate_per_min=st.sampled_from([29.99, 60, 180.1, 60_000_000]),
    burst=st.integers(1, 5),
)


class Claims(RuleBasedStateMachine):
    redis = None
    #: One change of limits in so many is made.
    every = 4

    def __init__(self):
        super().__init__()
        self.world = World(self.redis)
        self.seen = self.now = None
        self.limits = {scope: Limits() for scope in QUEUES} | {"@": None}
        self.tat = dict.fromkeys(SCOPES, 0)
        self.last = dict.fromkeys(SCOPES)
        self.starts = {scope: [] for scope in SCOPES}
        self.hold = dict.fromkeys(SCOPES, 0)
        self.paused = set()
        self.jobs, self.leases, self.adopt = {}, {}, []
        self.late, self.stale, self.sent, self.posts = {}, [], {}, {}
        self.place, self.top_token, self.configured = 0, 0, 0

    # --- time

    def tick(self):
        wall = self.world.wall
        self.now = wall if self.seen is None else self.now + min(max(wall - self.seen, 0), CAP)
        self.seen = wall

    @rule(
        us=st.one_of(
            st.sampled_from([0, 1, 699_999, 700_000, 1_000_000, 2_000_668]),
            st.integers(0, 8_000_000),
        )
    )
    def time_goes_by(self, us):
        self.world.move(us)

    @rule(us=st.integers(-HOUR, HOUR))
    def the_wall_clock_jumps(self, us):
        self.world.move(us)

    # --- limits

    def wait(self, scope):
        """From the definition: None if time alone brings no start."""
        limits = self.limits[scope]
        if scope in self.paused:
            return None
        waits = [0, self.hold[scope] - self.now]
        if limits is not None:
            held = [i for i in self.leases if scope in ("@", self.jobs[i]["queue"])]
            if len(held) >= limits.max_concurrent:
                return None
            level = max(self.tat[scope], self.now) - (limits.burst - 1) * limits.emission_us
            waits.append(level - self.now)
            if limits.interval_us and self.last[scope] is not None:
                waits.append(self.last[scope] + limits.interval_us - self.now)
        return max(waits)

    def best(self):
        """Time until the first start of any waiting job, None if only an event brings one."""
        account = self.wait("@")
        waits = [self.wait(queue) for queue in QUEUES if self.waiting(queue)]
        if account is None:
            return None
        return min((max(account, wait) for wait in waits if wait is not None), default=None)

    def set_limits(self, scope, limits):
        self.tick()
        before = self.limits[scope]
        if before != limits:
            debt = max(0, self.tat[scope] - self.now)
            debt = 0 if before is None else -(-debt * limits.emission_us // before.emission_us)
            if self.tat[scope] > self.now:
                self.tat[scope] = self.now + debt
            self.limits[scope], self.starts[scope] = limits, []
        self.world.admission.configure(scope, limits)

    @initialize(each=st.lists(limits_of, min_size=4, max_size=4), account=st.booleans())
    def tight_from_the_start(self, each, account):
        for scope, limits in zip(SCOPES, each, strict=True):
            if scope != "@" or account:
                self.set_limits(scope, limits)
        for queue in QUEUES:
            for _ in range(3):
                self.enqueue(queue, "normal")

    @rule(scope=st.sampled_from(SCOPES), limits=limits_of)
    def limits_change_now_and_then(self, scope, limits):
        # A machine that reconfigures often never stays blocked, and finds nothing.
        self.configured += 1
        if self.configured % self.every == 0:
            self.set_limits(scope, limits)

    @rule(scope=st.sampled_from(SCOPES), us=st.integers(1, 9_000_000))
    def a_scope_is_held(self, scope, us):
        self.configured += 1
        if self.configured % self.every == 0:
            self.tick()
            self.world.admission.hold(scope, us / 1e6, "429")
            self.hold[scope] = max(self.hold[scope], self.now + us)

    @rule(scope=st.sampled_from(SCOPES))
    def a_scope_is_paused_or_resumed(self, scope):
        self.configured += 1
        if scope in self.paused:
            self.tick()
            self.world.admission.resume(scope)
            self.paused.discard(scope)
            self.hold[scope] = 0
        elif self.configured % self.every == 0:
            self.tick()
            self.world.admission.pause(scope)
            self.paused.add(scope)

    # --- jobs come and go

    def waiting(self, queue):
        found = [
            i
            for i, job in self.jobs.items()
            if job["queue"] == queue and job["phase"] == "queued" and job["token"] is None
        ]
        return sorted(found, key=lambda i: self.jobs[i]["place"])

    @rule(queue=st.sampled_from(QUEUES), priority=st.sampled_from(["high", "normal", "low"]))
    def enqueue(self, queue, priority):
        self.tick()
        job_id = f"j{len(self.jobs)}"
        self.world.enqueue(job_id, queue, self.limits[queue], priority=priority)
        self.place += 1
        self.jobs[job_id] = {
            "queue": queue, "phase": "queued", "token": None, "deaths": 0, "request": False,
            "place": (lane(priority), self.place),
        }  # fmt: skip
        self.posts[job_id] = 0

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def a_repeated_enqueue_changes_nothing(self, data):
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs[job_id]
        again = self.world.enqueue(job_id, job["queue"], self.limits[job["queue"]])
        assert (again.phase, again.deduplicated) == (job["phase"], False)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data):
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs[job_id]
        if job["phase"] not in (*TERMINAL, "unknown"):
            self.tick()
        assert self.world.journal.cancel(job_id) == job["phase"]
        if job["phase"] == "queued" and job["token"] is None:
            job["phase"] = "cancelled"

    # --- admission

    def check_start(self, grant, best):
        assert best == 0, f"started, but the model says wait {best}"
        assert grant.job_id == self.waiting(self.jobs[grant.job_id]["queue"])[0]
        self.account_for(grant)

    def account_for(self, grant):
        job = self.jobs[grant.job_id]
        for scope in ("@", job["queue"]):
            self.check_scope(scope)
        job["token"] = grant.token
        self.leases[grant.job_id] = self.now + LEASE

    def check_scope(self, scope):
        """Account for a start in a scope, and hold it to the promise of its limits."""
        limits, last = self.limits[scope], self.last[scope]
        self.last[scope] = self.now
        if limits is None:
            return
        held = [i for i in self.leases if scope in ("@", self.jobs[i]["queue"])]
        assert len(held) + 1 <= limits.max_concurrent
        assert last is None or self.now - last >= limits.interval_us
        starts = self.starts[scope]
        starts.append(self.now)
        for nth, start in enumerate(reversed(starts), 1):
            assert nth <= limits.burst + (self.now - start) / limits.emission_us
        self.tat[scope] = max(self.tat[scope], self.now) + limits.emission_us

    def admit(self, limit):
        self.tick()
        got = self.world.admit(limit)
        for grant in got.grants:
            assert grant.token > self.top_token
            self.top_token = grant.token
            if grant.adopted:
                assert grant.job_id == self.adopt.pop(0)
                assert self.jobs[grant.job_id]["phase"] in IN_FLIGHT
                self.jobs[grant.job_id]["token"] = grant.token
                self.leases[grant.job_id] = self.now + LEASE
            else:
                assert not self.adopt
                self.check_start(grant, self.best())
        assert len(got.grants) <= limit
        if len(got.grants) < limit:
            assert not self.adopt
            best = self.best()
            assert best != 0, "refused, but the model has a start"
            assert got.wait_s == (None if best is None else best / 1e6)
            assert got.waiting == any(self.waiting(queue) for queue in QUEUES)
            assert bool(got.reason) == got.waiting
        return got

    @rule(limit=st.integers(1, 4))
    def a_worker_asks_for_jobs(self, limit):
        self.admit(limit)

    @rule()
    def the_wait_is_exact(self):
        got = self.admit(1)
        if got.grants or got.wait_s is None:
            return
        wait = round(got.wait_s * 1e6)
        while wait > CAP:
            self.world.move(CAP)
            self.tick()
            self.world.tick()
            wait -= CAP
        self.world.move(wait - 1)
        assert not self.admit(1).grants
        self.world.move(1)
        assert len(self.admit(1).grants) == 1

    @precondition(lambda self: any(self.waiting(queue) for queue in QUEUES))
    @rule(data=st.data())
    def a_stock_worker_asks_for_one_job(self, data):
        waiting = sorted(i for queue in QUEUES for i in self.waiting(queue))
        job_id = data.draw(st.sampled_from(waiting))
        queue = self.jobs[job_id]["queue"]
        self.tick()
        got = self.world.admission.acquire(job_id, "stock")
        waits = (self.wait("@"), self.wait(queue))
        if None in waits:
            assert got == 1.0
        elif max(waits) > 0:
            assert got == max(waits) / 1e6
        else:
            assert isinstance(got, Grant)
            assert got.token > self.top_token
            self.top_token = got.token
            self.account_for(got)

    # --- holders

    def held(self, *phases):
        return sorted(
            i for i, job in self.jobs.items() if job["token"] and job["phase"] in (phases or STEPS)
        )

    def write(self, job_id, token, to):
        fields = {"request_id": f"r-{job_id}"} if to == "submitted" else {}
        if to == "submitting":
            fields = {"submits": 1}
        outcome = {"status": to} if to in (*TERMINAL, "unknown") else None
        self.world.journal.advance(job_id, token, Phase(to), fields=fields, outcome=outcome)

    def give_up(self, job_id):
        job = self.jobs[job_id]
        self.stale.append((job_id, job["token"]))
        job["token"] = None

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def a_holder_goes_on(self, data):
        job_id = data.draw(st.sampled_from(self.held()))
        job = self.jobs[job_id]
        to = data.draw(st.sampled_from(STEPS[job["phase"]]))
        token = job["token"]
        self.tick()
        self.write(job_id, token, to)
        was, job["phase"], job["deaths"] = job["phase"], to, 0
        if to == "submitting":
            self.posts[job_id] += 1
            self.sent[job_id] = token
        if to == "submitted":
            job["request"] = True
        if to == "unknown":
            self.late.setdefault(job_id, token)
            self.leases[job_id] = self.now + HOLD
            job["token"] = None
        elif to in (*TERMINAL, "queued"):
            self.give_up(job_id)
            del self.leases[job_id]
        if to == "queued":
            self.posts[job_id] -= 1
        if was == "submitting" and to != "unknown":
            self.lose_sender(job_id)
        if data.draw(st.booleans()):
            self.write(job_id, token, to)

    def lose_sender(self, job_id):
        """What a sender thought dead could have told is known, or void."""
        if job_id in self.late:
            self.stale.append((job_id, self.late.pop(job_id)))

    @precondition(lambda self: self.held())
    @rule(data=st.data(), to=st.sampled_from([*STEPS, *TERMINAL, "unknown"]))
    def an_illegal_step_changes_nothing(self, data, to):
        job_id = data.draw(st.sampled_from(self.held()))
        job = self.jobs[job_id]
        legal = {
            "queued": {"submitting", "failed", "cancelled"},
            "submitting": {*STEPS, *TERMINAL, "unknown"} - {"running", "done"},
            "submitted": {"submitted", "running", "downloading", *TERMINAL, "unknown"},
            "running": {"running", "submitted", "downloading", *TERMINAL},
            "downloading": {"downloading", *TERMINAL},
        }
        if to in legal[job["phase"]]:
            return
        before = self.redis.hgetall(keys.job(job_id))
        with pytest.raises(IllegalTransitionError):
            self.write(job_id, job["token"], to)
        assert self.redis.hgetall(keys.job(job_id)) == before

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def holders_renew(self, data):
        job_ids = data.draw(st.sets(st.sampled_from(self.held()), min_size=1))
        self.tick()
        lost = self.world.admission.renew({i: self.jobs[i]["token"] for i in job_ids})
        assert lost == set()
        for job_id in job_ids:
            self.leases[job_id] = self.now + LEASE

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), to=st.sampled_from([*STEPS, *TERMINAL, "unknown"]))
    def a_stale_token_has_no_effect(self, data, to):
        job_id, token = data.draw(st.sampled_from(self.stale))
        before = self.redis.hgetall(keys.job(job_id)), self.world.leases()
        try:
            self.write(job_id, token, to)
        except FencedError:
            pass
        else:
            # It repeats what it did last, and is told again that this was done.
            assert self.jobs[job_id]["phase"] == to
        self.tick()
        assert self.world.admission.renew({job_id: token}) == {job_id}
        assert (self.redis.hgetall(keys.job(job_id)), self.world.leases()) == before

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def an_ending_worker_leaves_its_jobs(self, data):
        job_id = data.draw(st.sampled_from(self.held()))
        self.tick()
        assert self.world.admission.surrender({job_id: self.jobs[job_id]["token"]}) == 1
        self.hand_over(job_id)

    def hand_over(self, job_id):
        job = self.jobs[job_id]
        if job["phase"] == "submitting" and job_id not in self.late:
            self.late[job_id] = job["token"]
            job["token"] = None
        else:
            self.give_up(job_id)
        if job["phase"] == "queued":
            del self.leases[job_id]
        else:
            self.leases[job_id] = self.now + LEASE
            self.adopt.append(job_id)

    # --- faults

    @rule(us=st.integers(0, 16_000_000))
    def holders_die_and_are_reaped(self, us):
        for _ in range(4):
            self.world.move(us // 4)
            self.tick()
            expired = sorted((expiry, i) for i, expiry in self.leases.items() if expiry <= self.now)
            found = self.world.admission.reap()
            assert found == [(i, self.jobs[i]["phase"]) for _, i in expired]
            for _, job_id in expired:
                self.bury(job_id)

    def bury(self, job_id):
        job = self.jobs[job_id]
        if job["phase"] == "unknown":
            del self.leases[job_id]
        elif job["token"] is None:
            self.leases[job_id] = self.now + LEASE
            self.adopt.remove(job_id)
            self.adopt.append(job_id)
        elif job["deaths"] < 2:
            job["deaths"] += 1
            self.hand_over(job_id)
        else:
            self.poison(job_id)

    def poison(self, job_id):
        job = self.jobs[job_id]
        if job["phase"] == "submitting" and not job["request"]:
            self.late.setdefault(job_id, job["token"])
            self.leases[job_id] = self.now + HOLD
            job["phase"], job["token"] = "unknown", None
        else:
            self.lose_sender(job_id)
            self.give_up(job_id)
            job["phase"] = "failed"
            del self.leases[job_id]

    @precondition(lambda self: self.late)
    @rule(data=st.data(), was_sent=st.booleans())
    def a_sender_thought_dead_tells_what_became_of_its_post(self, data, was_sent):
        job_id = data.draw(st.sampled_from(sorted(self.late)))
        token = self.late[job_id]
        job = self.jobs[job_id]
        assert job["phase"] in ("submitting", "unknown")
        self.tick()
        with pytest.raises(FencedError):
            self.write(job_id, token, "submitted" if was_sent else "queued")
        del self.late[job_id]
        self.stale.append((job_id, token))
        if job["token"]:
            self.give_up(job_id)
        if job_id in self.adopt:
            self.adopt.remove(job_id)
        job["deaths"] = 0
        if was_sent:
            job["phase"], job["request"] = "submitted", True
            self.leases[job_id] = self.now + CAP
            self.adopt.append(job_id)
        else:
            job["phase"] = "queued"
            self.posts[job_id] -= 1
            self.leases.pop(job_id, None)

    @precondition(lambda self: any(j["phase"] == "unknown" for j in self.jobs.values()))
    @rule(data=st.data(), how=st.sampled_from(["resend", "fail", "request_id"]))
    def a_person_resolves_an_unknown_job(self, data, how):
        unknown = sorted(i for i, job in self.jobs.items() if job["phase"] == "unknown")
        job_id = data.draw(st.sampled_from(unknown))
        job = self.jobs[job_id]
        self.tick()
        self.world.journal.resolve(job_id, how, f"r-{job_id}")
        self.lose_sender(job_id)
        job["deaths"] = 0
        self.leases.pop(job_id, None)
        if how == "resend":
            job["phase"] = "queued"
            self.posts[job_id] = 0
        elif how == "fail":
            job["phase"] = "failed"
        else:
            job["phase"], job["request"] = "submitted", True
            self.leases[job_id] = self.now + LEASE
            self.adopt.append(job_id)

    # --- what must hold at all times

    @invariant()
    def redis_agrees_with_the_model(self):
        assert self.world.leases() == self.leases
        assert self.world.adopt() == self.adopt
        for queue in QUEUES:
            self.check_queue(queue)
        with self.redis.pipeline(transaction=False) as pipe:
            for job_id in self.jobs:
                pipe.hmget(keys.job(job_id), "phase", "token")
            found = pipe.execute()
        for (phase, token), job in zip(found, self.jobs.values(), strict=True):
            assert (phase.decode(), int(token or 0)) == (job["phase"], job["token"] or 0)
        assert all(posts <= 1 for posts in self.posts.values())

    def check_queue(self, queue):
        waiting = self.waiting(queue)
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.zrange(keys.waiting(ACCOUNT, queue), 0, -1)
            pipe.lrange(keys.rq_queue(queue), 0, -1)
            pipe.smembers(keys.held(ACCOUNT, queue))
            pipe.zscore(keys.of_account(ACCOUNT, "ready"), queue)
            pipe.zscore(keys.of_account(ACCOUNT, "parked"), queue)
            found, rq_list, leased, ready, parked = pipe.execute()
        assert texts(found) == waiting
        assert sorted(texts(rq_list)) == sorted(waiting)
        assert set(texts(leased)) == {i for i in self.leases if self.jobs[i]["queue"] == queue}
        assert (ready is not None) + (parked is not None) == bool(waiting)

    @invariant()
    def the_clock_is_the_models(self):
        assert self.now is None or self.world.now() == self.now

    @invariant()
    def what_is_shown_is_what_holds(self):
        if self.now is None:
            return
        drift = min(max(self.world.wall - self.seen, 0), CAP)
        self.now += drift
        for state in self.world.admission.snapshot(SCOPES[1:]):
            wait = self.wait(state.queue)
            assert state.wait_s == (None if wait is None else max(0, wait) / 1e6)
            assert (state.limit == "") == (state.wait_s == 0)
        self.now -= drift


class ClaimsUnderChange(Claims):
    every = 1


def test_redis_agrees_with_a_model_of_limits_phases_and_faults(redis_client):
    Claims.redis = redis_client
    run_state_machine_as_test(Claims, settings=machine_settings(EXAMPLES, 60))


def test_redis_agrees_with_the_model_when_limits_change_all_the_time(redis_client):
    Claims.redis = redis_client
    run_state_machine_as_test(ClaimsUnderChange, settings=machine_settings(EXAMPLES // 3, 60))


def test_the_numbers_stay_exact_in_lua():
    assert math.log2(1_700_000_000_000_000 + 366 * 86_400_000_000) < 53
