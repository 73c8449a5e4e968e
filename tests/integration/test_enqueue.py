"""The door: one script enqueues a job, or attaches its caller to an equal one."""

import pytest
from admission_world import ACCOUNT, WIDE, World, clocked, every_key, new_job, texts
from redis import Redis

from falq import enqueue as door
from falq import keys
from falq.errors import RedisUnavailableError, UsageError
from falq.limits import Limits
from falq.phases import Phase
from falq.redis_link import translate_redis_errors
from falq.scripts import Scripts

EQUAL = {"fingerprint": "print", "arguments": {"prompt": "a cat"}}
DAY_S = 86_400


@pytest.fixture
def world(redis_client):
    return World(redis_client)


def advance(world: World, job_id: str, to: Phase) -> None:
    """Admit a job and bring it to a phase."""
    token = next(grant.token for grant in world.admit(9).grants if grant.job_id == job_id)
    way = {
        Phase.SUBMITTED: [Phase.SUBMITTING, Phase.SUBMITTED],
        Phase.DONE: [Phase.SUBMITTING, Phase.SUBMITTED, Phase.DONE],
        Phase.FAILED: [Phase.FAILED],
        Phase.UNKNOWN: [Phase.SUBMITTING, Phase.UNKNOWN],
    }
    for phase in way[to]:
        world.journal.advance(job_id, token, phase, fields={}, outcome={"status": phase})


def test_a_job_is_known_by_all_that_look_for_it(world):
    enqueued = world.enqueue("a", "q", Limits(), options={"nonce": "n"}, priority="high")
    assert enqueued == door.Enqueued(job_id="a", deduplicated=False, phase=Phase.QUEUED)
    record = world.journal.get("a")
    assert (record.phase, record.queue, record.account) == ("queued", "q", ACCOUNT)
    assert (record.arguments, record.options) == ({"prompt": "a"}, {"nonce": "n"})
    assert world.waiting() == world.rq_list() == ["a"]
    assert [each.job_id for each in world.journal.jobs()] == ["a"]
    assert world.journal.position(record) == 0
    ((_, event),) = door.read_events(world.redis, "a", "0-0", 0.01)
    assert event == {"phase": "queued"}


def test_repeating_a_call_whose_reply_was_lost_changes_nothing(world):
    world.enqueue("a", attended=True)
    before = every_key(world.redis)
    assert world.enqueue("a", attended=True).deduplicated is False
    assert every_key(world.redis) == before


def test_two_equal_calls_at_the_same_moment_are_two_jobs(world):
    assert not world.enqueue("a", attended=True, **EQUAL).deduplicated
    assert not world.enqueue("b", attended=True, **EQUAL).deduplicated
    assert len(world.admit(9).grants) == 2


@pytest.mark.parametrize("phase", [None, Phase.SUBMITTED, Phase.UNKNOWN, Phase.DONE])
def test_a_call_whose_caller_is_gone_is_attached_to(phase, world):
    world.enqueue("a", attended=True, **EQUAL)
    if phase is not None:
        advance(world, "a", phase)
    door.leave_caller(world.redis, "a")
    again = world.enqueue("b", attended=True, **EQUAL)
    assert (again.job_id, again.deduplicated) == ("a", True)
    assert world.journal.find("b") is None


def test_of_two_callers_that_repeat_a_killed_call_one_attaches(world):
    world.enqueue("a", **EQUAL)
    assert world.enqueue("b", attended=True, **EQUAL).job_id == "a"
    assert world.enqueue("c", attended=True, **EQUAL).job_id == "c"


def test_a_caller_that_repeats_its_attachment_gets_the_same_job(world):
    world.enqueue("a", **EQUAL)
    for _ in range(2):
        assert world.enqueue("b", attended=True, **EQUAL).job_id == "a"


def test_a_listening_caller_is_gone_as_soon_as_its_connection_is(world):
    with world.redis.pubsub() as listening:
        listening.subscribe(keys.caller("a"))
        assert listening.get_message(timeout=1)["type"] == "subscribe"
        world.enqueue("a", attended=True, listens=True, **EQUAL)
        assert world.enqueue("b", attended=True, listens=True, **EQUAL).job_id == "b"
    world.redis.delete(keys.caller("b"))
    world.redis.delete(keys.job("b"))
    assert world.enqueue("c", attended=True, listens=True, **EQUAL).job_id == "a"


