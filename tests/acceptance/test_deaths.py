"""Workers that are killed or paused, at every step of a job: adopted, fenced, never paid twice."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from world import KEY, Home, Server, paid, posts_of, until

from falq.admission import Admission
from falq.sandbox import RunningSandbox
from falq.settings import Settings

SYNC, QUEUE = "--sync-only", "--no-sync-only"
#: A job whose worker was killed goes on within this time.
ADOPTED_S = 15.0
_NUMBERS = count()


@dataclass
class Scene:
    """A Redis, workers and a caller of one scenario."""

    server: Server
    home: Home
    sandbox: RunningSandbox

    def posts(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        return posts_of(self.sandbox, arguments)

    def seen(self, op: str, arguments: dict[str, Any]) -> bool:
        """Tell whether fal was asked for the request with these arguments in such a way."""
        ids = {post["request_id"] for post in self.posts(arguments)}
        return any(each["op"] == op and each["request_id"] in ids for each in self.sandbox.log())

    def await_phase(self, job_id: str, *phases: str, wait_s: float = 20.0) -> None:
        until(lambda: self.server.phase(job_id) in phases, wait_s)

    def close(self) -> None:
        self.home.env["FALQ_REDIS_URL"] = self.server.url
        self.home.close()
        self.server.close()


@pytest.fixture(scope="module")
def scenes(
    sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Scene]]:
    made: list[Scene] = []

    def make() -> Scene:
        root: Path = tmp_path_factory.mktemp(f"s{next(_NUMBERS)}-")
        server = Server(root / "r")
        env = {"FALQ_REDIS_URL": server.url, "FAL_QUEUE_JOB_TIMEOUT": "90"}
        made.append(Scene(server, Home(root, sandbox, env), sandbox))
        return made[-1]

    yield make
    for scene in made:
        scene.close()


def kill(worker: Any) -> float:
    worker.kill()
    worker.wait()
    return time.monotonic()


def killed_at_many_steps(scene: Scene) -> dict[str, Any]:
    """Kill a worker that holds five jobs, each at another step, while a second one idles."""
    jobs: dict[str, tuple[str, dict[str, Any], str]] = {
        "during POST": ("sandbox/fault/hang-unregistered", {"prompt": "a"}, SYNC),
        "sync run": ("sandbox/flux/dev", {"prompt": "b", "sandbox_latency": 8}, SYNC),
        "accepted, silent": ("sandbox/fault/hang", {"prompt": "c"}, QUEUE),
        "poll": ("sandbox/flux/dev", {"prompt": "d", "sandbox_latency": 8}, QUEUE),
        "download": ("sandbox/flux-lora", {"prompt": "e"}, QUEUE),
    }
    scene.sandbox.add_fault("cdn-hang", model_id="sandbox/flux-lora", times=1)
    first = scene.home.start_worker()
    ids = {name: scene.home.submit(*job) for name, job in jobs.items()}
    for _, arguments, _ in jobs.values():
        until(lambda arguments=arguments: scene.posts(arguments))
    scene.await_phase(ids["download"], "downloading")
    scene.await_phase(ids["poll"], "running")
    until(lambda: any(e["fault"] == "cdn-hang" for e in scene.sandbox.log()))
    scene.home.start_worker()
    killed_at = kill(first)
    ended = {}
    for name, job_id in ids.items():
        scene.await_phase(job_id, "done", "unknown", "failed", wait_s=30)
        ended[name] = (scene.server.record(job_id), time.monotonic() - killed_at)
    posts = {name: scene.posts(arguments) for name, (_, arguments, _) in jobs.items()}
    return {"ended": ended, "posts": posts}


def killed_before_submit(scene: Scene) -> dict[str, Any]:
    """Claim a job as a worker does that dies in the same moment."""
    arguments = {"prompt": "claimed and left"}
    job_id = scene.home.submit("sandbox/flux/dev", arguments)
    account = Settings.from_env({"FAL_KEY": KEY, "FALQ_FAL_URL": scene.sandbox.url}).account
    with Redis(unix_socket_path=str(scene.server.socket)) as redis:
        grants = Admission(redis, account).admit("dead.1.0", 10).grants
    claimed_at = time.monotonic()
    assert [grant.job_id for grant in grants] == [job_id]
    scene.home.start_worker()
    scene.await_phase(job_id, "done")
    return {"took_s": time.monotonic() - claimed_at, "posts": scene.posts(arguments)}


def killed_before_the_id_is_stored(scene: Scene) -> dict[str, Any]:
    """Hold Redis back when fal has answered, and kill the worker that wants to write it."""
    arguments = {"prompt": "answered, not written", "sandbox_latency": 1.0}
    first = scene.home.start_worker()
    job_id = scene.home.submit("sandbox/flux/dev", arguments, SYNC)
    until(lambda: scene.posts(arguments))
    scene.server.ask("CLIENT", "PAUSE", 60_000, "WRITE")
    until(lambda: scene.posts(arguments)[0]["ended"])
    time.sleep(0.3)
    killed_at = kill(first)
    scene.server.ask("CLIENT", "UNPAUSE")
    assert scene.server.phase(job_id) == "submitting"
    scene.home.start_worker()
    scene.await_phase(job_id, "done", "unknown")
    record = scene.server.record(job_id)
    took_s = time.monotonic() - killed_at
    return {"record": record, "took_s": took_s, "posts": scene.posts(arguments)}


def killed_before_the_result_is_written(scene: Scene) -> dict[str, Any]:
    """Let the file reach the disk, hold Redis back, and kill the worker."""
    scene.sandbox.add_fault(
        "cdn-slow-loris", model_id="sandbox/clarity-upscaler", times=1, interval_s=0.0002
    )
    arguments = {"image_url": f"{scene.sandbox.url}/cdn/none.png"}
    first = scene.home.start_worker()
    job_id = scene.home.submit("sandbox/clarity-upscaler", arguments, QUEUE)
    scene.await_phase(job_id, "downloading", "failed")
    scene.server.ask("CLIENT", "PAUSE", 60_000, "WRITE")
    until(lambda: [name for name in scene.home.saved() if not name.startswith(".")])
    time.sleep(0.3)
    killed_at = kill(first)
    scene.server.ask("CLIENT", "UNPAUSE")
    assert scene.server.phase(job_id) == "downloading"
    scene.home.start_worker()
    scene.await_phase(job_id, "done", "failed")
    took_s = time.monotonic() - killed_at
    record = scene.server.record(job_id)
    return {
        "record": record, "took_s": took_s, "posts": scene.posts(arguments),
        "saved": scene.home.saved(),
    }  # fmt: skip


def paused_past_its_lease(scene: Scene) -> dict[str, Any]:
    """Stop a worker in the middle of a sync run, let another adopt the job, and wake it."""
    arguments = {"prompt": "asleep", "sandbox_latency": 1.0}
    first = scene.home.start_worker()
    job_id = scene.home.submit("sandbox/flux/dev", arguments, SYNC)
    until(lambda: scene.posts(arguments))
    first.send_signal(signal.SIGSTOP)
    second = scene.home.start_worker()
    scene.await_phase(job_id, "done", "unknown")
    before = scene.server.record(job_id)
    first.send_signal(signal.SIGCONT)
    time.sleep(2.0)
    kill(second)
    later = {"prompt": "awake again"}
    again = scene.home.submit("sandbox/flux/dev", later, SYNC)
    scene.await_phase(again, "done")
    return {
        "before": before, "after": scene.server.record(job_id),
        "posts": scene.posts(arguments), "again": scene.posts(later),
    }  # fmt: skip


def paused_with_its_reply(scene: Scene) -> dict[str, Any]:
    """Stop a worker that alone will hear what became of a run, and wake it when all gave up."""
    arguments = {"prompt": "late", "sandbox_latency": 1.0}
    scene.home.sandbox.add_fault("history-late", model_id="sandbox/flux/schnell", seconds=300)
    first = scene.home.start_worker()
    job_id = scene.home.submit("sandbox/flux/schnell", arguments, SYNC)
    until(lambda: scene.posts(arguments))
    first.send_signal(signal.SIGSTOP)
    scene.home.start_worker()
    scene.await_phase(job_id, "unknown")
    first.send_signal(signal.SIGCONT)
    scene.await_phase(job_id, "done")
    return {"record": scene.server.record(job_id), "posts": scene.posts(arguments)}


def three_deaths(scene: Scene) -> dict[str, Any]:
    """Kill each worker that takes a job, three times."""
    arguments = {"prompt": "poison", "sandbox_latency": 80}
    job_id = ""
    worker = scene.home.start_worker()
    job_id = scene.home.submit("sandbox/flux/dev", arguments, QUEUE)
    for _ in range(2):
        scene.await_phase(job_id, "running")
        held = scene.server.record(job_id).token
        kill(worker)
        worker = scene.home.start_worker()
        until(lambda held=held: scene.server.record(job_id).token > held)
    kill(worker)
    scene.home.start_worker()
    scene.await_phase(job_id, "failed")
    return {"record": scene.server.record(job_id), "posts": scene.posts(arguments)}


def asked_to_stop_twice(scene: Scene) -> dict[str, Any]:
    """Ask a worker to stop while a job runs, and ask again."""
    arguments = {"prompt": "handed over", "sandbox_latency": 5.0}
    first = scene.home.start_worker()
    job_id = scene.home.submit("sandbox/flux/dev", arguments, QUEUE)
    scene.await_phase(job_id, "running")
    scene.home.start_worker()
    first.send_signal(signal.SIGTERM)
    time.sleep(1.0)
    waited = first.poll() is None
    held = scene.server.record(job_id).token
    first.send_signal(signal.SIGTERM)
    asked_at = time.monotonic()
    code = first.wait(10)
    until(lambda: scene.server.record(job_id).token > held)
    took_s = time.monotonic() - asked_at
    scene.await_phase(job_id, "done")
    record = scene.server.record(job_id)
    return {
        "waited": waited, "code": code, "took_s": took_s, "record": record,
        "posts": scene.posts(arguments),
    }  # fmt: skip


SCENARIOS = (
    asked_to_stop_twice,
    killed_at_many_steps, killed_before_submit, killed_before_the_id_is_stored,
    killed_before_the_result_is_written, paused_past_its_lease, paused_with_its_reply,
    three_deaths,
)  # fmt: skip


@pytest.fixture(scope="module")
def played(
    scenes: Callable[[], Scene], pool: ThreadPoolExecutor
) -> Iterator[Callable[[Callable[[Scene], Any]], Any]]:
    """Play all scenarios at the same time: they mostly wait for leases to run out."""
    futures: dict[Any, Future[Any]] = {play: pool.submit(play, scenes()) for play in SCENARIOS}
    yield lambda play: futures[play].result(110)
    for future in futures.values():
        future.cancel()
    wait(futures.values())


STEPS = {
    "during POST": ("unknown", False),
    "sync run": ("done", True),
    "accepted, silent": ("done", True),
    "poll": ("done", False),
    "download": ("done", False),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_job_whose_worker_is_killed_goes_on_elsewhere(played, step: str) -> None:
    seen = played(killed_at_many_steps)
    record, took_s = seen["ended"][step]
    phase, recovered = STEPS[step]
    assert (record.phase, record.recovered) == (phase, recovered), record
    assert len(seen["posts"][step]) == 1
    assert took_s < ADOPTED_S + 3


def test_a_job_claimed_by_a_worker_that_dies_runs_elsewhere(played) -> None:
    seen = played(killed_before_submit)
    assert len(seen["posts"]) == 1
    assert seen["took_s"] < ADOPTED_S


def test_an_answer_that_was_not_written_is_found_again(played) -> None:
    seen = played(killed_before_the_id_is_stored)
    assert (seen["record"].phase, seen["record"].recovered) == ("done", True)
    assert seen["record"].request_id == seen["posts"][0]["request_id"]
    assert len(seen["posts"]) == 1
    assert seen["took_s"] < ADOPTED_S


def test_a_file_that_was_saved_before_the_result_is_not_saved_twice(played) -> None:
    seen = played(killed_before_the_result_is_written)
    assert seen["record"].phase == "done", seen["record"].error
    assert len(seen["posts"]) == 1
    assert [name for name in seen["saved"] if not name.endswith(".json")] == [
        Path(seen["record"].outcome["saved_path"]).name
    ]
    assert seen["took_s"] < ADOPTED_S


def test_a_worker_that_was_only_paused_is_fenced_off_and_works_on(played) -> None:
    seen = played(paused_past_its_lease)
    assert (seen["before"].phase, seen["before"].recovered) == ("done", True)
    assert seen["after"] == seen["before"]
    assert (len(seen["posts"]), len(seen["again"])) == (1, 1)


def test_a_worker_that_was_thought_dead_still_tells_what_became_of_its_post(played) -> None:
    seen = played(paused_with_its_reply)
    assert seen["record"].outcome["status"] == "COMPLETED"
    assert (len(seen["posts"]), paid(seen["posts"])) == (1, 1)


def test_a_job_that_kills_its_workers_ends_with_its_request_id(played) -> None:
    seen = played(three_deaths)
    record = seen["record"]
    assert record.error["request_id"] == seen["posts"][0]["request_id"]
    assert "died 3 times" in record.error["message"]
    assert (len(seen["posts"]), paid(seen["posts"])) == (1, 1)


def test_a_worker_asked_to_stop_lets_jobs_end_and_asked_twice_hands_them_over(played) -> None:
    seen = played(asked_to_stop_twice)
    assert (seen["waited"], seen["code"]) == (True, 0)
    assert seen["took_s"] < 5.0
    assert (seen["record"].phase, seen["record"].deaths) == ("done", 0)
    assert len(seen["posts"]) == 1
