"""Callers that are killed, detach, come back or ask from another machine."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from world import Home, Server, finish, paid, posts_of, until

from falq.sandbox import RunningSandbox

SYNC, QUEUE = "--sync-only", "--no-sync-only"
MODEL = "sandbox/flux/dev"
#: Loses the first few replies without having taken the request (``lost`` scripts that).
LOSSY = "sandbox/stable-audio"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("r"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def machines(
    server: Server, sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Home, Home]]:
    """Two homes with one Redis between them; the second one has the worker."""
    env = {"FALQ_REDIS_URL": server.url, "FAL_QUEUE_JOB_TIMEOUT": "60"}
    ours, theirs = (
        Home(tmp_path_factory.mktemp(name), sandbox, dict(env)) for name in ("ours", "theirs")
    )
    theirs.start_worker()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("mode", [SYNC, QUEUE])
def test_a_call_repeated_after_its_caller_was_killed_attaches(
    shared: Home, sandbox: RunningSandbox, mode: str
) -> None:
    arguments = {"prompt": f"killed caller {mode}", "sandbox_latency": 1.5}
    line = shared.call_line(MODEL, arguments, mode)
    first = shared.start(*line)
    until(lambda: posts_of(sandbox, arguments))
    first.kill()
    first.communicate()
    again = shared.falq(*line)
    assert (again.code, again.json["deduplicated"]) == (0, True), again.err
    assert again.json["request_id"] == posts_of(sandbox, arguments)[0]["request_id"]
    assert len(posts_of(sandbox, arguments)) == 1


def test_a_result_that_reached_nobody_is_handed_out_to_the_next_equal_call(
    shared: Home, sandbox: RunningSandbox
) -> None:
    arguments = {"prompt": "nobody was there", "sandbox_latency": 0.5}
    line = shared.call_line(MODEL, arguments)
    ticket = shared.falq(*line, "--no-wait").json
    assert ticket["status"] in {"QUEUED", "RUNNING"}
    until(lambda: shared.job(ticket["job_id"])["phase"] == "done")
    first, second = shared.falq(*line), shared.falq(*line)
    assert (first.json["deduplicated"], first.json["job_id"]) == (True, ticket["job_id"])
    assert second.json["deduplicated"] is False
    assert len(posts_of(sandbox, arguments)) == 2


def test_two_equal_calls_at_once_are_two_jobs_and_two_results(
    shared: Home, sandbox: RunningSandbox
) -> None:
    arguments = {"prompt": "twice, please", "sandbox_latency": 1.0}
    line = shared.call_line(MODEL, arguments)
    both = [finish(process) for process in [shared.start(*line), shared.start(*line)]]
    assert [run.code for run in both] == [0, 0]
    assert [run.json["deduplicated"] for run in both] == [False, False]
    assert len({run.json["request_id"] for run in both}) == 2
    assert len({run.json["saved_path"] for run in both}) == 2
    assert len(posts_of(sandbox, arguments)) == 2


def test_fresh_never_attaches(shared: Home, sandbox: RunningSandbox) -> None:
    arguments = {"prompt": "fresh"}
    line = shared.call_line(MODEL, arguments)
    shared.falq(*line, "--no-wait")
    assert shared.falq(*line, "--fresh").json["deduplicated"] is False
    until(lambda: paid(posts_of(sandbox, arguments)) == 2)


def test_an_idempotency_key_means_one_job_and_one_call(
    shared: Home, sandbox: RunningSandbox
) -> None:
    arguments = {"prompt": "once a day"}
    line = [*shared.call_line(MODEL, arguments), "--idempotency-key", "daily"]
    runs = [finish(process) for process in [shared.start(*line), shared.start(*line)]]
    runs.append(shared.falq(*line))
    assert [run.code for run in runs] == [0, 0, 0]
    assert len({run.json["job_id"] for run in runs}) == 1
    assert len(posts_of(sandbox, arguments)) == 1
    other = {"prompt": "something else"}
    refused = shared.call(MODEL, other, "--idempotency-key", "daily")
    assert (refused.code, refused.error["type"]) == (2, "UsageError")
    assert "daily" in refused.error["message"]
    assert posts_of(sandbox, other) == []


@pytest.mark.parametrize("flags", [("--wait", "0.5"), ("--no-wait",)])
def test_a_ticket_is_printed_when_the_wait_is_over_and_leads_to_the_result(
    shared: Home, sandbox: RunningSandbox, flags: tuple[str, ...]
) -> None:
    arguments = {"prompt": f"ticket {flags}", "sandbox_latency": 2.0}
    run = shared.call(MODEL, arguments, QUEUE, *flags)
    assert run.code == 75
    assert set(run.json) == {"status", "job_id", "request_id", "queue_position"}
    job_id = run.json["job_id"]
    early = shared.falq("wait", job_id, "--timeout", "0.3")
    assert (early.code, early.json["job_id"]) == (75, job_id)
    late = shared.falq("wait", job_id)
    assert (late.code, late.json["status"]) == (0, "COMPLETED")
    assert shared.falq("result", job_id).json["files"] == late.json["files"]
    assert len(posts_of(sandbox, arguments)) == 1


def test_submit_prints_a_ticket_and_exits_0(shared: Home) -> None:
    args = json.dumps({"prompt": "submitted", "sandbox_latency": 1.0})
    run = shared.falq("submit", "-m", MODEL, "-a", args, "-o", str(shared.out))
    assert run.code == 0, run.err
    assert run.json["status"] in {"QUEUED", "RUNNING"}
    assert shared.falq("wait", run.json["job_id"]).code == 0


def test_ctrl_c_detaches_and_the_same_call_attaches_again(
    shared: Home, sandbox: RunningSandbox
) -> None:
    arguments = {"prompt": "detached", "sandbox_latency": 3.0}
    line = shared.call_line(MODEL, arguments, SYNC)
    first = shared.start(*line)
    until(lambda: posts_of(sandbox, arguments))
    first.send_signal(signal.SIGINT)
    run = finish(first)
    assert (run.code, run.json["status"]) == (130, "RUNNING")
    assert f"falq wait {run.json['job_id']}" in run.err
    again = shared.falq(*line)
    assert (again.code, again.json["deduplicated"]) == (0, True)
    assert len(posts_of(sandbox, arguments)) == 1


def test_a_second_ctrl_c_cancels(shared: Home, sandbox: RunningSandbox) -> None:
    arguments = {"prompt": "cancelled by hand", "sandbox_latency": 20.0}
    process = shared.start(*shared.call_line(MODEL, arguments, QUEUE))
    until(lambda: any(each["op"] == "stream" for each in sandbox.log()))
    until(lambda: paid(posts_of(sandbox, arguments)))
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    run = finish(process)
    assert (run.code, run.json["status"]) == (130, "cancelled"), run.err
    assert shared.job(run.json["job_id"])["phase"] == "cancelled"


def test_a_waiting_job_is_cancelled_from_another_machine_and_costs_nothing(
    machines: tuple[Home, Home], sandbox: RunningSandbox
) -> None:
    ours, theirs = machines
    arguments = {"prompt": "never sent"}
    model_id = "sandbox/flux/schnell"
    blocker = {"prompt": "in front", "sandbox_latency": 2.0}
    narrow = {"FAL_QUEUE_MAX_CONCURRENT": "1"}
    ours.submit(model_id, blocker, **narrow)
    job_id = ours.submit(model_id, arguments, **narrow)
    waiting = ours.start("wait", job_id, **narrow)
    run = theirs.falq("cancel", job_id)
    assert (run.code, run.json["status"], run.json["may_be_billed"]) == (0, "cancelled", False)
    ended = finish(waiting)
    assert (ended.code, ended.error["type"]) == (3, "JobCancelledError")
    assert ended.error["may_be_billed"] is False
    until(lambda: sandbox.log() and paid(posts_of(sandbox, blocker)))
    assert posts_of(sandbox, arguments) == []


def test_a_running_job_is_cancelled_at_fal_from_another_machine(
    machines: tuple[Home, Home], sandbox: RunningSandbox
) -> None:
    ours, theirs = machines
    arguments = {"prompt": "called back", "sandbox_latency": 20.0}
    job_id = ours.submit(MODEL, arguments, QUEUE)
    until(lambda: paid(posts_of(sandbox, arguments)))
    run = theirs.falq("cancel", job_id)
    assert (run.code, run.json["status"], run.json["may_be_billed"]) == (0, "cancelled", True)
    assert run.json["request_id"]
    assert theirs.falq("cancel", job_id).json["status"] == "already_ended"


def test_a_cancel_that_comes_too_late_leaves_the_result(
    machines: tuple[Home, Home], sandbox: RunningSandbox
) -> None:
    ours, theirs = machines
    arguments = {"prompt": "too late", "sandbox_latency": 1.5}
    job_id = ours.submit("sandbox/fault/cancel-ignored", arguments, QUEUE)
    until(lambda: paid(posts_of(sandbox, arguments)))
    time.sleep(0.3)
    run = theirs.falq("cancel", job_id)
    assert (run.code, run.json["status"]) == (0, "too_late"), run.out
    assert ours.falq("wait", job_id).code == 0


def test_a_sync_run_cannot_be_called_back_and_says_so(
    machines: tuple[Home, Home], sandbox: RunningSandbox
) -> None:
    ours, theirs = machines
    arguments = {"prompt": "no way back", "sandbox_latency": 2.0}
    job_id = ours.submit(MODEL, arguments, SYNC)
    until(lambda: posts_of(sandbox, arguments))
    run = theirs.falq("cancel", job_id)
    assert (run.code, run.json["status"], run.json["may_be_billed"]) == (0, "requested", True)
    assert ours.falq("wait", job_id).code == 0


def test_a_job_that_is_none_is_a_usage_error_everywhere(machines: tuple[Home, Home]) -> None:
    ours, _ = machines
    for command in ("wait", "result", "cancel"):
        run = ours.falq(command, "no-such-job")
        assert (run.code, run.error["type"]) == (2, "UsageError"), command
        assert "no-such-job" in run.error["message"]
    assert ours.falq("resolve", "no-such-job", "--fail").code == 2


def test_a_caller_out_of_the_workers_sight_fetches_its_own_files(
    machines: tuple[Home, Home], sandbox: RunningSandbox
) -> None:
    ours, _ = machines
    arguments = {"prompt": "far away"}
    run = ours.call(MODEL, arguments)
    assert run.code == 0, run.err
    job_id = run.json["job_id"]
    elsewhere = ours.root / "elsewhere"
    again = ours.falq("result", job_id, "-o", str(elsewhere))
    assert again.code == 0, again.err
    path = Path(again.json["saved_path"])
    assert path.parent == elsewhere
    assert path.read_bytes() == Path(run.json["saved_path"]).read_bytes()
    assert len(posts_of(sandbox, arguments)) == 1


@pytest.fixture(scope="module")
def lost(machines: tuple[Home, Home], sandbox: RunningSandbox) -> Callable[[str], str]:
    """Make jobs whose outcome is unknown: fal never took them and never said so."""
    ours, _ = machines
    names = ("resend", "fail", "request", "late")
    sandbox.add_fault("drop", model_id=LOSSY, times=len(names) + 1)
    jobs = {name: ours.submit(LOSSY, {"prompt": f"lost {name}"}) for name in names}
    for job_id in jobs.values():
        until(lambda job_id=job_id: ours.job(job_id)["phase"] == "unknown")
    return jobs.__getitem__


def test_unknown_jobs_are_listed_and_tell_what_to_do(
    machines: tuple[Home, Home], lost: Callable[[str], str]
) -> None:
    ours, theirs = machines
    listed = {row["job_id"] for row in json.loads(theirs.falq("jobs", "--unknown").out)}
    assert {lost("fail"), lost("late")} <= listed
    run = ours.falq("wait", lost("late"))
    assert (run.code, run.error["type"]) == (6, "UnknownOutcomeError")
    assert run.error["may_be_billed"] is True
    assert f"falq resolve {lost('late')}" in run.err


def test_an_unknown_job_is_sent_again_only_because_a_person_says_so(
    machines: tuple[Home, Home], lost: Callable[[str], str], sandbox: RunningSandbox
) -> None:
    ours, _ = machines
    arguments = {"prompt": "lost resend"}
    assert len(posts_of(sandbox, arguments)) == 1
    assert ours.falq("resolve", lost("resend"), "--resend").code == 0
    until(lambda: len(posts_of(sandbox, arguments)) == 2)
    assert ours.falq("wait", lost("resend")).code == 6


def test_an_unknown_job_is_given_up_by_hand(
    machines: tuple[Home, Home], lost: Callable[[str], str]
) -> None:
    ours, _ = machines
    assert ours.falq("resolve", lost("fail")).code == 2
    assert ours.falq("resolve", lost("fail"), "--fail").json["phase"] == "failed"
    run = ours.falq("wait", lost("fail"))
    assert run.code == 6
    assert "given up by hand" in run.error["message"]
    assert ours.falq("resolve", lost("fail"), "--resend").code == 2


def test_an_unknown_job_goes_on_with_a_request_that_a_person_names(
    machines: tuple[Home, Home], lost: Callable[[str], str], sandbox: RunningSandbox
) -> None:
    ours, _ = machines
    other = {"prompt": "somebody ran it by hand"}
    ran = ours.call(LOSSY, other, "--no-queue", FALQ_REDIS_URL="unix:///nowhere")
    request_id = ran.json["request_id"]
    run = ours.falq("resolve", lost("request"), "--request-id", request_id)
    assert run.code == 0, run.err
    done = ours.falq("wait", lost("request"))
    assert (done.code, done.json["request_id"]) == (0, request_id), done.err
    assert done.json["recovered"] is True
    assert len(posts_of(sandbox, {"prompt": "lost request"})) == 1
    assert ours.falq("resolve", lost("late"), "--request-id", request_id).code == 2


def test_a_look_at_an_unknown_job_finds_what_came_late_and_sends_nothing(
    machines: tuple[Home, Home], sandbox: RunningSandbox
) -> None:
    ours, _ = machines
    model_id = "sandbox/fault/drop-registered/history-late/4"
    arguments = {"prompt": "shows late"}
    run = ours.call(model_id, arguments)
    assert (run.code, run.error["type"]) == (6, "UnknownOutcomeError")
    job_id = run.error["job_id"]
    time.sleep(2.5)
    found = ours.falq("result", job_id)
    assert (found.code, found.json["recovered"]) == (0, True), found.err
    assert found.json["files"]
    assert ours.job(job_id)["phase"] == "done"
    assert len(posts_of(sandbox, arguments)) == 1


@pytest.mark.parametrize("mode", [SYNC, QUEUE])
def test_a_direct_call_that_was_killed_goes_on_when_it_is_repeated(
    new_home: Callable[..., Home], sandbox: RunningSandbox, mode: str
) -> None:
    home = new_home()
    arguments = {"prompt": f"direct and killed {mode}", "sandbox_latency": 2.0}
    line = [*home.call_line(MODEL, arguments, mode), "--no-queue"]
    first = home.start(*line)
    until(lambda: paid(posts_of(sandbox, arguments)))
    time.sleep(0.3)
    first.kill()
    first.communicate()
    again = home.falq(*line)
    assert (again.code, again.json["deduplicated"]) == (0, True), again.err
    assert again.json["request_id"] == posts_of(sandbox, arguments)[0]["request_id"]
    assert len(posts_of(sandbox, arguments)) == 1
    assert home.falq(*line).json["deduplicated"] is False
    assert len(posts_of(sandbox, arguments)) == 2


def test_ctrl_c_on_a_direct_call_leaves_a_ticket_that_leads_to_the_result(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    home = new_home()
    arguments = {"prompt": "direct and left", "sandbox_latency": 2.0}
    process = home.start(*home.call_line(MODEL, arguments, "--no-queue"))
    until(lambda: paid(posts_of(sandbox, arguments)))
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    run = finish(process)
    assert (run.code, run.json["status"]) == (130, "RUNNING"), run.err
    fetched = home.falq("result", run.json["job_id"])
    assert (fetched.code, fetched.json["status"]) == (0, "COMPLETED"), fetched.err
    assert len(posts_of(sandbox, arguments)) == 1
    assert not list((home.home / "direct").iterdir())


def test_two_equal_direct_calls_at_once_are_two_results(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    home = new_home()
    arguments = {"prompt": "two direct ones", "sandbox_latency": 1.0}
    line = home.call_line(MODEL, arguments, "--no-queue")
    runs = [finish(process) for process in [home.start(*line), home.start(*line)]]
    assert [run.code for run in runs] == [0, 0]
    assert len({run.json["request_id"] for run in runs}) == 2


def direct_call_under_way(
    home: Home, sandbox: RunningSandbox, arguments: dict[str, object], *args: str
) -> subprocess.Popen[str]:
    process = home.start(*home.call_line(MODEL, arguments, "--no-queue", *args))
    until(lambda: paid(posts_of(sandbox, arguments)))
    time.sleep(0.5)
    return process


def test_a_second_ctrl_c_cancels_a_direct_call_at_fal(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    home = new_home()
    arguments = {"prompt": "direct and cancelled", "sandbox_latency": 20.0}
    process = direct_call_under_way(home, sandbox, arguments)
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    run = finish(process)
    assert (run.code, run.json["status"]) == (130, "cancelled"), run.err
    assert run.json["may_be_billed"] is True
    assert run.json["request_id"] == posts_of(sandbox, arguments)[0]["request_id"]
    assert any(each["op"] == "cancel" for each in sandbox.log())
    assert len(posts_of(sandbox, arguments)) == 1
    assert not list((home.home / "direct").iterdir())


def test_a_second_ctrl_c_on_a_direct_sync_run_says_that_it_may_be_billed(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    home = new_home()
    arguments = {"prompt": "direct sync", "sandbox_latency": 3.0}
    process = direct_call_under_way(home, sandbox, arguments, SYNC)
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    run = finish(process)
    assert (run.code, run.json["status"]) == (130, "requested"), run.err
    assert run.json["may_be_billed"] is True
    assert "may be billed" in run.json["message"]
    fetched = home.falq("result", run.json["job_id"])
    assert (fetched.code, fetched.json["status"]) == (0, "COMPLETED"), fetched.err
    assert len(posts_of(sandbox, arguments)) == 1


def test_a_direct_call_under_way_is_left_to_its_process(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    home = new_home()
    arguments = {"prompt": "direct and busy", "sandbox_latency": 3.0}
    process = direct_call_under_way(home, sandbox, arguments)
    (record,) = (home.home / "direct").glob("[!.]*")
    for command in ("cancel", "result"):
        run = home.falq(command, record.name)
        assert (run.code, run.error["job_id"]) == (5, record.name), run.err
    assert finish(process).code == 0
    assert len(posts_of(sandbox, arguments)) == 1
