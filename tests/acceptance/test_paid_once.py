"""Whatever fails on the caller's side, a call is paid for once."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from redis_proxy import RedisProxy
from world import Home, Server, paid, posts_of, until

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
