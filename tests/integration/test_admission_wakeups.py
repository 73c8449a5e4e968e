"""No wake-up is lost: workers that sleep, are woken, fill up, end and die, in any order.

After all messages are delivered and all due timers have fired: no startable job and idle
worker that serves it exist side by side, and for each queue that waits for time some idle
worker that serves it sleeps no longer than that. What may start is read from ``snapshot``,
which the other state machine compares with a model.
"""

import fnmatch

import pytest
from admission_world import ACCOUNT, CAP, EXAMPLES, WIDE, World, machine_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from rq import Queue
from rq.serializers import JSONSerializer

from falq import keys
from falq.limits import Limits
from falq.phases import Phase

QUEUES = ("a1", "a2", "b1")
#: What workers serve: mostly everything.
GLOBS = (None, None, "a*", "b1")
limits_of = st.builds(
    Limits,
    max_concurrent=st.integers(0, 3),
    start_interval_s=st.sampled_from([0, 0, 0.5, 2]),
    rate_per_min=st.sampled_from([30, 120, 60_000_000]),
    burst=st.integers(1, 3),
)


class Worker:
    """What a worker process does around admission; slots are its concurrency."""

    def __init__(self, world, name, glob, slots):
        self.world, self.name, self.glob, self.slots = world, name, glob, slots
        self.held = {}
        self.wakes_at = None
        self.ears = world.redis.pubsub(ignore_subscribe_messages=True)
        self.ears.subscribe(keys.wake(ACCOUNT, name))
        while self.ears.get_message(timeout=1) is not None:
            pass
        self.look()

    @property
    def idle(self):
        return len(self.held) < self.slots

    def serves(self, queue):
        return self.glob is None or fnmatch.fnmatchcase(queue, self.glob)

    def look(self):
        """Ask until it is full or has to sleep."""
        while self.idle:
            free = min(2, self.slots - len(self.held))
            got = self.world.admission.admit(self.name, free, queues=self.glob)
            for grant in got.grants:
                assert self.serves(grant.queue)
                self.held[grant.job_id] = grant.token
            if not got.grants:
                self.wakes_at = None
                if got.wait_s is not None:
                    self.wakes_at = self.world.now() + round(got.wait_s * 1e6)
                return
        self.wakes_at = None

    def hears(self):
        """Read what came; what was published before the ping has arrived by its answer."""
        self.world.redis.ping()
        heard = False
        while self.ears.get_message(timeout=0) is not None:
            heard = True
        return heard

    def die(self):
        self.ears.close()


