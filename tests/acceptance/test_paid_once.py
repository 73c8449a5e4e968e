"""Whatever fails on the caller's side, a call is paid for once."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from redis_proxy import RedisProxy
from world import Home, Server, finish, paid, posts_of, until

from falq.sandbox import RunningSandbox

SYNC, QUEUE = "--sync-only", "--no-sync-only"
MODEL = "sandbox/flux/dev"
BUSY = b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL.\r\n"
_NUMBERS = count()

Stage = tuple[Server, Callable[..., Home]]


@pytest.fixture
def stage(sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A Redis of its own with a worker, and a maker of homes that share it."""
    root: Path = tmp_path_factory.mktemp(f"p{next(_NUMBERS)}-")
    server = Server(root / "r")
    made: list[Home] = []

    def home(**env: str) -> Home:
        shared = {"FALQ_REDIS_URL": server.url, "FAL_QUEUE_JOB_TIMEOUT": "60"}
        made.append(Home(root / f"h{len(made)}", sandbox, shared | env))
        return made[-1]

    home().start_worker()
    until(lambda: server.ask("ZCARD", "falq:workers"))
    yield server, home
    for each in made:
        each.close()
    server.close()


def once(found: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """Find the first chunk only."""
    seen: list[bool] = []

    def is_first(data: bytes) -> bool:
        if seen or not found(data):
            return False
        seen.append(True)
        return True

    return is_first


def test_a_refusal_after_a_lost_reply_is_no_proof_that_nothing_was_enqueued(
    stage: Stage, sandbox: RunningSandbox
) -> None:
    server, home = stage
    is_reply = once(lambda data: b"NEW" in data)

    def lose(data: bytes) -> bytes | None:
        if not is_reply(data):
            return data
        server.ask("CONFIG", "SET", "maxmemory", "1")
        return None

    arguments = {"prompt": "lost, then full"}
    with RedisProxy(server.socket, on_reply=lose) as proxy:
        run = home(FALQ_REDIS_URL=proxy.url).call(MODEL, arguments, SYNC)
    server.ask("CONFIG", "SET", "maxmemory", "0")
    (job_id,) = server.ask("ZRANGE", "falq:jobs", 0, -1)
    until(lambda: server.phase(job_id.decode()) == "done")
    assert (run.code, run.error["job_id"]) == (5, job_id.decode()), run.err
    assert (run.error["retryable"], run.error["may_be_billed"]) == (False, True)
    assert paid(posts_of(sandbox, arguments)) == 1


@pytest.mark.parametrize("answer", [BUSY, None])
def test_trouble_after_the_enqueueing_is_no_reason_to_call_fal_directly(
    stage: Stage, sandbox: RunningSandbox, answer: bytes | None
) -> None:
    server, home = stage
    is_look = once(lambda data: b"falq:alive" in data and b"EXISTS" in data)
    arguments = {"prompt": f"enqueued, then {answer!r}"}
    with RedisProxy(server.socket, answer=lambda data: answer if is_look(data) else b"") as proxy:
        run = home(FALQ_REDIS_URL=proxy.url).call(MODEL, arguments, SYNC)
    assert (run.code, run.json["status"]) == (0, "COMPLETED"), run.err
    assert server.phase(run.json["job_id"]) == "done"
    assert paid(posts_of(sandbox, arguments)) == 1


def test_a_ticket_is_printed_even_if_redis_is_gone_right_after_the_enqueueing(
    stage: Stage,
) -> None:
    server, home = stage
    gone: list[bool] = []

    def answer(data: bytes) -> bytes | None:
        if b"falq:alive" in data:
            gone.append(True)
        return None if gone else b""

    with RedisProxy(server.socket, answer=answer) as proxy:
        run = home(FALQ_REDIS_URL=proxy.url).call(MODEL, {"prompt": "gone"}, "--no-wait")
    assert (run.code, run.json["status"]) == (75, "QUEUED"), run.err
    until(lambda: server.phase(run.json["job_id"]) == "done")


def test_an_idempotency_key_is_one_job_with_and_without_a_key_for_fal(
    stage: Stage, sandbox: RunningSandbox
) -> None:
    _, home = stage
    arguments = {"prompt": "one key, two machines"}
    # No sandbox of this machine by its name: no key is no key there.
    elsewhere = {"FALQ_FAL_URL": sandbox.url.replace("127.0.0.1", "127.1")}
    home(**elsewhere).start_worker()
    runs = [
        home(**elsewhere, **key).call(MODEL, arguments, SYNC, "--idempotency-key", "K")
        for key in ({}, {"FAL_KEY": ""})
    ]
    assert [run.code for run in runs] == [0, 0], runs[1].err
    assert len({run.json["request_id"] for run in runs}) == 1
    assert runs[1].json["deduplicated"] is True
    assert paid(posts_of(sandbox, arguments)) == 1


def test_an_idempotency_key_is_never_taken_past_the_queue(
    stage: Stage, sandbox: RunningSandbox
) -> None:
    server, home = stage
    arguments, caller = {"prompt": "only through the queue"}, home()
    key = ("--idempotency-key", "K")
    assert caller.call(MODEL, arguments, SYNC, *key).code == 0
    server.kill()
    down = caller.call(MODEL, arguments, SYNC, *key)
    assert (down.code, down.error["type"]) == (5, "RedisUnavailableError")
    assert "idempotency key" in down.error["message"]
    past = caller.call(MODEL, arguments, "--no-queue", *key)
    assert (past.code, past.error["type"]) == (2, "UsageError")
    assert "--no-queue" in past.error["message"]
    assert paid(posts_of(sandbox, arguments)) == 1


def kill_when_paid(
    home: Home, sandbox: RunningSandbox, arguments: dict[str, object], *args: str
) -> None:
    """Start a call, and kill its process as soon as it is paid for."""
    process = home.start(*home.call_line(MODEL, arguments, *args))
    until(lambda: paid(posts_of(sandbox, arguments)))
    process.kill()
    process.communicate()


def kept(home: Home) -> list[dict[str, object]]:
    """Read the records of direct calls."""
    paths = (home.home / "direct").glob("[!.]*")
    return [json.loads(path.read_bytes()) for path in paths]


def test_a_direct_call_that_was_killed_is_found_through_the_queue(
    stage: Stage, sandbox: RunningSandbox
) -> None:
    server, home = stage
    arguments = {"prompt": "direct, then queued", "sandbox_latency": 3.0}
    caller = home()
    server.kill()
    kill_when_paid(caller, sandbox, arguments, QUEUE)
    server.start()
    again = caller.call(MODEL, arguments, QUEUE)
    assert (again.code, again.json["deduplicated"]) == (0, True), again.err
    assert paid(posts_of(sandbox, arguments)) == 1
    assert kept(caller) == []
    assert caller.call(MODEL, arguments, QUEUE).json["deduplicated"] is False


def test_a_killed_direct_call_is_abandoned_whoever_has_its_pid(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    home = new_home()
    arguments = {"prompt": "pid of another", "sandbox_latency": 3.0}
    kill_when_paid(home, sandbox, arguments, QUEUE, "--no-queue")
    ((path, record),) = zip((home.home / "direct").glob("[!.]*"), kept(home), strict=True)
    host = socket.gethostname()
    path.write_text(json.dumps(record | {"worker": f"{host}.{os.getpid()}.direct"}))
    again = home.call(MODEL, arguments, QUEUE, "--no-queue")
    assert (again.code, again.json["deduplicated"]) == (0, True), again.err
    assert paid(posts_of(sandbox, arguments)) == 1


def test_a_direct_call_whose_record_cannot_be_kept_is_not_sent(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    home = new_home()
    home.home.mkdir(mode=0o755)
    arguments = {"prompt": "home open to others"}
    for path in (home.home, home.home / "direct"):
        path.mkdir(exist_ok=True)
        home.home.chmod(0o755)
        run = home.call(MODEL, arguments, "--no-queue")
        assert (run.code, run.error["type"]) == (2, "ConfigurationError"), run.err
        assert str(home.home) in run.error["message"]
    home.home.chmod(0o700)
    (home.home / "direct").rmdir()
    (home.home / "direct").write_text("in the way")
    run = home.call(MODEL, arguments, "--no-queue")
    assert (run.code, run.error["may_be_billed"]) == (2, False), run.err
    assert posts_of(sandbox, arguments) == []


def test_a_direct_call_of_unknown_outcome_is_not_sent_again_by_its_own_process(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    home = new_home()
    code = f"""
from falq.api import run_fal_api_job
from falq.errors import FalqError
for fresh in (False, False, True):
    try:
        run_fal_api_job("sandbox/fault/drop-registered/history-late/300",
            {{"prompt": "same process"}}, {str(home.out)!r}, no_queue=True, fresh=fresh)
    except FalqError as error:
        print(error.exit_code, error.job_id)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=home.environ(), cwd=home.root, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    first, second, fresh = (line.split() for line in ran.stdout.splitlines())
    assert first == second
    assert (first[0], fresh[0], fresh[1] != first[1]) == ("6", "6", True)
    assert len(posts_of(sandbox, {"prompt": "same process"})) == 2


@pytest.mark.parametrize("way", [SYNC, "--no-queue"])
def test_a_result_that_could_not_be_printed_is_given_out_by_the_next_equal_call(
    stage: Stage, sandbox: RunningSandbox, way: str
) -> None:
    _, home = stage
    arguments, caller = {"prompt": f"not printed {way}"}, home()
    line = [sys.executable, "-m", "falq", *caller.call_line(MODEL, arguments, way)]
    reader, writer = os.pipe()
    os.close(reader)
    subprocess.run(line, env=caller.environ(), cwd=caller.root, stdout=writer, check=False)
    os.close(writer)
    again = caller.call(MODEL, arguments, way)
    assert (again.code, again.json["deduplicated"]) == (0, True), again.err
    assert Path(again.json["saved_path"]).is_file()
    assert paid(posts_of(sandbox, arguments)) == 1


def queued_notes(home: Home) -> list[Path]:
    return list((home.home / "queued").glob("*/*"))


def test_a_queued_call_that_was_killed_keeps_its_repeat_from_going_past_the_queue(
    stage: Stage, sandbox: RunningSandbox
) -> None:
    server, home = stage
    arguments = {"prompt": "queued, then direct", "sandbox_latency": 2.0}
    caller = home()
    kill_when_paid(caller, sandbox, arguments, QUEUE)
    server.kill()
    again = caller.call(MODEL, arguments, QUEUE)
    assert (again.code, again.error["type"]) == (5, "RedisUnavailableError"), again.err
    assert (again.error["retryable"], again.error["may_be_billed"]) == (False, True)
    server.start()
    late = caller.call(MODEL, arguments, QUEUE)
    assert (late.code, late.json["deduplicated"]) == (0, True), late.err
    assert late.json["job_id"] == again.error["job_id"]
    assert paid(posts_of(sandbox, arguments)) == 1
    assert queued_notes(caller) == []


def test_calls_that_are_over_leave_no_note_and_the_direct_api_free(
    stage: Stage, sandbox: RunningSandbox
) -> None:
    server, home = stage
    arguments, caller = {"prompt": "over"}, home()
    assert caller.call(MODEL, arguments).code == 0
    assert caller.call("sandbox/fault/422", arguments).code == 3
    server.ask("CONFIG", "SET", "maxmemory", "1")
    assert caller.call(MODEL, {"prompt": "no room"}, FALQ_ON_QUEUE_DOWN="fail").code == 5
    server.ask("CONFIG", "SET", "maxmemory", "0")
    assert queued_notes(caller) == []
    ticket = caller.call(MODEL, arguments, "--no-wait").json["job_id"]
    assert [note.name for note in queued_notes(caller)] == [ticket]
    until(lambda: server.phase(ticket) == "done")
    server.kill()
    assert caller.call(MODEL, arguments).code == 5
    fresh = caller.call(MODEL, arguments, "--fresh")
    assert (fresh.code, fresh.json["status"]) == (0, "COMPLETED"), fresh.err


@pytest.mark.parametrize("mode", [SYNC, QUEUE])
def test_a_job_that_redis_forgets_ends_as_unknown_for_whoever_waits(
    stage: Stage, sandbox: RunningSandbox, mode: str
) -> None:
    server, home = stage
    arguments = {"prompt": f"forgotten {mode}", "sandbox_latency": 4.0}
    caller = home()
    waiting = caller.start(*caller.call_line(MODEL, arguments, mode))
    until(lambda: paid(posts_of(sandbox, arguments)))
    (job_id,) = (each.decode() for each in server.ask("ZRANGE", "falq:jobs", 0, -1))
    request_id = None
    if mode == QUEUE:
        request_id = until(lambda: server.record(job_id).request_id)
        until(lambda: server.phase(job_id) == "running")
    time.sleep(0.5)
    server.ask("FLUSHALL")
    run = finish(waiting)
    assert (run.code, run.error["type"]) == (6, "UnknownOutcomeError"), run.err
    assert (run.error["job_id"], run.error["request_id"]) == (job_id, request_id)
    assert (run.error["may_be_billed"], run.error["retryable"]) == (True, False)
    assert "fal.ai/dashboard/requests" in run.error["hint"]
    assert paid(posts_of(sandbox, arguments)) == 1


@pytest.mark.parametrize("mode", [SYNC, QUEUE])
@pytest.mark.parametrize("first", ["queue", "direct"])
def test_a_direct_call_takes_no_request_of_another_call_for_its_own(
    stage: Stage, sandbox: RunningSandbox, first: str, mode: str
) -> None:
    _, home = stage
    arguments = {"prompt": f"beside {first} {mode}", "sandbox_latency": 3.0}
    caller, past = home(), () if first == "queue" else ("--no-queue",)
    running = caller.start(*caller.call_line(MODEL, arguments, mode, *past))
    until(lambda: paid(posts_of(sandbox, arguments)))
    sandbox.add_fault("drop", model_id=MODEL, op="run" if mode == SYNC else "submit", times=1)
    beside = caller.call(MODEL, arguments, mode, "--no-queue")
    done = finish(running)
    assert (done.code, done.json["status"]) == (0, "COMPLETED"), done.err
    assert (beside.code, beside.error["type"]) == (6, "UnknownOutcomeError"), beside.json
    assert paid(posts_of(sandbox, arguments)) == 1
