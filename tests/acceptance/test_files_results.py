"""Results on disk, as the users of falq get them: shapes, names, faults, partial success, logs."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from own_redis import own_redis
from world import Home, Run, posts_of, until

from falq.sandbox import RunningSandbox

FLUX = "fal-ai/flux/dev"
MIB = 1024 * 1024
PNG, GIF, WAV, GLB = "image/png", "image/gif", "audio/wav", "model/gltf-binary"
QUEUE = "--no-sync-only"
GIF_URL = "https://example.com/a.gif"
TRACK = {"id": "1", "type": "video", "keyframes": [{"timestamp": 0, "duration": 9, "url": GIF_URL}]}
#: Types of the files of each shape of result that fal has.
SHAPES: dict[str, tuple[dict[str, Any], list[str]]] = {
    FLUX: ({"prompt": "two cats", "num_images": 2}, [PNG, PNG]),
    "sandbox/clarity-upscaler": ({"image_url": "https://example.com/a.png"}, [PNG]),
    "sandbox/kling-video/v2/text-to-video": ({"prompt": "snow", "duration": "5"}, [GIF]),
    "sandbox/ffmpeg-api/compose": ({"tracks": [TRACK]}, [GIF, PNG]),
    "sandbox/tts/turbo": ({"text": "hello"}, [WAV]),
    "sandbox/stable-audio": ({"prompt": "rain", "seconds_total": 1}, [WAV]),
    "sandbox/mesh/text-to-3d": ({"prompt": "a cup"}, [GLB, PNG]),
    "sandbox/whisper": ({"audio_url": "https://example.com/a.wav"}, ["application/json"]),
    "sandbox/fault/data-uri": ({"prompt": "inline"}, [PNG]),
    "sandbox/fault/audio-url": ({"prompt": "sound"}, [WAV]),
    "sandbox/fault/nested": ({"prompt": "deep"}, [PNG, PNG, WAV]),
}
#: Faults of the media host, what of them the error says, and whether trying again may help.
DOWNLOAD_FAULTS = {
    "cdn-404": ("is not there (404)", False),
    "cdn-truncated": ("closed", True),
    "cdn-slow-loris": ("within 4 s", True),
    "cdn-hang": ("within 4 s", True),
    "cdn-redirect-loop": ("redirects more than 3 times", False),
    "cdn-redirect-to": ("169.254.169.254", False),
    "cdn-wrong-type": ("not what it should be", False),
    "cdn-gzip-bomb": ("larger than", False),
}


@pytest.fixture(scope="module")
def home(sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("files"), sandbox, {"FALQ_DOWNLOAD_TIMEOUT_S": "4"})
    assert made.falq("up").code == 0
    yield made
    made.close()


@pytest.fixture
def out(home: Home, tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def call(home: Home, out: Path) -> Callable[..., Run]:
    def made(model_id: str, arguments: dict[str, Any], *more: str) -> Run:
        line = ["call", "-m", model_id, "-a", json.dumps(arguments), "-o", str(out), "-q", *more]
        return home.falq(*line)

    return made


def names(directory: Path) -> list[str]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(directory)) for path in found)


def check_files(shown: dict[str, Any]) -> None:
    """What is told of the files is what lies on the disk."""
    assert shown["status"] == "COMPLETED"
    assert shown["saved_paths"] == [file["path"] for file in shown["files"]]
    assert shown["saved_path"] == shown["saved_paths"][0]
    for file in shown["files"]:
        content = Path(file["path"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )


@pytest.mark.parametrize("model_id", SHAPES)
def test_files_of_every_shape_of_result_are_saved(call: Callable[..., Run], model_id: str) -> None:
    arguments, types = SHAPES[model_id]
    run = call(model_id, arguments)
    assert run.code == 0, run
    check_files(run.json)
    assert [file["content_type"] for file in run.json["files"]] == types


def test_auto_filename_is_request_id_timestamp_and_extension(
    call: Callable[..., Run], out: Path
) -> None:
    shown = call(FLUX, {"prompt": "auto", "num_images": 2}, "--auto-filename", "--no-sidecar").json
    first, second = sorted(names(out), key=len)
    found = re.fullmatch(re.escape(shown["request_id"]) + r"_(\d{14})\.png", first)
    assert found is not None
    assert second == f"{shown['request_id']}_{found[1]}_2.png"


def test_output_file_names_the_first_file_and_counts_the_others(
    call: Callable[..., Run], out: Path
) -> None:
    more = ("-O", "sub/cat.png", "--no-sidecar")
    check_files(call(FLUX, {"prompt": "o", "num_images": 3}, *more).json)
    assert names(out) == ["sub/cat-2.png", "sub/cat-3.png", "sub/cat.png"]


def test_a_file_of_another_call_is_never_written_over(call: Callable[..., Run], out: Path) -> None:
    first = call(FLUX, {"prompt": "first"}, "-O", "cat.png").json["files"][0]
    second = call(FLUX, {"prompt": "second"}, "-O", "cat.png").json["files"][0]
    assert (Path(first["path"]).name, Path(second["path"]).name) == ("cat.png", "cat-2.png")
    assert hashlib.sha256((out / "cat.png").read_bytes()).hexdigest() == first["sha256"]


@pytest.mark.parametrize(
    "output_file", ["../cat.png", "/etc/cat.png", "sub/../../cat.png", "CON.png", "link.png"]
)
def test_an_output_file_outside_the_output_is_refused_before_anything_is_sent(
    call: Callable[..., Run], sandbox: RunningSandbox, out: Path, output_file: str
) -> None:
    out.mkdir()
    (out / "link.png").symlink_to(out.parent / "elsewhere.png")
    arguments = {"prompt": f"outside {output_file}"}
    run = call(FLUX, arguments, "-O", output_file)
    assert (run.code, run.error["type"]) == (2, "UsageError")
    assert posts_of(sandbox, arguments) == []
    assert names(out.parent) == []


def test_hostile_names_of_fals_become_no_paths(call: Callable[..., Run], out: Path) -> None:
    shown = call("sandbox/fault/hostile-name", {"prompt": "names"}, "--no-sidecar").json
    check_files(shown)
    assert all(re.fullmatch(r"[a-z-]+-[0-9a-f]{8}-\d+\.png", name) for name in names(out))
    assert len(names(out.parent)) == len(shown["files"])


@pytest.mark.parametrize("fault", DOWNLOAD_FAULTS)
def test_a_file_that_cannot_be_fetched_leaves_nothing_but_the_result(
    home: Home, call: Callable[..., Run], sandbox: RunningSandbox, out: Path, fault: str
) -> None:
    says, retryable = DOWNLOAD_FAULTS[fault]
    arguments = {"prompt": f"download {fault}"}
    size = {"bytes": 128 * MIB} if fault == "cdn-gzip-bomb" else {}
    rule = sandbox.add_fault(fault, model_id="sandbox/flux/dev", op="cdn", **size)
    run = call("sandbox/flux/dev", arguments)
    rule.times = 0
    assert (run.code, run.error["type"]) == (7, "DownloadError"), run
    assert says in run.error["message"], run.error
    assert (run.error["retryable"], run.error["may_be_billed"]) == (retryable, True)
    assert run.json["result"]["images"][0]["url"]
    assert names(out) == []
    again = home.falq("result", run.error["job_id"])
    assert again.code == 0, again
    check_files(again.json)
    assert len(posts_of(sandbox, arguments)) == 1


def test_a_direct_call_whose_file_could_not_be_fetched_is_fetched_later(
    home: Home, call: Callable[..., Run], sandbox: RunningSandbox, out: Path, tmp_path: Path
) -> None:
    model_id, arguments = "sandbox/flux/dev", {"prompt": "direct"}
    sandbox.add_fault("cdn-404", model_id=model_id, op="cdn", times=2)
    run = call(model_id, arguments, "--no-queue")
    assert (run.code, run.json["result"]["images"] != []) == (7, True)
    assert home.falq("result", run.error["job_id"]).code == 7
    again = home.falq("result", run.error["job_id"], "-o", str(tmp_path / "elsewhere"))
    check_files(again.json)
    assert len(posts_of(sandbox, arguments)) == 1
    assert home.falq("result", run.error["job_id"]).code == 2


def test_a_direct_call_that_ran_out_of_time_is_fetched_later(
    home: Home, call: Callable[..., Run], sandbox: RunningSandbox
) -> None:
    model_id, arguments = "sandbox/flux/dev", {"prompt": "direct and late"}
    rule = sandbox.add_fault("unknown-status", model_id=model_id, op="status", times=9)
    polls = ("--poll-interval", "0.01", "--max-polls", "2")
    run = call(model_id, arguments, "--no-queue", *polls)
    rule.times = 0
    assert (run.code, run.error["type"]) == (5, "JobTimeoutError"), run
    again = home.falq("result", run.error["job_id"])
    assert again.code == 0, again
    check_files(again.json)
    assert len(posts_of(sandbox, arguments)) == 1


@pytest.mark.parametrize("fault", ["file-url", "private-url"])
def test_an_address_that_must_not_be_asked_is_refused(call: Callable[..., Run], fault: str) -> None:
    run = call(f"sandbox/fault/{fault}", {"prompt": fault})
    assert (run.code, run.error["retryable"]) == (7, False)
    assert run.json["result"]["images"]


def test_a_server_error_that_passes_is_no_failure(
    call: Callable[..., Run], sandbox: RunningSandbox
) -> None:
    rule = sandbox.add_fault("cdn-500-then-ok", model_id="sandbox/flux/schnell", op="cdn")
    run = call("sandbox/flux/schnell", {"prompt": "passing"})
    rule.times = 0
    check_files(run.json)


def test_a_file_of_100_mib_is_saved_and_one_byte_more_is_not(
    call: Callable[..., Run], sandbox: RunningSandbox, out: Path
) -> None:
    model_id = "sandbox/flux/schnell"
    rule = sandbox.add_fault("cdn-size", model_id=model_id, op="cdn", bytes=100 * MIB)
    largest = call(model_id, {"prompt": "largest"}, "--no-sidecar")
    rule.times = 0
    assert largest.json["files"][0]["bytes"] == 100 * MIB
    before = names(out)
    rule = sandbox.add_fault("cdn-size", model_id=model_id, op="cdn", bytes=100 * MIB + 1)
    larger = call(model_id, {"prompt": "larger"})
    rule.times = 0
    assert (larger.code, larger.error["retryable"]) == (7, False)
    assert "the limit of 104,857,600 bytes" in larger.error["message"]
    assert larger.json["result"]["images"]
    assert names(out) == before


def test_seven_of_eight_files_are_told_and_kept(
    home: Home, call: Callable[..., Run], out: Path
) -> None:
    run = call("sandbox/fault/eight-images", {"prompt": "eight"})
    assert run.code == 7
    assert "1 of 8 files could not be saved: images[5]" in run.error["message"]
    assert [failure["field"] for failure in run.error["detail"]] == ["images[5]"]
    assert len(run.json["files"]) == 7
    assert len(run.json["result"]["images"]) == 8
    assert sorted(Path(file["path"]).name for file in run.json["files"]) == [
        name for name in names(out) if name.endswith(".png")
    ]
    assert home.job(run.error["job_id"])["phase"] == "failed"


@pytest.mark.parametrize("sidecar", [(), ("--no-sidecar",)], ids=["sidecars", "none"])
def test_the_rest_of_a_result_is_fetched_without_a_new_call(
    home: Home, call: Callable[..., Run], sandbox: RunningSandbox, out: Path, sidecar: tuple[str]
) -> None:
    model_id, arguments = "sandbox/flux/dev", {"prompt": f"rest {sidecar}", "num_images": 4}
    sandbox.add_fault("cdn-404", model_id=model_id, op="cdn", times=1)
    run = call(model_id, arguments, *sidecar)
    assert (run.code, len(run.json["files"])) == (7, 3)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    fetched = len([each for each in sandbox.log() if each["op"] == "cdn"])
    for _ in range(2):
        again = home.falq("result", run.error["job_id"])
        assert again.code == 0, again
        check_files(again.json)
        assert len(again.json["files"]) == 4
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert before.items() <= after.items()
    assert len(after) == 4
    asked = len([each for each in sandbox.log() if each["op"] == "cdn"]) - fetched
    assert asked == (1 if not sidecar else 2)
    assert len(posts_of(sandbox, arguments)) == 1


def test_a_result_is_copied_elsewhere_though_fal_has_it_no_more(
    home: Home, call: Callable[..., Run], sandbox: RunningSandbox, tmp_path: Path
) -> None:
    shown = call("sandbox/flux/dev", {"prompt": "copied"}).json
    rule = sandbox.add_fault("cdn-404", model_id="sandbox/flux/dev", op="cdn")
    run = home.falq("result", shown["job_id"], "-o", str(tmp_path / "elsewhere"))
    rule.times = 0
    check_files(run.json)
    assert run.json["files"][0]["sha256"] == shown["files"][0]["sha256"]
    assert Path(run.json["saved_path"]).parent == tmp_path / "elsewhere"


def test_a_sidecar_tells_which_call_made_a_file(call: Callable[..., Run], out: Path) -> None:
    shown = call(FLUX, {"prompt": "told"}).json
    told = json.loads(Path(f"{shown['saved_path']}.json").read_text())
    assert told["arguments"] == {"prompt": "told"}
    for name in ("model_id", "request_id", "job_id", "billable_units"):
        assert told[name] == shown[name]
    assert (told["sha256"], told["sandbox"]) == (shown["files"][0]["sha256"], True)
    bare = call(FLUX, {"prompt": "bare"}, "--no-sidecar").json
    assert not Path(f"{bare['saved_path']}.json").exists()


@pytest.mark.parametrize("way", ["queue", "direct"])
def test_logs_are_saved_each_line_once(call: Callable[..., Run], out: Path, way: str) -> None:
    more = ("--no-queue",) if way == "direct" else (QUEUE, "--poll-interval", "0.05")
    shown = call(FLUX, {"prompt": f"logs {way}"}, "--save-logs", "--save-logs-inline", *more).json
    log = Path(shown["log_path"])
    assert log.parent == out / "logs"
    lines = log.read_text().splitlines()
    assert [line.rpartition("falq sandbox: ")[2] for line in lines] == [
        f"{FLUX} starts",
        "done",
    ]
    assert Path(shown["saved_path"]).with_suffix(".log").read_text() == log.read_text()
    assert [line["message"] for line in shown["logs"]] == [
        f"falq sandbox: {FLUX} starts",
        "falq sandbox: done",
    ]


def test_a_sync_run_that_tells_no_logs_saves_none_and_says_so(home: Home, out: Path) -> None:
    line = ["call", "-m", FLUX, "-a", '{"prompt": "silent"}', "-o", str(out)]
    run = home.falq(*line, "--sync-only", "--save-logs")
    assert "log_path" not in run.json
    assert "fal's sync API gives none" in run.err
    assert not (out / "logs").exists()


def test_files_have_the_permissions_of_their_caller_not_of_the_worker(
    call: Callable[..., Run], out: Path
) -> None:
    shown = call(FLUX, {"prompt": "mode"}, "--no-sync-only", "--save-logs").json
    assert Path(shown["saved_path"]).stat().st_mode & 0o777 == 0o644
    assert Path(shown["log_path"]).parent.stat().st_mode & 0o777 == 0o755


def test_a_detached_job_leaves_nothing_of_the_meeting_behind(home: Home, out: Path) -> None:
    line = ["submit", "-m", FLUX, "-o", str(out), "--no-sidecar", "-a"]
    ticket = home.falq(*line, '{"prompt": "detached"}').json
    until(lambda: home.job(ticket["job_id"])["phase"] == "done")
    until(lambda: len(names(out)) == 1)
    assert names(out)[0].endswith(".png")
    failing = ["submit", "-m", "sandbox/fault/422", "-o", str(out), "-a", '{"prompt": "x"}']
    ticket = home.falq(*failing).json
    until(lambda: home.job(ticket["job_id"])["phase"] == "failed")
    until(lambda: len(names(out)) == 1)


def test_a_call_that_attaches_or_is_cancelled_leaves_no_nonce(home: Home, out: Path) -> None:
    limits = {"FAL_QUEUE_MAX_CONCURRENT": "1", "FAL_QUEUE_START_INTERVAL": "600"}
    line = ["submit", "-m", "sandbox/flux-lora", "-o", str(out), "--no-sidecar", "-a"]
    home.falq(*line, '{"prompt": "starts"}', **limits)
    until(lambda: len(names(out)) == 1)
    waits = home.falq(*line, '{"prompt": "waits"}', **limits).json
    attached = home.falq(*line, '{"prompt": "waits"}', **limits).json
    assert (attached["job_id"], attached["deduplicated"]) == (waits["job_id"], True)
    assert len([name for name in names(out) if name.startswith(".falq-")]) == 1
    assert home.falq("cancel", waits["job_id"]).json["status"] == "cancelled"
    assert not [name for name in names(out) if name.startswith(".falq-")]


def _kilobytes(pid: int, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1])  # type: ignore[index]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux' /proc")
def test_a_worker_needs_little_memory_for_a_large_file(
    new_home: Callable[..., Home], sandbox: RunningSandbox
) -> None:
    # On a Redis of its own, so that no caller starts a second worker in the background.
    with own_redis() as socket:
        home = new_home(FALQ_REDIS_URL=f"unix://{socket}")
        worker = home.start_worker()
        for prompt in ("warm", "warmer"):
            assert home.call(FLUX, {"prompt": prompt}).code == 0
        Path(f"/proc/{worker.pid}/clear_refs").write_text("5")
        before_kb = _kilobytes(worker.pid, "VmRSS")
        rule = sandbox.add_fault("cdn-size", op="cdn", model_id=FLUX, bytes=100 * MIB)
        run = home.call(FLUX, {"prompt": "large"})
        rule.times = 0
        assert run.json["files"][0]["bytes"] == 100 * MIB
        extra_kb = _kilobytes(worker.pid, "VmHWM") - before_kb
        assert 0 < extra_kb < 20_000
        home.close()