@pytest.mark.parametrize("channel", ["a", "b"])
def test_whoever_attaches_is_there_while_it_listens_on_its_own_channel_or_the_jobs(channel, world):
    world.enqueue("a", **EQUAL)
    with world.redis.pubsub() as listening:
        listening.subscribe(keys.caller(channel))
        assert listening.get_message(timeout=1)["type"] == "subscribe"
        assert world.enqueue("b", attended=True, listens=True, **EQUAL).job_id == "a"
        assert world.enqueue("c", attended=True, listens=True, **EQUAL).job_id == "c"
    world.redis.delete(keys.job("c"))
    assert world.enqueue("d", attended=True, listens=True, **EQUAL).job_id == "a"


def test_calls_that_made_no_job_are_counted(world):
    world.enqueue("a", idempotency_key="key", **EQUAL)
    for job_id in ("a", "a"):
        world.enqueue(job_id, **EQUAL)
    assert world.redis.hget(keys.COUNTERS, "deduplicated") is None
    world.enqueue("b", **EQUAL)
    world.enqueue("c", idempotency_key="key", **EQUAL)
    assert world.redis.hget(keys.COUNTERS, "deduplicated") == b"2"


@pytest.mark.parametrize("phase", [Phase.FAILED])
def test_a_call_that_failed_is_made_anew(phase, world):
    world.enqueue("a", **EQUAL)
    advance(world, "a", phase)
    assert world.enqueue("b", **EQUAL).job_id == "b"


def test_a_failed_call_that_is_paid_for_is_attached_to_until_it_is_given_out(world):
    world.enqueue("a", **EQUAL)
    advance(world, "a", Phase.FAILED)
    world.redis.hset(keys.job("a"), "result", '{"images":[]}')
    assert world.enqueue("b", **EQUAL).job_id == "a"
    world.journal.deliver("a")
    assert world.enqueue("c", **EQUAL).job_id == "c"


def test_a_cancelled_call_is_made_anew(world):
    world.enqueue("a", **EQUAL)
    world.journal.cancel("a")
    assert world.enqueue("b", **EQUAL).job_id == "b"


def test_a_call_that_is_about_to_be_cancelled_is_made_anew(world):
    world.enqueue("a", **EQUAL)
    advance(world, "a", Phase.SUBMITTED)
    world.journal.cancel("a")
    assert world.enqueue("b", **EQUAL).job_id == "b"


def test_a_result_that_was_given_out_is_not_given_out_twice(world):
    world.enqueue("a", **EQUAL)
    advance(world, "a", Phase.DONE)
    world.journal.deliver("a")
    assert world.enqueue("b", **EQUAL).job_id == "b"


def test_a_result_that_nobody_got_waits_for_a_day(world):
    world.enqueue("a", **EQUAL)
    advance(world, "a", Phase.DONE)
    world.move((DAY_S - 1) * 1_000_000)
    assert world.enqueue("b", **EQUAL).job_id == "a"
    world.move(2_000_000)
    assert world.enqueue("c", **EQUAL).job_id == "c"


@pytest.mark.parametrize("phase", [None, Phase.SUBMITTED, Phase.UNKNOWN])
def test_a_call_that_has_not_ended_is_attached_to_however_old_it_is(phase, world):
    world.enqueue("a", **EQUAL)
    if phase is not None:
        advance(world, "a", phase)
    world.move(40 * DAY_S * 1_000_000)
    world.enqueue("other", fingerprint="other")
    assert world.redis.ttl(keys.same("print")) == -1
    assert world.enqueue("b", **EQUAL).job_id == "a"


def test_a_call_without_a_key_is_equal_to_one_with_a_key(world):
    world.enqueue("a", account="", **EQUAL)
    assert world.enqueue("b", **EQUAL).job_id == "a"
    world.admission.take_in(WIDE)
    for account in (ACCOUNT, ""):
        assert world.enqueue("c", account=account, **EQUAL).job_id == "a"
    assert world.enqueue("d", account="other", **EQUAL).job_id == "d"


def test_fresh_never_attaches(world):
    world.enqueue("a", **EQUAL)
    assert world.enqueue("b", fresh=True, **EQUAL).job_id == "b"


@pytest.mark.parametrize("change", [{"fingerprint": "other"}, {"account": "other"}])
def test_another_call_or_account_never_attaches(change, world):
    world.enqueue("a", **EQUAL)
    assert world.enqueue("b", **EQUAL | change).job_id == "b"


