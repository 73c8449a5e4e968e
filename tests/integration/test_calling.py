"""A caller and its Redis: who is present, what holds a job, and a Redis that goes away."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from falq import keys
from falq.admission import Admission
from falq.calling import Caller, CallRequest, new_job_id
from falq.delivery import Delivery
from falq.errors import RedisUnavailableError, UnreachableError, UsageError
from falq.files.spec import OutputSpec
from falq.phases import Phase
from falq.queue_config import QueueConfig
from falq.queued_call import QueuedCall
from falq.settings import Settings

REQUEST = CallRequest(
    model_id="a/b", arguments={"prompt": "x"}, output=OutputSpec(directory="/nowhere")
)
QUEUE = REQUEST.to_record("j", "").queue


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    environ = {"FALQ_REDIS_URL": redis_url, "FAL_KEY": "id:secret", "FALQ_HOME": str(tmp_path)}
    return Settings.from_env(environ)


@pytest.fixture
def open_caller(settings: Settings) -> Iterator[Callable[[], Caller]]:
    made: list[Caller] = []

    def open_one() -> Caller:
        made.append(Caller(settings))
        return made[-1]

    yield open_one
    for caller in made:
        caller.__exit__()


@pytest.fixture
def caller(open_caller: Callable[[], Caller]) -> Caller:
    return open_caller()


def enqueue(caller: Caller, *, attended: bool = True, request: CallRequest = REQUEST) -> str:
    return caller.enqueue(request, job_id=new_job_id(), attended=attended).job_id


def test_an_equal_call_attaches_as_soon_as_the_caller_is_gone(open_caller):
    first, second = open_caller(), open_caller()
    job_id = enqueue(first)
    assert enqueue(second) != job_id
    first.__exit__()
    second.__exit__()
    third = open_caller().enqueue(REQUEST, job_id=new_job_id(), attended=True)
    assert third.deduplicated
    assert third.job_id == job_id


def test_whoever_attached_is_present_for_the_job_too(open_caller):
    first, second, third = open_caller(), open_caller(), open_caller()
    job_id = enqueue(first)
    first.__exit__()
    assert enqueue(second) == job_id
    assert enqueue(third) != job_id


def test_a_call_that_nobody_waits_for_is_attached_to(open_caller):
    job_id = enqueue(open_caller(), attended=False)
    assert enqueue(open_caller()) == job_id


def test_a_caller_that_leaves_lets_others_attach(open_caller):
    first = open_caller()
    job_id = enqueue(first)
    first.leave(job_id)
    assert enqueue(open_caller()) == job_id


def test_a_delivered_result_is_not_handed_out_again(caller, settings, redis_client):
    job_id = enqueue(caller, attended=False)
    caller.delivered(job_id)
    assert enqueue(caller) != job_id


def test_enqueueing_twice_under_one_id_is_one_job(caller):
    job_id = new_job_id()
    for _ in range(2):
        caller.enqueue(REQUEST, job_id=job_id, attended=True)
    assert len(caller.journal.jobs()) == 1


def events_of(caller: Caller, job_id: str, wait_s: float) -> list[dict]:
    seen: list[dict] = []
    caller.wait(job_id, wait_s=wait_s, on_event=lambda event: seen.append(dict(event)))
    return seen


def test_a_waiting_caller_hears_what_holds_its_job_and_for_how_long(caller, settings):
    job_id = enqueue(caller)
    Admission(caller.redis, settings.account).hold(QUEUE, 60.0, "fal answered 429")
    held = [event for event in events_of(caller, job_id, 1.0) if "waits_for" in event]
    assert (held[0]["waits_for"], held[0]["reason"]) == ("hold", "fal answered 429")
    assert (held[0]["scope"], held[0]["queue_position"]) == (QUEUE, 0)
    assert 50 < held[0]["eligible_in_s"] <= 60


def test_the_accounts_limit_is_named_as_such(caller, settings):
    admission = Admission(caller.redis, settings.account)
    admission.configure_account(1)
    enqueue(caller)
    assert len(admission.admit("w.1.x", 5).grants) == 1
    other = CallRequest(
        model_id="c/d", arguments={}, output=OutputSpec(directory="/nowhere"), config=QueueConfig()
    )
    job_id = enqueue(caller, request=other)
    held = [event for event in events_of(caller, job_id, 2.5) if "waits_for" in event]
    assert (held[0]["waits_for"], held[0]["scope"]) == ("account", keys.ACCOUNT_SCOPE)
    assert held[0]["eligible_in_s"] is None


def test_a_shared_redis_without_a_worker_is_told_once(caller):
    warnings = [e for e in events_of(caller, enqueue(caller), 4.5) if "warning" in e]
    assert ["no worker" in event["warning"] for event in warnings] == [True]


def test_a_caller_that_hears_nothing_gives_up_in_its_time_and_says_that_the_job_goes_on(caller):
    job_id = enqueue(caller)
    with pytest.raises(UnreachableError) as caught:
        caller.wait(job_id, idle_timeout_s=0.5)
    assert caught.value.job_id == job_id
    assert caller.get(job_id).phase == Phase.QUEUED


def test_a_job_that_does_not_exist_is_told(caller):
    with pytest.raises(UsageError, match="there is no job"):
        caller.wait("nobody")


def test_a_wait_ends_with_the_job(caller):
    job_id = enqueue(caller)
    cancelling = threading.Timer(0.3, lambda: caller.cancel(job_id))
    cancelling.start()
    began_at = time.monotonic()
    assert caller.wait(job_id).phase == Phase.CANCELLED
    assert time.monotonic() - began_at < 2
    cancelling.join()


def test_a_reply_that_is_lost_while_enqueueing_is_asked_for_again(
    caller, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
):
    from redis.exceptions import ConnectionError as Lost

    from falq import enqueue as door

    run, lost = door.enqueue, [True]

    def flaky(*args, **kwargs):
        done = run(*args, **kwargs)
        if lost:
            lost.clear()
            raise Lost("reset")
        return done

    monkeypatch.setattr(door, "enqueue", flaky)
    job_id = enqueue(caller)
    assert [record.job_id for record in caller.journal.jobs()] == [job_id]


def test_a_refusal_at_the_door_is_told_from_a_lost_reply(caller, redis_client: Redis):
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisUnavailableError) as caught:
            enqueue(caller)
        assert caught.value.refused
    finally:
        redis_client.config_set("maxmemory", 0)
    assert caller.journal.jobs() == []


@pytest.mark.parametrize(
    ("keys_allowed", "perhaps"), [("~foo*", False), ("~falq:*", True)], ids=["none", "half"]
)
def test_a_user_without_rights_is_told_at_once_and_what_it_left_behind(
    redis_client, redis_url, settings, keys_allowed, perhaps
):
    rights = ["reset", "on", "nopass", "&*", "+@all", keys_allowed]
    redis_client.execute_command("ACL", "SETUSER", "poor", *rights)
    url = redis_url.replace("unix://", "unix://poor:any@")
    poor = Settings.from_env(
        {"FALQ_REDIS_URL": url, "FAL_KEY": "id:secret", "FALQ_HOME": str(settings.home)}
    )
    began = time.monotonic()
    try:
        with Caller(poor) as caller, pytest.raises(RedisUnavailableError) as caught:
            enqueue(caller)
    finally:
        redis_client.acl_deluser("poor")
    assert time.monotonic() - began < 3
    assert "without rights" in caught.value.message
    assert caught.value.may_be_billed is perhaps
    assert caught.value.refused is not perhaps


@pytest.mark.parametrize(("wait_s", "status"), [(0.0, "RUNNING"), (5.0, "FAILED")])
def test_a_call_that_only_enqueues_gets_a_ticket_though_its_job_has_ended(
    settings, caller, wait_s, status
):
    def end_it(event):
        if "stands" in event:
            admission = Admission(caller.redis, settings.account)
            (grant,) = admission.admit("w", 1, register=False).grants
            outcome = {"status": "FAILED"}
            caller.journal.advance(
                grant.job_id, grant.token, Phase.FAILED, fields={}, outcome=outcome
            )

    call = QueuedCall(settings, REQUEST, wait_s, end_it, Delivery())
    shown = call.run()
    assert shown["status"] == status
    assert shown.get("job_id", call.job_id) == call.job_id