class WakeUps(RuleBasedStateMachine):
    redis = None

    def __init__(self):
        super().__init__()
        self.world = World(self.redis)
        self.workers, self.names, self.jobs, self.changes = [], 0, 0, 0
        self.limits = {}

    def teardown(self):
        for worker in self.workers:
            worker.die()

    @initialize(each=st.lists(limits_of, min_size=3, max_size=3), cap=st.sampled_from([None, 1, 2]))
    def begin(self, each, cap):
        self.limits = dict(zip(QUEUES, each, strict=True))
        for queue, limits in self.limits.items():
            self.world.admission.configure(queue, limits)
        self.world.admission.configure_account(cap)

    @precondition(lambda self: len(self.workers) < 4)
    @rule(glob=st.sampled_from(GLOBS), slots=st.integers(1, 3))
    def a_worker_starts(self, glob, slots):
        self.names += 1
        self.workers.append(Worker(self.world, f"w{self.names}", glob, slots))

    @rule(queue=st.sampled_from(QUEUES))
    def enqueue(self, queue):
        self.jobs += 1
        self.world.enqueue(f"j{self.jobs}", queue, self.limits[queue])

    def holders(self):
        return [worker for worker in self.workers if worker.held]

    @precondition(lambda self: self.holders())
    @rule(data=st.data(), how=st.sampled_from(["end", "return", "submit"]))
    def a_job_goes_on(self, data, how):
        worker = data.draw(st.sampled_from(self.holders()))
        job_id = data.draw(st.sampled_from(sorted(worker.held)))
        token = worker.held[job_id]
        advance = self.world.journal.advance
        phase = self.world.phase(job_id)
        if how == "end" or phase != "queued":
            advance(job_id, token, Phase.FAILED, fields={}, outcome={})
        else:
            advance(job_id, token, Phase.SUBMITTING, fields={"submits": 1})
        if how == "return" and phase == "queued":
            advance(job_id, token, Phase.QUEUED, fields={"submits": 0})
        if how != "submit" or phase != "queued":
            del worker.held[job_id]
            worker.look()

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_worker_ends_well(self, data):
        worker = data.draw(st.sampled_from(self.workers))
        self.workers.remove(worker)
        self.world.admission.admit(worker.name, 0, queues=worker.glob)
        self.world.admission.surrender(worker.held)
        worker.die()

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_worker_is_killed(self, data):
        worker = data.draw(st.sampled_from(self.workers))
        self.workers.remove(worker)
        worker.die()
        self.world.redis.ping()
        # What nobody can tell the others is found by their fallback.
        for other in self.workers:
            other.look()

    @rule(queue=st.sampled_from(QUEUES), limits=limits_of)
    def limits_change_now_and_then(self, queue, limits):
        self.changes += 1
        if self.changes % 3 == 0:
            self.limits[queue] = limits
            self.world.admission.configure(queue, limits)

    @rule(cap=st.sampled_from([None, 1, 2]))
    def the_account_changes_now_and_then(self, cap):
        self.changes += 1
        if self.changes % 3 == 0:
            self.world.admission.configure_account(cap)

    @rule(scope=st.sampled_from(["@", *QUEUES]), us=st.integers(1, 6_000_000))
    def a_scope_is_held(self, scope, us):
        self.changes += 1
        if self.changes % 3 == 0:
            self.world.admission.hold(scope, us / 1e6, "429")

    @rule(scope=st.sampled_from(["@", *QUEUES]), paused=st.booleans())
    def a_scope_is_paused_or_resumed(self, scope, paused):
        self.changes += 1
        if not paused:
            self.world.admission.resume(scope)
        elif self.changes % 3 == 0:
            self.world.admission.pause(scope)

    @rule()
    def a_job_in_a_queue_is_cancelled(self):
        for queue in QUEUES:
            for job_id in self.world.waiting(queue)[-1:]:
                self.world.journal.cancel(job_id)

    @rule(us=st.integers(1, CAP))
    def time_goes_by(self, us):
        self.world.move(us)
        self.world.tick()
        held = {job_id: t for worker in self.workers for job_id, t in worker.held.items()}
        self.world.admission.renew(held)

    @rule()
    def dead_holders_are_reaped(self):
        for worker in self.workers:
            self.world.admission.renew(worker.held)
        self.world.admission.reap()

    def settle(self):
        """Deliver what was said and fire due timers, until all is quiet."""
        while True:
            now = self.world.now()
            due = [w for w in self.workers if w.idle and w.wakes_at and w.wakes_at <= now]
            woken = [w for w in self.workers if w.hears() and w.idle]
            if not due and not woken:
                return
            for worker in dict.fromkeys((*woken, *due)):
                worker.look()

    @invariant()
    def nothing_startable_meets_an_idle_worker(self):
        self.settle()
        now = self.world.now()
        account, *queues = self.world.admission.snapshot(QUEUES)
        for state in queues:
            idle = [w for w in self.workers if w.idle and w.serves(state.queue)]
            if not state.waiting or not idle or None in (account.wait_s, state.wait_s):
                continue
            wait = round(max(account.wait_s, state.wait_s) * 1e6)
            assert wait > 0, f"{state.queue} could start a job, {len(idle)} workers sleep"
            alarms = [w.wakes_at for w in idle if w.wakes_at]
            assert alarms, f"{state.queue} can start in {wait} us and nobody will look"
            assert min(alarms) <= now + wait

    @invariant()
    def what_was_left_behind_finds_a_worker(self):
        idle = [worker for worker in self.workers if worker.idle]
        for job_id in self.world.adopt():
            queue = self.world.journal.get(job_id).queue
            assert not any(worker.serves(queue) for worker in idle)


def test_no_wake_up_is_lost(redis_client):
    WakeUps.redis = redis_client
    run_state_machine_as_test(WakeUps, settings=machine_settings(EXAMPLES, 50))


@pytest.fixture
def world(redis_client):
    return World(redis_client)


@pytest.fixture
def worker(world):
    """Make workers, all asleep; with one slot each if nothing else is said."""
    made = []

    def make(name, glob=None, slots=1):
        made.append(Worker(world, name, glob, slots))
        return made[-1]

    yield make
    for each in made:
        each.die()


