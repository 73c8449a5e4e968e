"""What may be tried again and is: 429, passing 5xx, fal out of reach; and what only looks so."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from world import Home, finish, paid, posts_of

from falq.sandbox import RunningSandbox

SYNC, QUEUE = "--sync-only", "--no-sync-only"


@pytest.mark.parametrize("mode", [SYNC, QUEUE])
def test_a_429_is_waited_out_as_long_as_fal_says(
    shared: Home, sandbox: RunningSandbox, mode: str
) -> None:
    model_id = {SYNC: "fal-ai/flux/schnell", QUEUE: "fal-ai/flux/dev"}[mode]
    sandbox.add_fault("429", model_id=model_id, times=1, retry_after=1.5)
    sandbox.add_fault("429", model_id=model_id, times=1)
    arguments = {"prompt": f"patience {mode}"}
    run = shared.call(model_id, arguments, mode)
    posts = posts_of(sandbox, arguments)
    assert (run.code, len(posts), paid(posts)) == (0, 3, 1), run.err
    assert posts[1]["at"] - posts[0]["at"] >= 1.5


def test_a_fal_that_stays_busy_ends_in_the_jobs_time_and_owes_nothing(
    shared: Home, sandbox: RunningSandbox
) -> None:
    arguments = {"prompt": "busy for ever"}
    run = shared.call("sandbox/fault/429/30", arguments)
    assert (run.code, run.error["retryable"], run.error["may_be_billed"]) == (5, True, False)
    assert paid(posts_of(sandbox, arguments)) == 0


@pytest.mark.parametrize("mode", [SYNC, QUEUE])
def test_a_passing_5xx_that_left_no_trace_is_sent_once_more(
    shared: Home, sandbox: RunningSandbox, mode: str
) -> None:
    model_id = {SYNC: "fal-ai/flux/schnell", QUEUE: "fal-ai/flux/dev"}[mode]
    sandbox.add_fault("502", model_id=model_id, times=1)
    arguments = {"prompt": f"hiccup {mode}"}
    run = shared.call(model_id, arguments, mode)
    posts = posts_of(sandbox, arguments)
    assert (run.code, len(posts), paid(posts)) == (0, 2, 1), run.err


def test_a_queue_that_answers_405_to_a_submit_is_replaced_by_one_sync_run(
    shared: Home, sandbox: RunningSandbox
) -> None:
    model_id = "sandbox/flux-lora"
    sandbox.add_fault("405", model_id=model_id, op="submit", times=1)
    arguments = {"prompt": "no queue for this one"}
    run = shared.call(model_id, arguments, QUEUE)
    posts = posts_of(sandbox, arguments)
    assert run.code == 0, run.err
    assert [post["op"] for post in posts] == ["submit", "run"]
    assert paid(posts) == 1


def test_endpoints_that_refuse_a_result_never_lead_to_a_second_run(
    shared: Home, sandbox: RunningSandbox
) -> None:
    arguments = {"prompt": "ran, not told", "sync_mode": True}
    run = shared.call("sandbox/fault/result-405", arguments, QUEUE)
    posts = posts_of(sandbox, arguments)
    assert (run.code, run.json["status"]) == (6, "RESULT_ENDPOINT_ONLY")
    assert run.json["platform_request"]["request_id"] == posts[0]["request_id"]
    assert run.json["platform_request"]["status_code"] == 200
    assert "files" not in run.json
    again = shared.falq("result", run.json["job_id"])
    assert (again.code, again.json["status"]) == (6, "RESULT_ENDPOINT_ONLY")
    assert len(posts_of(sandbox, arguments)) == 1


@pytest.mark.parametrize("way", [(), ("--no-queue",)])
def test_a_fal_out_of_reach_fails_with_its_cause_and_owes_nothing(
    new_home: Callable[..., Home], way: tuple[str, ...]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    home = new_home(FALQ_FAL_URL=url)
    run = home.call("fal-ai/flux/dev", {"prompt": "anybody there"}, *way)
    error = run.error
    assert (run.code, error["retryable"], error["may_be_billed"]) == (5, True, False)
    assert "refused" in error["message"].lower() or "connect" in error["message"].lower()
    assert home.saved() == []


@pytest.mark.parametrize("way", [(), ("--no-queue",), ("--no-queue", SYNC)])
@pytest.mark.parametrize(
    ("key", "kind", "says"),
    [
        ("bad-id:bad-secret", "InvalidKeyError", "invalid key credentials"),
        ("broke-id:secret", "BalanceError", "Exhausted balance"),
    ],
)
def test_a_wrong_key_and_an_empty_balance_are_told_from_each_other(
    new_home: Callable[..., Home], sandbox: RunningSandbox, way, key: str, kind: str, says: str
) -> None:
    home = new_home(FAL_KEY=key)
    arguments = {"prompt": f"who pays {key} {way}"}
    run = home.call("fal-ai/flux/dev", arguments, *way)
    assert (run.code, run.error["type"]) == (4, kind)
    assert says in run.error["message"]
    assert key not in run.out + run.err
    posts = posts_of(sandbox, arguments)
    assert (len(posts), paid(posts)) == (1, 0)


def test_two_equal_jobs_in_flight_whose_replies_were_lost_recover_two_requests(
    shared: Home, sandbox: RunningSandbox, pool: ThreadPoolExecutor
) -> None:
    arguments = {"prompt": "twins", "sandbox_latency": 1.0}
    for mode in (SYNC, QUEUE):
        lines = [
            ["call", "-m", f"sandbox/fault/drop-registered/{mode == SYNC:d}000", "-a",
             f'{{"prompt": "twins", "mode": "{mode}"}}', "-o", str(shared.out / f"twin{n}"), mode]
            for n in (1, 2)
        ]  # fmt: skip
        runs = [finish(process) for process in [shared.start(*line) for line in lines]]
        assert [run.code for run in runs] == [0, 0], [run.err for run in runs]
        ids = {run.json["request_id"] for run in runs}
        assert len(ids) == 2
        arguments = {"prompt": "twins", "mode": mode}
        assert ids == {post["request_id"] for post in posts_of(sandbox, arguments)}


def test_a_lost_reply_never_takes_the_request_of_an_equal_job_that_still_waits(
    shared: Home, sandbox: RunningSandbox
) -> None:
    model_id = "sandbox/flux/dev"
    arguments = {"prompt": "one ran, one was dropped", "sandbox_latency": 2.5}
    first = shared.start(*shared.call_line(model_id, arguments, SYNC))
    deadline = time.monotonic() + 10
    while not paid(posts_of(sandbox, arguments)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    sandbox.add_fault("drop", model_id=model_id, op="run", times=1)
    second = shared.start(*shared.call_line(model_id, arguments, SYNC))
    runs = [finish(first), finish(second)]
    assert [run.code for run in runs] == [0, 6], [run.err for run in runs]
    assert (len(posts_of(sandbox, arguments)), paid(posts_of(sandbox, arguments))) == (2, 1)


@pytest.mark.parametrize("flags", [("--max-polls", "2", "--poll-interval", "0.2"), ()])
def test_a_job_out_of_time_is_fetched_later_without_a_new_post(
    new_home: Callable[..., Home], sandbox: RunningSandbox, flags: tuple[str, ...]
) -> None:
    home = new_home(FAL_QUEUE_JOB_TIMEOUT="2.5")
    arguments = {"prompt": f"slow {flags}", "sandbox_latency": 5.0}
    run = home.call("fal-ai/flux/dev", arguments, QUEUE, *flags)
    error = run.error
    assert (run.code, error["type"], error["may_be_billed"]) == (5, "JobTimeoutError", True)
    assert error["request_id"]
    assert f"falq result {error['job_id']}" in run.err
    time.sleep(3.0)
    fetched = home.falq("result", error["job_id"])
    assert (fetched.code, fetched.json["request_id"]) == (0, error["request_id"]), fetched.err
    assert fetched.json["files"]
    assert len(posts_of(sandbox, arguments)) == 1
    assert home.job(error["job_id"])["phase"] == "done"
