"""Disks that are full and directories that may not be written, by the caller or the worker."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from own_redis import own_redis
from world import Home, Run, finish, posts_of, until

from falq.sandbox import RunningSandbox

FLUX = "sandbox/flux/dev"
MIB = 1024 * 1024
#: A user who owns nothing; root may write anywhere and proves little.
NOBODY = 65534

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount tiny file systems; what was mounted goes with the test."""
    mounted: list[Path] = []

    def made(path: Path, options: str = "size=1m") -> Path:
        path.mkdir(exist_ok=True, parents=True)
        line = ["mount", "-t", "tmpfs", "-o", options, "none", str(path)]
        if subprocess.run(line, capture_output=True, check=False).returncode:
            pytest.skip("this system lets us mount nothing")
        mounted.append(path)
        return path

    yield made
    for path in reversed(mounted):
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def home(new_home: Callable[..., Home]) -> Home:
    made = new_home()
    assert made.falq("up").code == 0
    return made


@pytest.fixture
def idle(new_home: Callable[..., Home]) -> Iterator[Home]:
    """A home for which no worker works unless the test starts one."""
    with own_redis() as socket:
        yield new_home(FALQ_REDIS_URL=f"unix://{socket}")


@pytest.fixture
def large(sandbox: RunningSandbox) -> Iterator[int]:
    """Let every file of the model have 2 MiB."""
    rule = sandbox.add_fault("cdn-size", op="cdn", model_id=FLUX, bytes=2 * MIB)
    yield 2 * MIB
    rule.times = 0


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


def check_saved(run: Run, directory: Path, size: int) -> None:
    assert run.code == 0, run
    (file,) = run.json["files"]
    assert Path(file["path"]).is_relative_to(directory)
    assert Path(file["path"]).stat().st_size == file["bytes"] == size


@pytest.mark.parametrize("way", ["worker", "direct"])
def test_a_full_disk_costs_a_file_and_no_second_call(
    home: Home, mount: Mount, sandbox: RunningSandbox, large: int, tmp_path: Path, way: str
) -> None:
    full = mount(tmp_path / "full")
    arguments = {"prompt": f"full disk {way}"}
    more = ["--no-queue"] if way == "direct" else []
    run = home.call(FLUX, arguments, "-o", str(full), *more)
    assert (run.code, run.error["type"]) == (7, "OutputError")
    assert "disk full" in run.error["message"]
    assert run.json["result"]["images"]
    assert names(full) == []
    if way == "worker":
        elsewhere = tmp_path / "elsewhere"
        check_saved(
            home.falq("result", run.error["job_id"], "-o", str(elsewhere)), elsewhere, large
        )
    assert len(posts_of(sandbox, arguments)) == 1


def test_a_disk_that_was_full_may_be_tried_again(
    home: Home, mount: Mount, sandbox: RunningSandbox, large: int, tmp_path: Path
) -> None:
    full = mount(tmp_path / "full", "size=3m")
    (full / "ballast").write_bytes(bytes(2 * MIB))
    run = home.call(FLUX, {"prompt": "made room"}, "-o", str(full))
    assert run.code == 7
    (full / "ballast").unlink()
    check_saved(home.falq("result", run.error["job_id"]), full, large)


def test_the_same_call_after_a_full_disk_gets_the_files_that_are_paid_for(
    home: Home, mount: Mount, sandbox: RunningSandbox, large: int, tmp_path: Path
) -> None:
    full = mount(tmp_path / "full", "size=3m")
    (full / "ballast").write_bytes(bytes(2 * MIB))
    arguments = {"prompt": "paid once"}
    first = home.call(FLUX, arguments, "-o", str(full))
    assert (first.code, first.error["retryable"]) == (7, True)
    (full / "ballast").unlink()
    again = home.call(FLUX, arguments, "-o", str(full))
    check_saved(again, full, large)
    assert (again.json["job_id"], again.json["deduplicated"]) == (first.error["job_id"], True)
    assert len(posts_of(sandbox, arguments)) == 1


def test_the_same_call_after_a_file_that_nobody_can_have_is_a_new_one(
    home: Home, sandbox: RunningSandbox
) -> None:
    arguments = {"prompt": "another chance"}
    sandbox.add_fault("cdn-404", op="cdn", model_id="sandbox/flux-lora", times=1)
    first = home.call("sandbox/flux-lora", arguments)
    assert (first.code, first.error["retryable"]) == (7, False)
    again = home.call("sandbox/flux-lora", arguments)
    assert (again.code, again.json["deduplicated"]) == (0, False)
    assert len(posts_of(sandbox, arguments)) == 2