def test_jobs_that_nobody_can_attach_to_are_forgotten(world):
    for number in range(5):
        world.enqueue(f"a{number}", fresh=True, **EQUAL)
        world.journal.cancel(f"a{number}")
    world.enqueue("b", **EQUAL)
    assert world.redis.zrange(keys.same("print"), 0, -1) == [b"b"]


def test_calls_that_are_not_made_again_are_forgotten_a_day_after_their_end(world):
    world.enqueue("a", **EQUAL)
    world.enqueue("waits", fingerprint="waits", account="other")
    advance(world, "a", Phase.DONE)
    world.move((DAY_S + 2) * 1_000_000)
    world.enqueue("b", fingerprint="b")
    assert not world.redis.exists(keys.same("print"))
    assert texts(world.redis.zrange(keys.PRINTS, 0, -1)) == ["b", "waits"]
    assert world.redis.exists(keys.same("waits"))


def test_a_call_of_this_day_keeps_its_time(world):
    world.enqueue("a", **EQUAL)
    made_at = world.redis.zscore(keys.PRINTS, "print")
    world.move(3_600_000_000)
    world.enqueue("b", fingerprint="b")
    assert world.redis.zscore(keys.PRINTS, "print") == made_at


def test_an_idempotency_key_is_one_job_whoever_calls_and_however_it_ended(world):
    world.enqueue("a", idempotency_key="k", attended=True, **EQUAL)
    assert world.enqueue("b", idempotency_key="k", attended=True, **EQUAL).job_id == "a"
    advance(world, "a", Phase.FAILED)
    again = world.enqueue("c", idempotency_key="k", fresh=True, **EQUAL)
    assert (again.job_id, again.deduplicated, again.phase) == ("a", True, Phase.FAILED)


@pytest.mark.parametrize(
    "change", [{"arguments": {"prompt": "a dog"}}, {"model_id": "fal-ai/flux/schnell"}]
)
def test_an_idempotency_key_of_another_call_is_refused(change, world):
    world.enqueue("a", idempotency_key="k", **EQUAL)
    with pytest.raises(UsageError, match="--idempotency-key k was used for another call"):
        world.enqueue("b", idempotency_key="k", attended=True, **EQUAL | change)
    assert world.journal.find("b") is None
    assert not world.redis.exists(keys.caller("a"))


@pytest.mark.parametrize("account", ["", "after the key was exchanged"])
def test_an_idempotency_key_is_one_job_with_another_account_or_none(account, world):
    world.enqueue("a", idempotency_key="k", **EQUAL)
    again = world.enqueue("b", idempotency_key="k", account=account, **EQUAL)
    assert (again.job_id, again.deduplicated) == ("a", True)


def test_an_idempotency_key_means_another_job_at_a_stand_in_for_fal(world):
    world.enqueue("a", idempotency_key="k", fal="http://127.0.0.1:8765", **EQUAL)
    assert world.enqueue("b", idempotency_key="k", fresh=True, **EQUAL).job_id == "b"


def test_an_idempotency_key_lasts_for_a_day(world):
    world.enqueue("a", idempotency_key="k", **EQUAL)
    assert world.redis.ttl(keys.idempotency("", "k")) == DAY_S
    world.redis.delete(keys.idempotency("", "k"))
    assert world.enqueue("c", idempotency_key="k", fresh=True, **EQUAL).job_id == "c"


def test_an_idempotency_key_goes_before_an_equal_call(world):
    world.enqueue("a", **EQUAL)
    assert world.enqueue("b", idempotency_key="k", **EQUAL).job_id == "b"


def test_lanes_go_before_and_after_each_other_and_are_fifo(world):
    for job_id, priority in [
        ("l1", "low"), ("n1", "normal"), ("h1", "high"), ("n2", "normal"), ("h2", "high"),
        ("l2", "low"),
    ]:  # fmt: skip
        world.enqueue(job_id, priority=priority)
    started = [grant.job_id for grant in world.admit(9).grants]
    assert started == ["h1", "h2", "n1", "n2", "l1", "l2"]


def test_limits_are_in_force_from_the_call_that_brings_them(world):
    world.enqueue("a", limits=Limits(max_concurrent=7, start_interval_s=3))
    _, state = world.admission.snapshot()
    assert (state.max_concurrent, state.start_interval_s) == (7, 3)