def deliver(*workers):
    """Let workers hear what was said to them; give the names of those that heard something."""
    heard = [each for each in workers if each.hears()]
    for each in heard:
        each.look()
    return [each.name for each in heard]


def block(world, queue, jobs, workers):
    """Enqueue jobs that cannot start, and let the workers fall asleep over them."""
    world.admission.pause(queue)
    for number in range(jobs):
        world.enqueue(f"{queue}-{number}", queue)
    while deliver(*workers):
        pass


def test_a_full_worker_wakes_the_next_for_what_is_left(world, worker):
    workers = [worker(name) for name in ("w1", "w2", "w3")]
    block(world, "a", 2, workers)
    world.admission.resume("a")
    assert deliver(*workers) == ["w1"]
    assert deliver(*workers) == ["w2"]
    assert [len(each.held) for each in workers] == [1, 1, 0]


def test_a_full_worker_wakes_one_of_each_kind_for_what_is_left(world, worker):
    workers = [worker(name, glob) for name, glob in (("w1", "a*"), ("w2", "a*"), ("w3", "b*"))]
    for queue in ("a1", "b1"):
        block(world, queue, 1, workers)
    world.admission.resume("b1")
    assert deliver(*workers) == ["w1", "w3"]
    assert [len(each.held) for each in workers] == [0, 0, 1]


def test_a_full_worker_wakes_somebody_for_a_job_to_adopt(world, worker):
    token = world.start("1", "a")
    world.submit("1", token)
    first, second = worker("w1"), worker("w2")
    world.enqueue("2", "b")
    assert deliver(first) == ["w1"]
    world.admission.surrender({"1": token})
    assert deliver(second) == ["w2"]
    assert list(second.held) == ["1"]


def test_a_job_wakes_nobody_who_does_not_serve_it(world, worker):
    world.admission.configure("a1", WIDE)
    workers = [worker("w1", "b*"), worker("w2", "a*")]
    world.enqueue("1", "a1")
    assert deliver(*workers) == ["w2"]


def test_of_those_who_serve_a_job_the_one_that_slept_longest_is_woken(world, worker):
    world.admission.configure("a1", WIDE)
    workers = [worker("w1", "b*"), worker("w2"), worker("w3")]
    world.enqueue("1", "a1")
    assert deliver(*workers) == ["w2"]


def test_a_push_of_a_stock_tool_wakes_a_sleeper(world, worker):
    sleeper = worker("w1")
    queue = Queue("a", connection=world.redis, serializer=JSONSerializer)
    pushed = queue.enqueue("workers.job.run", kwargs={}).id
    world.admission.take_in(WIDE)
    assert deliver(sleeper) == ["w1"]
    assert list(sleeper.held) == [pushed]


def test_a_call_that_widens_the_account_wakes_whoever_waits_for_it(world, worker):
    # Looked at first, and parked: no job of it can wake anybody.
    world.admission.pause("0")
    world.enqueue("1", "0")
    world.enqueue("2", "a", account_max_concurrent=1)
    world.enqueue("3", "b")
    running, sleeper = worker("w1"), worker("w2")
    assert list(running.held) == ["2"]
    while deliver(sleeper):
        pass
    world.enqueue("4", "0", account_max_concurrent=2)
    assert deliver(sleeper) == ["w2"]
    assert list(sleeper.held) == ["3"]


def test_the_dead_are_passed_over(world, worker):
    world.admission.configure("a", WIDE)
    dead, alive = worker("w1"), worker("w2")
    dead.die()
    world.redis.ping()
    world.enqueue("1", "a")
    assert deliver(alive) == ["w2"]
    assert list(alive.held) == ["1"]


def test_a_sleeper_is_told_once(world, worker):
    sleeper = worker("w1")
    world.enqueue("1", "a")
    world.enqueue("2", "a")
    assert sleeper.ears.get_message(timeout=1) is not None
    assert sleeper.ears.get_message(timeout=0.05) is None


