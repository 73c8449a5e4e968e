"""Local files given to models: uploaded once, or refused before anything is sent."""

import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from world import Home, Run, finish, posts_of

from falq.sandbox import RunningSandbox

MODEL = "sandbox/flux/image-to-image"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + bytes(40)
#: A few bytes of each kind, and the type under which they must be uploaded.
KINDS = {
    "a.png": (PNG, "image/png"),
    "a.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(40), "image/jpeg"),
    "a.gif": (b"GIF89a" + bytes(40), "image/gif"),
    "a.webp": (b"RIFF\x30\0\0\0WEBPVP8 " + bytes(40), "image/webp"),
    "a.mp3": (b"ID3\x04" + bytes(40), "audio/mpeg"),
    "a.wav": (b"RIFF\x30\0\0\0WAVEfmt " + bytes(40), "audio/wav"),
    "a.mp4": (b"\0\0\0\x18ftypmp42" + bytes(40), "video/mp4"),
    "a.webm": (b"\x1aE\xdf\xa3" + bytes(4) + b"B\x82\x84webm" + bytes(40), "video/webm"),
    "a.txt": (b"some words\n", "text/plain"),
}


@pytest.fixture(scope="module")
def home(sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("uploads"), sandbox)
    assert made.falq("up").code == 0
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A picture that no other test has uploaded."""
    path = tmp_path / "cat.png"
    path.write_bytes(PNG + str(tmp_path).encode())
    return path


@pytest.fixture(scope="module")
def wrapper(home: Home) -> Path:
    """The wrapper of a generated skill."""
    run = home.falq("generate", "-m", MODEL, "-o", str(home.root / "skills"), "-n", "look")
    assert run.code == 0, run
    return home.root / "skills/look/scripts/look.py"


def uploads(sandbox: RunningSandbox) -> int:
    """Count the files whose upload was begun."""
    begun = ("storage/upload/initiate", "storage/upload/initiate-multipart")
    return sum(1 for each in sandbox.log() if each["path"].endswith(begun))


def edits(home: Home, arguments: dict[str, Any], *more: str, **env: str) -> Run:
    return home.call(MODEL, {"prompt": "edit", **arguments}, *more, **env)


def sent(sandbox: RunningSandbox, shown: dict[str, Any], prompt: str) -> dict[str, Any]:
    """Give the arguments that a call's sidecar tells."""
    told = json.loads(Path(f"{shown['saved_path']}.json").read_text())["arguments"]
    assert told["prompt"] == prompt
    assert len(posts_of(sandbox, told)) == 1
    return dict(told)


def test_a_path_in_a_media_field_becomes_an_address(
    home: Home, sandbox: RunningSandbox, file: Path
) -> None:
    run = edits(home, {"prompt": "by name", "image_url": str(file)})
    assert run.code == 0, run
    told = sent(sandbox, run.json, "by name")
    assert told["image_url"].startswith(f"{sandbox.url}/cdn/")
    assert f"uploading {file}" in run.err
    assert f"uploaded {file}" in run.err


@pytest.mark.parametrize("source", ["cat.png", "./cat.png", "file://{file}", "~/cat.png"])
def test_a_path_may_be_written_in_every_usual_way(
    home: Home, sandbox: RunningSandbox, file: Path, source: str
) -> None:
    (home.root / "cat.png").write_bytes(file.read_bytes())
    run = edits(home, {"prompt": source, "image_url": source.format(file=file)})
    assert run.code == 0, run
    assert sent(sandbox, run.json, source)["image_url"].startswith(sandbox.url)


def test_upload_field_names_the_field(home: Home, sandbox: RunningSandbox, file: Path) -> None:
    run = edits(home, {"prompt": "by flag"}, "--upload-field", f"image_url={file}")
    assert run.code == 0, run
    assert sent(sandbox, run.json, "by flag")["image_url"].startswith(sandbox.url)