@pytest.mark.parametrize("kind", ["read-only", "a file", "below a file", "full of inodes"])
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_sent(
    home: Home, mount: Mount, sandbox: RunningSandbox, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out"
    if kind == "read-only":
        mount(out, "ro")
    elif kind == "full of inodes":
        mount(out, "nr_inodes=1")
    else:
        out.write_text("a file")
        out = out / "below" if kind == "below a file" else out
    requests = len(sandbox.log())
    run = home.call(FLUX, {"prompt": f"refused {kind}"}, "-o", str(out))
    assert (run.code, run.error["type"], run.error["may_be_billed"]) == (2, "UsageError", False)
    assert str(out) in run.error["message"]
    assert len(sandbox.log()) == requests
    assert json.loads(home.falq("jobs").out) == []


def test_an_output_that_became_read_only_is_the_callers_to_choose_anew(
    idle: Home, mount: Mount, tmp_path: Path
) -> None:
    out = mount(tmp_path / "out")
    line = ["submit", "-m", "sandbox/flux/schnell", "-o", str(out), "-a", '{"prompt": "ro"}']
    job_id = idle.falq(*line).json["job_id"]
    subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
    idle.start_worker()
    until(lambda: idle.job(job_id)["phase"] == "done")
    run = idle.falq("wait", job_id)
    assert (run.code, run.error["type"]) == (7, "OutputError")
    assert "read-only" in run.error["message"]
    elsewhere = idle.falq("result", job_id, "-o", str(tmp_path / "elsewhere"))
    assert elsewhere.code == 0, elsewhere
    subprocess.run(["mount", "-o", "remount,rw", str(out)], check=True)
    assert idle.falq("result", job_id).code == 0
    assert len([name for name in names(out) if name.endswith(".png")]) == 1


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A directory of somebody else, which only root's privileges open."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can give a directory away and its own privileges up")
    path = tmp_path / "foreign"
    path.mkdir(mode=0o755)
    os.chown(path, NOBODY, NOBODY)
    return path


def start_unprivileged(home: Home, *args: str) -> "subprocess.Popen[str]":
    """Start a falq command that may write its own files only."""
    process = subprocess.Popen(
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--",
         sys.executable, "-m", "falq", *args],
        env=home.environ(), cwd=home.root, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    home.processes.append(process)
    return process


def test_a_directory_of_somebody_else_is_refused_before_anything_is_sent(
    home: Home, sandbox: RunningSandbox, foreign: Path
) -> None:
    requests = len(sandbox.log())
    line = home.call_line(FLUX, {"prompt": "somebody else's"}, "-o", str(foreign))
    run = finish(start_unprivileged(home, *line))
    assert (run.code, run.error["type"]) == (2, "UsageError")
    assert "permission denied" in run.error["message"]
    assert len(sandbox.log()) == requests


def test_what_the_worker_may_not_write_its_caller_fetches(idle: Home, foreign: Path) -> None:
    line = ["submit", "-m", FLUX, "-o", str(foreign), "-a", '{"prompt": "unprivileged"}']
    job_id = idle.falq(*line).json["job_id"]
    start_unprivileged(idle, "worker")
    until(lambda: idle.job(job_id)["phase"] == "done")
    assert [name for name in names(foreign) if not name.startswith(".")] == []
    run = idle.falq("wait", job_id)
    assert run.code == 0, run
    assert Path(run.json["saved_path"]).parent == foreign
    assert not [name for name in names(foreign) if name.startswith(".")]


def test_a_full_spool_does_not_keep_files_from_a_far_caller(
    idle: Home, mount: Mount, large: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    idle.home.mkdir(mode=0o700)
    spool = mount(idle.home / "spool", "size=1m,mode=0700")
    line = ["submit", "-m", FLUX, "-o", str(out), "-a", '{"prompt": "full spool"}']
    job_id = idle.falq(*line).json["job_id"]
    # Without what the caller left there, the worker takes the directory for one far away.
    for nonce in out.glob(".falq-*"):
        nonce.unlink()
    idle.start_worker()
    until(lambda: idle.job(job_id)["phase"] == "done")
    assert names(spool) == []
    check_saved(idle.falq("result", job_id), out, large)


def test_no_job_is_claimed_while_the_disk_of_the_worker_is_full(
    idle: Home, mount: Mount, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    mount(idle.home, "size=64m,mode=0700")
    ballast = idle.home / "ballast"
    ballast.write_bytes(bytes(63 * MIB))
    worker = idle.start_worker()
    arguments = {"prompt": "no room"}
    line = ["submit", "-m", FLUX, "-o", str(tmp_path / "out"), "-a", json.dumps(arguments)]
    job_id = idle.falq(*line).json["job_id"]
    time.sleep(3)
    assert (idle.job(job_id)["phase"], posts_of(sandbox, arguments)) == ("queued", [])
    ballast.unlink()
    until(lambda: idle.job(job_id)["phase"] == "done")
    assert worker.poll() is None


def test_temporary_files_of_a_killed_worker_are_cleared_by_the_next_attempt(
    idle: Home, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    worker = idle.start_worker()
    rule = sandbox.add_fault("cdn-slow-loris", op="cdn", model_id="sandbox/flux-lora")
    line = ["submit", "-m", "sandbox/flux-lora", "-o", str(out), "-a", '{"prompt": "killed"}']
    job_id: Any = idle.falq(*line).json["job_id"]
    until(lambda: [name for name in names(out) if name.endswith(".part")])
    worker.kill()
    worker.wait()
    rule.times = 0
    idle.start_worker()
    until(lambda: idle.job(job_id)["phase"] == "done", wait_s=40)
    kinds = sorted(Path(name).suffix for name in names(out))
    assert kinds == [".json", ".png"]