def test_a_full_worker_leaves_its_timer_to_another(world, worker):
    slow = Limits(start_interval_s=3, max_concurrent=9)
    for number in range(2):
        world.enqueue(str(number), "a", slow)
    world.admit()
    leader, follower = worker("w1"), worker("w2")
    world.admission.configure("b", WIDE)
    while deliver(leader, follower):
        pass
    timed = [each for each in (leader, follower) if each.wakes_at is not None]
    (first,) = timed
    world.redis.zadd(keys.of_account(ACCOUNT, "waiters"), {f"{first.name} ": 0})
    world.enqueue("2", "b")
    assert deliver(leader, follower) == [first.name]
    (other,) = {leader, follower} - {first}
    assert deliver(other) == [other.name]
    assert other.wakes_at is not None


SLOW = Limits(start_interval_s=3, max_concurrent=9, burst=9)


def test_a_worker_of_a_pattern_looks_for_nobody_else(world, worker):
    for queue, limits in (("a", Limits(start_interval_s=1, max_concurrent=9)), ("b", SLOW)):
        for number in (1, 2):
            world.enqueue(f"{queue}{number}", queue, limits)
    world.admit(9)
    assert worker("w1", "a*").wakes_at is not None
    assert worker("w2").wakes_at is not None


def test_a_sleeper_whose_time_is_void_looks_for_nobody_else(world, worker):
    world.admission.configure("c", SLOW)
    for number in (1, 2):
        world.enqueue(f"b{number}", "b", SLOW)
    world.admit()
    void = worker("w2")
    assert void.wakes_at is not None
    world.admission.pause("b")
    assert deliver(void) == ["w2"]
    assert void.wakes_at is None
    # Of sleepers since the same instant the first by name is woken first.
    other = worker("w1", slots=2)
    world.enqueue("c1", "c", SLOW)
    assert deliver(other, void) == ["w1"]
    world.enqueue("c2", "c", SLOW)
    assert deliver(other, void) == ["w1"]
    assert other.wakes_at is not None


def test_a_sleeper_whose_time_is_void_leaves_looking_to_the_next(world, worker):
    for job_id, queue in (("b1", "b"), ("c1", "c")):
        world.enqueue(job_id, queue, SLOW)
    assert len(world.admit(2).grants) == 2
    world.enqueue("b2", "b", SLOW)
    first, second = worker("w1"), worker("w2")
    assert (first.wakes_at is not None, second.wakes_at) == (True, None)
    world.move(1000)
    world.admission.pause("b")
    assert deliver(first, second) == ["w1"]
    assert first.wakes_at is None
    world.enqueue("c2", "c", SLOW)
    assert deliver(first, second) == ["w2"]
    assert second.wakes_at is not None


def test_a_full_worker_wakes_the_next_for_another_queue(world, worker):
    workers = [worker("w1"), worker("w2")]
    world.admission.hold("@", 60, "busy")
    for queue in ("a", "b"):
        world.enqueue(queue, queue)
    while deliver(*workers):
        pass
    world.admission.resume("@")
    assert deliver(*workers) == ["w1"]
    assert deliver(*workers) == ["w2"]


def test_a_full_worker_is_told_whether_anything_is_left(world):
    for job_id in ("1", "2"):
        world.enqueue(job_id)
    assert [world.admit().waiting for _ in range(2)] == [True, False]
    tokens = {job_id: world.start(job_id) for job_id in ("3", "4")}
    for job_id, token in tokens.items():
        world.submit(job_id, token, job_id)
    world.admission.surrender(tokens)
    assert [world.admit().waiting for _ in range(2)] == [True, False]


def test_who_looked_by_itself_and_is_full_sleeps_no_more(world, worker):
    soon = Limits(start_interval_s=1, max_concurrent=9)
    for number in (1, 2):
        world.enqueue(f"a{number}", "a", soon)
    world.admit()
    first, second = worker("w1"), worker("w2")
    world.move(1_000_000)
    first.look()
    while deliver(second):
        pass
    assert list(first.held) == ["a2"]
    world.enqueue("b1", "b")
    assert deliver(first, second) == ["w2"]


def test_sleepers_of_other_queues_are_not_forgotten(world, worker):
    for queue in ("a1", "b1"):
        world.admission.configure(queue, WIDE)
    sleeper = worker("w1", "b*")
    world.enqueue("1", "a1")
    world.enqueue("2", "b1")
    assert deliver(sleeper) == ["w1"]
    assert list(sleeper.held) == ["2"]


def test_a_pattern_covers_the_whole_name(world, worker):
    world.admission.configure("ab", WIDE)
    workers = [worker("w1", "b*"), worker("w2")]
    world.enqueue("1", "ab")
    assert deliver(*workers) == ["w2"]
