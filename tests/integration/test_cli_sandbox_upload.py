"""``falq sandbox`` as a process, and ``falq upload`` against it."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from falq.cli.main import run
from falq.cli.upload import upload


@pytest.fixture(scope="module")
def served():
    command = [sys.executable, "-m", "falq", "sandbox", "--port", "0", "--latency", "0.2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told = json.loads(process.stdout.readline())
    yield told["url"]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "not fal.ai" in err
    assert f"export FALQ_FAL_URL={told['url']}" in err
    assert "Traceback" not in err


@pytest.fixture
def environ(served, redis_url, tmp_path, monkeypatch):
    values = {
        "FALQ_FAL_URL": served, "FALQ_REDIS_URL": redis_url, "FALQ_HOME": str(tmp_path / "home"),
        "FAL_KEY": "id:secret",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


def test_it_answers_as_what_it_is(served):
    with urllib.request.urlopen(served) as answer:
        assert json.load(answer)["name"] == "falq sandbox"


def test_a_port_that_is_taken_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "falq", "sandbox", "--port", str(port)],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: the sandbox cannot listen on 127.0.0.1:{port}")
    assert "Traceback" not in ended.stderr


def test_files_are_uploaded_and_their_addresses_printed(environ, tmp_path, capsys):
    names = ["a.png", "b.wav"]
    for name in names:
        (tmp_path / name).write_bytes(b"content of " + name.encode())
    assert run(upload, [str(tmp_path / name) for name in names]) == 0
    told = capsys.readouterr()
    shown = json.loads(told.out)
    assert len(shown["urls"]) == 2
    for url, name in zip(shown["urls"], names, strict=True):
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"content of " + name.encode()
    assert f"uploaded {tmp_path / 'a.png'}" in told.err


def test_the_same_content_keeps_its_address(environ, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"same")
    (tmp_path / "copy.png").write_bytes(b"same")
    assert run(upload, [str(tmp_path / "a.png"), str(tmp_path / "copy.png")]) == 0
    first, second = json.loads(capsys.readouterr().out)["urls"]
    assert first == second


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "unreadable"])
def test_a_file_that_cannot_be_sent_is_told_before_anything_is(environ, tmp_path, capsys, kind):
    (tmp_path / "good.png").write_bytes(b"good")
    path = tmp_path / "x.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "unreadable":
        if os.geteuid() == 0:
            pytest.skip("root reads everything")
        path.write_bytes(b"x")
        path.chmod(0)
    assert run(upload, [str(tmp_path / "good.png"), str(path)]) == 2
    told = capsys.readouterr()
    assert "x.png" in json.loads(told.out)["error"]["message"]
    assert "uploaded" not in told.err


def test_without_a_key_nothing_is_uploaded(environ, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("FAL_KEY")
    monkeypatch.delenv("FALQ_FAL_URL")
    (tmp_path / "a.png").write_bytes(b"x")
    assert run(upload, [str(tmp_path / "a.png")]) == 4


def test_without_redis_files_are_uploaded_all_the_same(environ, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FALQ_REDIS_URL", f"unix://{tmp_path}/none.sock")
    (tmp_path / "a.png").write_bytes(b"x")
    assert run(upload, [str(tmp_path / "a.png"), "-q"]) == 0
    assert capsys.readouterr().err == ""
