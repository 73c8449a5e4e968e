"""Caller and worker on two machines that share a Redis and, mostly, no directory.

A machine is a home in a mount namespace of its own, in which the other machine's directory is
an empty one: what a process reads or writes there, the other never sees.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from own_redis import own_redis
from redis import Redis
from world import Home, Run, posts_of, until

from falq.sandbox import RunningSandbox

FLUX = "sandbox/flux/dev"
#: Hides the directories before ``--`` and then becomes the command.
_HIDE = """
while [ "$1" != -- ]; do mount -t tmpfs none "$1" && mkdir -p "$1/out" || exit 99; shift; done
shift; exec "$@"
"""


def _apart() -> list[str]:
    """Give what starts a command in a mount namespace of its own."""
    own_user = [] if os.geteuid() == 0 else ["-r"]
    return ["unshare", "-m", *own_user]


def _may_be_apart() -> bool:
    tried = [*_apart(), "mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
    try:
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(
    not _may_be_apart(), reason="this system lets us make no mount namespaces"
)


@dataclass
class Machine(Home):
    """A home whose processes see nothing of other machines' directories."""

    hidden: Sequence[Path] = ()

    def prefix(self) -> list[str]:
        return [*_apart(), "sh", "-c", _HIDE, "sh", *map(str, self.hidden), "--"]

    def start(self, *args: str, **env: str) -> "subprocess.Popen[str]":
        environ = {name: text for name, text in self.environ(**env).items() if text}
        process = subprocess.Popen(
            [*self.prefix(), sys.executable, "-m", "falq", *args],
            env=environ, cwd=self.root, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def start_worker(self, **env: str) -> "subprocess.Popen[str]":
        with (self.root / "worker.log").open("w") as log:
            process = subprocess.Popen(
                [*self.prefix(), sys.executable, "-m", "falq", "worker"],
                env=self.environ(**env), cwd=self.root, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    @property
    def spooled(self) -> list[str]:
        spool = self.home / "spool"
        return sorted(path.name for path in spool.iterdir()) if spool.exists() else []


@dataclass(frozen=True)
class Pair:
    """A caller's and a worker's machine, and the Redis between them."""

    caller: Machine
    worker: Machine
    redis: Redis
    common: Path


@pytest.fixture(scope="module")
def redis_socket() -> Iterator[Path]:
    with own_redis() as socket:
        yield socket


@pytest.fixture(scope="module")
def pair(
    sandbox: RunningSandbox, redis_socket: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    roots = [tmp_path_factory.mktemp(name) for name in ("caller", "worker", "common")]
    # Not 127.0.0.1, which would give a keyless caller the sandbox's own key.
    origin = sandbox.url.replace("127.0.0.1", "127.1")
    env = {"FALQ_REDIS_URL": f"unix://{redis_socket}", "FALQ_FAL_URL": origin}
    caller = Machine(roots[0], sandbox, env, hidden=[roots[1]])
    worker = Machine(roots[1], sandbox, env, hidden=[roots[0]])
    worker.start_worker()
    with Redis(unix_socket_path=str(redis_socket)) as redis:
        until(lambda: redis.keys("falq:alive:*"))
        yield Pair(caller, worker, redis, roots[2])
    caller.close()
    worker.close()


@pytest.fixture(autouse=True)
def no_faults(sandbox: RunningSandbox) -> Iterator[None]:
    yield
    sandbox.clear_faults()


@pytest.fixture
def out(pair: Pair, request: pytest.FixtureRequest) -> Path:
    """An output directory on the caller's machine that no other test uses."""
    return pair.caller.root / f"out-{request.node.name.replace('/', '-')}"


@pytest.fixture
def call(pair: Pair, out: Path) -> Callable[..., Run]:
    def made(arguments: dict[str, Any], *more: str, model_id: str = FLUX, **env: str) -> Run:
        line = ["call", "-m", model_id, "-a", json.dumps(arguments), "-o", str(out), "-q", *more]
        return pair.caller.falq(*line, **env)

    return made


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


def downloads(sandbox: RunningSandbox) -> int:
    return sum(1 for each in sandbox.log() if each["op"] == "cdn")


def check_files(shown: dict[str, Any], directory: Path) -> None:
    assert shown["status"] == "COMPLETED"
    for file in shown["files"]:
        path = Path(file["path"])
        assert path.is_relative_to(directory)
        digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
        assert digest.stdout.split()[0] == file["sha256"]
        assert path.stat().st_size == file["bytes"]


def submitted(pair: Pair, out: Path, arguments: dict[str, Any], model_id: str = FLUX) -> str:
    """Submit a job from the caller's machine, wait until it has ended, and give its id."""
    line = ["submit", "-m", model_id, "-o", str(out), "-a", json.dumps(arguments)]
    job_id: str = pair.caller.falq(*line).json["job_id"]
    until(lambda: pair.redis.hget(f"falq:job:{job_id}", "phase") in (b"done", b"failed"))
    return job_id


def test_a_far_caller_gets_its_files_in_the_same_shape(
    call: Callable[..., Run], pair: Pair, out: Path, sandbox: RunningSandbox
) -> None:
    before = downloads(sandbox)
    far = call({"prompt": "far", "num_images": 2}).json
    check_files(far, out)
    assert downloads(sandbox) - before == 4
    near = call({"prompt": "far", "num_images": 2}, "-o", str(pair.common / "near")).json
    assert downloads(sandbox) - before == 6
    assert far.keys() == near.keys()
    assert [each["sha256"] for each in far["files"]] == [each["sha256"] for each in near["files"]]
    assert far["timings"].keys() == near["timings"].keys()
    assert far["timings"]["total_s"] < 30
    assert not [name for name in names(out) if name.startswith(".")]
    told = json.loads(Path(f"{far['saved_path']}.json").read_text())
    assert told["job_id"] == far["job_id"]


def test_a_common_directory_is_written_by_the_worker_alone(
    call: Callable[..., Run], pair: Pair, sandbox: RunningSandbox
) -> None:
    before = downloads(sandbox)
    shown = call({"prompt": "common"}, "-o", str(pair.common / "written")).json
    check_files(shown, pair.common)
    assert downloads(sandbox) - before == 1
    assert shown["job_id"] not in pair.worker.spooled


def test_the_workers_copy_goes_when_its_caller_has_the_files(
    call: Callable[..., Run], pair: Pair, out: Path
) -> None:
    kept = submitted(pair, out, {"prompt": "kept"})
    assert kept in pair.worker.spooled
    fetched = call({"prompt": "emptied"}).json["job_id"]
    until(lambda: fetched not in pair.worker.spooled)
    assert kept in pair.worker.spooled
    assert pair.caller.falq("result", kept).code == 0
    until(lambda: kept not in pair.worker.spooled)


def test_who_went_away_fetches_later_from_either_machine(
    pair: Pair, out: Path, sandbox: RunningSandbox
) -> None:
    arguments = {"prompt": "later", "num_images": 2}
    job_id = submitted(pair, out, arguments)
    assert not [name for name in names(out) if name.endswith(".png")]
    here = pair.caller.falq("result", job_id, "-o", str(out / "mine"))
    check_files(here.json, out / "mine")
    assert not [name for name in names(out) if name.startswith(".falq-")]
    there = pair.worker.falq("result", job_id, "-o", str(pair.worker.root / "theirs"))
    check_files(there.json, pair.worker.root / "theirs")
    assert len(posts_of(sandbox, arguments)) == 1


def test_the_workers_machine_has_the_files_though_fal_has_them_no_more(
    pair: Pair, out: Path, sandbox: RunningSandbox
) -> None:
    job_id = submitted(pair, out, {"prompt": "spooled"})
    sandbox.add_fault("cdn-404", op="cdn")
    there = pair.worker.falq("result", job_id, "-o", str(pair.worker.root / "spare"))
    check_files(there.json, pair.worker.root / "spare")


def test_a_file_that_changed_since_the_worker_saw_it_is_refused(
    pair: Pair, out: Path, sandbox: RunningSandbox
) -> None:
    job_id = submitted(pair, out, {"prompt": "changed"})
    sandbox.add_fault("cdn-size", op="cdn", bytes=1000)
    run = pair.caller.falq("result", job_id)
    assert (run.code, run.error["type"]) == (7, "DownloadError")
    assert "sha256 differs" in run.error["message"]
    assert not [name for name in names(out) if name.endswith(".png")]
    sandbox.clear_faults()
    check_files(pair.caller.falq("result", job_id).json, out)


def test_what_a_far_caller_cannot_fetch_is_told_and_fetched_later(
    pair: Pair, out: Path, sandbox: RunningSandbox
) -> None:
    arguments = {"prompt": "partly", "num_images": 4}
    job_id = submitted(pair, out, arguments)
    sandbox.add_fault("cdn-404", op="cdn", model_id=FLUX, times=1)
    run = pair.caller.falq("wait", job_id)
    assert (run.code, len(run.json["files"])) == (7, 3)
    assert run.json["result"]["images"]
    again = pair.caller.falq("result", job_id)
    check_files(again.json, out)
    assert len(again.json["files"]) == 4
    assert len(posts_of(sandbox, arguments)) == 1


def test_a_job_whose_files_the_worker_cannot_fetch_is_the_callers_to_judge(
    call: Callable[..., Run], pair: Pair, out: Path, sandbox: RunningSandbox
) -> None:
    sandbox.add_fault("cdn-404", op="cdn", model_id=FLUX, times=2)
    shown = call({"prompt": "the worker cannot", "num_images": 2}).json
    check_files(shown, out)
    assert len(shown["files"]) == 2


def test_a_keyless_caller_is_served_on_the_workers_account(
    call: Callable[..., Run], out: Path, sandbox: RunningSandbox
) -> None:
    arguments = {"prompt": "keyless"}
    shown = call(arguments, FAL_KEY="").json
    check_files(shown, out)
    assert len(posts_of(sandbox, arguments)) == 1
    refused = call(arguments, "--no-queue", FAL_KEY="")
    assert (refused.code, refused.error["type"]) == (4, "MissingKeyError")


@pytest.mark.parametrize("mode", ["--sync-only", "--no-sync-only"])
def test_files_inside_the_result_travel_with_it(
    call: Callable[..., Run], out: Path, mode: str
) -> None:
    arguments = {"prompt": "inside", "sync_mode": True, "num_images": 2, "image_size": "square"}
    shown = call(arguments, mode).json
    check_files(shown, out)
    assert len({file["sha256"] for file in shown["files"]}) == 2
    assert all(len(file["url"]) < 100 for file in shown["files"])


def test_a_text_result_travels_too(call: Callable[..., Run], out: Path) -> None:
    arguments = {"audio_url": "https://example.com/a.wav"}
    shown = call(arguments, model_id="sandbox/whisper").json
    check_files(shown, out)
    assert json.loads(Path(shown["saved_path"]).read_text()) == shown["result"]


def test_logs_travel_to_the_callers_directory(call: Callable[..., Run], out: Path) -> None:
    shown = call({"prompt": "logs"}, "--no-sync-only", "--save-logs", "--save-logs-inline").json
    log = Path(shown["log_path"])
    assert log.parent == out / "logs"
    lines = [line.rpartition("falq sandbox: ")[2] for line in log.read_text().splitlines()]
    assert lines == [f"{FLUX} starts", "done"]
    assert Path(shown["saved_path"]).with_suffix(".log").read_text() == log.read_text()
    assert len(shown["logs"]) == 2


def test_a_caller_that_was_killed_while_it_fetched_is_not_charged_again(
    pair: Pair, out: Path, sandbox: RunningSandbox
) -> None:
    arguments = {"prompt": "killed while fetching"}
    job_id = submitted(pair, out, arguments)
    sandbox.add_fault("cdn-slow-loris", op="cdn", model_id=FLUX)
    line = ["call", "-m", FLUX, "-a", json.dumps(arguments), "-o", str(out), "-q"]
    killed = pair.caller.start(*line)
    until(lambda: [name for name in names(out) if name.endswith(".part")])
    killed.kill()
    killed.communicate()
    sandbox.clear_faults()
    again = pair.caller.falq(*line)
    check_files(again.json, out)
    assert (again.json["job_id"], again.json["deduplicated"]) == (job_id, True)
    assert len(posts_of(sandbox, arguments)) == 1
    assert not [name for name in names(out) if name.startswith(".")]