def test_wider_limits_open_a_queue_that_waits_for_the_old_ones(world):
    for job_id in ("a", "b"):
        world.enqueue(job_id, limits=Limits(start_interval_s=60))
    assert len(world.admit(9).grants) == 1
    world.enqueue("c", limits=WIDE)
    assert [grant.job_id for grant in world.admit(9).grants] == ["b", "c"]


def test_the_cap_of_an_account_is_in_force_from_the_call_that_brings_it(world):
    world.enqueue("a", account_max_concurrent=1)
    world.enqueue("b", "p")
    assert len(world.admit(9).grants) == 1
    assert world.admit(9).reason == "@:concurrency"
    account, *_ = world.admission.snapshot()
    assert account.max_concurrent == 1


def test_a_caller_without_the_cap_leaves_it(world):
    world.enqueue("a", account_max_concurrent=1)
    world.enqueue("b", "p")
    assert world.admission.snapshot()[0].max_concurrent == 1


def test_a_job_without_account_waits_for_the_first_worker_with_its_own_limits(world):
    with world.redis.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(keys.INTAKE_CHANNEL)
        heard.get_message(timeout=1)
        tight = Limits(max_concurrent=1, start_interval_s=0)
        world.enqueue("a", limits=tight, account="", priority="low")
        world.enqueue("b", limits=tight, account="", priority="high")
        assert heard.get_message(timeout=1)["data"] == b"intake"
    assert world.admit(9).grants == ()
    assert world.admission.take_in(WIDE) == (2, [])
    assert world.waiting() == ["b", "a"]
    assert [grant.job_id for grant in world.admit(9).grants] == ["b"]
    assert world.journal.get("a").account == ACCOUNT
    assert world.admission.take_in(WIDE) == (0, [])


def test_jobs_without_account_are_taken_in_as_they_came(world):
    for job_id in ("b", "a", "c"):
        world.enqueue(job_id, account="")
    world.admission.take_in(WIDE)
    assert world.waiting() == ["b", "a", "c"]


def test_a_job_without_account_is_cancelled_before_anybody_took_it(world):
    world.enqueue("a", account="")
    assert world.journal.cancel("a") == Phase.QUEUED
    assert world.admission.take_in(WIDE) == (0, [])
    assert world.phase("a") == Phase.CANCELLED


def test_old_jobs_leave_the_list_of_jobs(world):
    world.enqueue("a")
    world.move(8 * DAY_S * 1_000_000 - 1_000_000)
    world.enqueue("b")
    assert [each.job_id for each in world.journal.jobs()] == ["b", "a"]
    world.move(2_000_000)
    world.enqueue("b")
    assert [each.job_id for each in world.journal.jobs()] == ["b", "a"]
    world.redis.delete(keys.job("b"))
    world.enqueue("b")
    assert [each.job_id for each in world.journal.jobs()] == ["b"]


def test_a_record_has_no_end_until_the_job_has_one(world):
    world.enqueue("a")
    assert world.redis.ttl(keys.job("a")) == -1
    advance(world, "a", Phase.DONE)
    assert world.redis.ttl(keys.job("a")) == 7 * DAY_S


@pytest.mark.parametrize(("denied", "certain"), [("publish", False), ("evalsha", True)])
def test_only_a_refusal_of_the_whole_script_is_certain(denied, certain, world, redis_url):
    commands = ["+@all", f"-{denied}"]
    world.redis.acl_setuser("c", enabled=True, nopass=True, keys=["*"], commands=commands)
    limited = Redis.from_url(redis_url.replace("unix://", "unix://c:any@"))
    with pytest.raises(RedisUnavailableError) as told, limited, translate_redis_errors():
        door.enqueue(limited, new_job("a", account=""), Scripts(limited, clocked))
    assert told.value.refused is certain
    assert (world.journal.find("a") is None) is certain
    world.redis.acl_deluser("c")


def test_events_are_read_from_where_one_stopped(world):
    world.enqueue("a")
    ((first, _),) = door.read_events(world.redis, "a", "0-0", 0.01)
    world.journal.note("a", {"percent": 50})
    ((second, event),) = door.read_events(world.redis, "a", first, 0.01)
    assert event == {"percent": 50}
    assert door.read_events(world.redis, "a", second, 0.01) == []
