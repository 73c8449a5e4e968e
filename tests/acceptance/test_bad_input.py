"""Calls that cannot work: one clear line, the right exit code, nothing sent, nothing left over."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from world import Home, Run, finish, posts_of

from falq.sandbox import RunningSandbox

MODEL = "sandbox/flux/dev"
GOOD = '{"prompt": "bad input"}'


def is_refused(run: Run, home: Home, code: int, *says: str) -> None:
    assert run.code == code, (run.out, run.err)
    for text in says:
        assert text in run.error["message"] + run.error["hint"], run.error
    lines = [line for line in run.err.splitlines() if line.startswith(("error:", "hint:"))]
    assert [line.partition(":")[0] for line in lines] in (["error"], ["error", "hint"])
    assert home.saved() == []


@pytest.fixture(scope="module")
def home(sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A machine on which nothing runs; what is refused must not start anything either."""
    return Home(tmp_path_factory.mktemp("bad"), sandbox)


ARGUMENTS = {
    "broken": (["-a", '{"prompt": "a",}'], "line 1 column"),
    "cut off": (["-a", '{"prompt": "a'], "Unterminated string"),
    "no object": (["-a", "[1, 2]"], "an array: expected a JSON object"),
    "a number that is none": (["-a", '{"scale": NaN}'], "NaN"),
    "both": (["-a", GOOD, "--args-file", "x.json"], "both --args and --args-file"),
    "neither": ([], "expected --args JSON or --args-file FILE"),
    "missing file": (["--args-file", "missing.json"], "cannot read missing.json"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_that_are_none_are_refused(home: Home, name: str) -> None:
    flags, says = ARGUMENTS[name]
    run = home.falq("call", "-m", MODEL, "-o", str(home.out), *flags)
    is_refused(run, home, 2, says)
    assert not home.home.exists()


@pytest.mark.parametrize(
    "model_id", ["", "flux", "a/../b", "a//b", "fal-ai/flux/requests/x", "workflows/jane", "a/b c"]
)
def test_a_model_id_that_is_none_is_refused(home: Home, model_id: str) -> None:
    is_refused(home.falq("call", "-m", model_id, "-a", GOOD, "-o", str(home.out)), home, 2)
    assert not home.home.exists()


@pytest.mark.parametrize("way", [(), ("--no-queue",)])
def test_without_a_key_the_caller_is_refused_at_once(home: Home, way: tuple[str, ...]) -> None:
    run = home.falq(
        "call", "-m", MODEL, "-a", GOOD, "-o", str(home.out), *way, FAL_KEY="", FALQ_FAL_URL=""
    )
    is_refused(run, home, 4, "FAL_KEY")


def test_a_key_on_the_command_line_is_refused_unless_admitted(home: Home) -> None:
    line = ["call", "-m", MODEL, "-a", GOOD, "-o", str(home.out), "-k", "id:canary-secret"]
    is_refused(home.falq(*line), home, 2, "--api-key")


@pytest.mark.parametrize(
    "outside", ["../x.png", "/tmp/x.png", "a/../../x.png", "a\0b.png"[:1] + "/.."]
)
def test_an_output_file_outside_the_output_is_refused(
    home: Home, sandbox: RunningSandbox, outside: str
) -> None:
    run = home.falq("call", "-m", MODEL, "-a", GOOD, "-o", str(home.out), "-O", outside)
    is_refused(run, home, 2)
    assert posts_of(sandbox, {"prompt": "bad input"}) == []


@pytest.mark.parametrize("way", [(), ("--no-queue",)])
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_sent(
    home: Home, sandbox: RunningSandbox, way: tuple[str, ...]
) -> None:
    taken = home.root / "taken"
    taken.write_text("a file")
    for output in (str(taken), str(taken / "below"), "/proc/falq"):
        run = home.falq("call", "-m", MODEL, "-a", GOOD, "-o", output, *way)
        is_refused(run, home, 2)
    assert posts_of(sandbox, {"prompt": "bad input"}) == []


def test_settings_that_make_no_sense_name_the_variable(home: Home) -> None:
    for name, value in {
        "FAL_QUEUE_BURST": "many", "FALQ_REDIS_URL": "http://x", "FALQ_ON_QUEUE_DOWN": "maybe",
        "FALQ_FAL_URL": "nowhere",
    }.items():  # fmt: skip
        run = home.falq("call", "-m", MODEL, "-a", GOOD, "-o", str(home.out), **{name: value})
        is_refused(run, home, 2, name)


def test_a_disk_that_is_full_keeps_the_result_and_says_so(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    home = new_home()
    arguments = {"prompt": "larger than the disk"}
    falq = [sys.executable, "-m", "falq", *home.call_line(MODEL, arguments, "--no-queue")]
    process = subprocess.Popen(
        ["sh", "-c", 'ulimit -f 4; exec "$@"', "sh", *falq],
        # Python would leave truncated bytecode of falq behind, too.
        env=home.environ(PYTHONDONTWRITEBYTECODE="1"), cwd=home.root, text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    home.processes.append(process)
    run = finish(process)
    assert run.code == 7, (run.out, run.err)
    assert run.json["result"]["images"]
    assert home.saved() == []
    assert len(posts_of(sandbox, arguments)) == 1


def test_files_that_could_not_be_saved_are_fetched_later_without_a_new_call(
    shared: Home, sandbox: RunningSandbox
) -> None:
    model_id = "sandbox/flux/schnell"
    sandbox.add_fault("cdn-404", model_id=model_id, times=1)
    arguments = {"prompt": "gone for a moment"}
    run = shared.call(model_id, arguments, "-O", "later/cat.png")
    assert run.code == 7, run.err
    assert run.json["result"]["images"]
    assert f"falq result {run.error['job_id']}" in run.err
    again = shared.falq("result", run.error["job_id"])
    assert again.code == 0, again.err
    assert Path(again.json["saved_path"]) == shared.out / "later/cat.png"
    assert len(posts_of(sandbox, arguments)) == 1


def test_a_port_that_is_taken_is_told(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = home.falq("sandbox", "--port", str(port))
    assert run.code in (2, 5)
    assert str(port) in run.error["message"]


def test_a_reader_that_goes_away_changes_no_exit_code_and_shows_no_traceback(new_home):
    home = new_home()
    command = f"{sys.executable} -m falq call -m none -a '{{}}' | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=home.environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