def test_a_wrapper_uploads_what_its_schema_calls_media(
    home: Home, sandbox: RunningSandbox, wrapper: Path, file: Path
) -> None:
    line = [sys.executable, str(wrapper), "--prompt", "wrapped", "--image-url", str(file)]
    process = subprocess.Popen(
        [*line, "-o", str(home.out)], env=home.environ(), cwd=home.root, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    run = finish(process)
    assert run.code == 0, run
    assert sent(sandbox, run.json, "wrapped")["image_url"].startswith(sandbox.url)


def test_the_same_bytes_are_uploaded_once_whatever_their_name(
    home: Home, sandbox: RunningSandbox, file: Path, tmp_path: Path
) -> None:
    before = uploads(sandbox)
    first = home.falq("upload", str(file), "--json").json["urls"]
    copy = tmp_path / "another.png"
    copy.write_bytes(file.read_bytes())
    assert home.falq("upload", str(copy), "--json").json["urls"] == first
    run = edits(home, {"prompt": "reused", "image_url": str(copy)})
    assert [sent(sandbox, run.json, "reused")["image_url"]] == first
    assert uploads(sandbox) - before == 1
    copy.write_bytes(file.read_bytes() + b"changed")
    assert home.falq("upload", str(copy), "--json").json["urls"] != first
    assert uploads(sandbox) - before == 2


def test_without_a_queue_a_file_that_is_given_twice_is_still_sent_once(
    home: Home, sandbox: RunningSandbox, file: Path
) -> None:
    before = uploads(sandbox)
    away = f"unix://{home.root}/no-such-socket"
    run = home.falq("upload", str(file), str(file), "--json", FALQ_REDIS_URL=away)
    assert run.code == 0, run
    assert len(set(run.json["urls"])) == 1
    assert uploads(sandbox) - before == 1


def test_every_kind_of_file_is_uploaded_under_its_own_type(home: Home, tmp_path: Path) -> None:
    paths = []
    for name, (content, _) in KINDS.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    run = home.falq("upload", *map(str, paths), "--json")
    assert run.code == 0, run
    for url, (content, kind) in zip(run.json["urls"], KINDS.values(), strict=True):
        fetched = subprocess.run(
            ["curl", "-s", "-w", "%{content_type}", url], capture_output=True, check=True
        ).stdout
        assert fetched == content + kind.encode()


def test_a_file_of_more_than_100_mib_is_sent_in_parts(
    home: Home, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(101 * 1024 * 1024)
        file.seek(50_000_000)
        file.write(b"in the middle")
    run = home.falq("upload", str(path), "--json")
    assert run.code == 0, run
    assert any(each["path"].endswith("initiate-multipart") for each in sandbox.log())
    fetched = subprocess.run(["curl", "-s", run.json["urls"][0]], capture_output=True, check=True)
    assert zlib.crc32(fetched.stdout) == zlib.crc32(path.read_bytes())


def _unreadable(path: Path) -> str:
    # Root reads everything that the system lets anybody read; this it lets nobody read.
    path.symlink_to(path)
    return "symbolic links lead in a circle"


def _missing(_path: Path) -> str:
    return "there is no such file"


def _directory(path: Path) -> str:
    path.mkdir()
    return "it is a directory"


def _empty(path: Path) -> str:
    path.touch()
    return "it is empty"


UNFIT = [_missing, _directory, _empty, _unreadable]


@pytest.mark.parametrize("way", ["field", "flag"])
@pytest.mark.parametrize("make", UNFIT)
def test_a_file_that_cannot_be_uploaded_is_refused_before_anything_is_sent(
    home: Home,
    sandbox: RunningSandbox,
    tmp_path: Path,
    file: Path,
    way: str,
    make: Callable[[Path], str],
) -> None:
    says = make(tmp_path / "unfit.png")
    unfit, good = str(tmp_path / "unfit.png"), str(file)
    requests, jobs = len(sandbox.log()), home.falq("jobs").out
    if way == "field":
        run = edits(home, {"prompt": "unfit", "image_url": unfit, "mask_url": good})
    else:
        flags = ("--upload-field", f"mask_url={good}", "--upload-field", f"image_url={unfit}")
        run = edits(home, {"prompt": "unfit"}, *flags)
    assert (run.code, run.error["type"]) == (2, "ArgumentsError")
    assert says in run.error["message"]
    assert "unfit.png" in run.error["message"]
    assert len(sandbox.log()) == requests
    assert home.falq("jobs").out == jobs


def test_what_is_far_too_long_for_a_path_is_refused_in_few_words(home: Home) -> None:
    run = edits(home, {"prompt": "raw", "image_url": "iVBORw0KGgo" * 1000})
    assert (run.code, run.error["type"]) == (2, "ArgumentsError")
    assert len(run.error["message"]) < 300


def test_no_upload_without_a_key(home: Home, sandbox: RunningSandbox, file: Path) -> None:
    requests = len(sandbox.log())
    # Not 127.0.0.1, for which the sandbox's own key would serve.
    keyless = {"FAL_KEY": "", "FALQ_FAL_URL": sandbox.url.replace("127.0.0.1", "127.1")}
    for run in (
        home.falq("upload", str(file), **keyless),
        edits(home, {"prompt": "keyless", "image_url": str(file)}, **keyless),
    ):
        assert (run.code, run.error["type"]) == (4, "MissingKeyError")
    assert len(sandbox.log()) == requests


def test_nothing_is_uploaded_for_an_output_that_cannot_be_written(
    home: Home, sandbox: RunningSandbox, file: Path, tmp_path: Path
) -> None:
    requests = len(sandbox.log())
    (tmp_path / "taken").write_text("a file")
    run = edits(home, {"image_url": str(file)}, "-o", str(tmp_path / "taken"))
    assert (run.code, run.error["type"]) == (2, "UsageError")
    assert len(sandbox.log()) == requests


def test_a_storage_that_fails_for_a_moment_is_asked_again(
    home: Home, sandbox: RunningSandbox, file: Path
) -> None:
    rule = sandbox.add_fault("503", op="upload", times=1)
    run = home.falq("upload", str(file), "--json")
    rule.times = 0
    assert run.code == 0, run
