"""falq's own page: what it shows, what it gives out, and whom it lets in."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from operating import Queues

import falq
from falq.cli.dashboard import dashboard
from falq.cli.main import run
from falq.dashboard.app import create_app
from falq.dashboard.guard import Guard
from falq.errors import UsageError
from falq.phases import Phase
from falq.sandbox import running_sandbox

TOKEN = "a-token-of-some-length"
OWN_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
RQ_CSP = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' 'nonce-N'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
LOCAL = {"Host": "127.0.0.1:9181"}
HOSTILE = "</pre><script>alert(1)</script>\u202e"


@pytest.fixture
def environ(redis_url, tmp_path):
    return {
        "FAL_KEY": "canary-id:canary-secret", "FALQ_FAL_URL": "http://127.0.0.1:9",
        "FALQ_REDIS_URL": redis_url, "FALQ_HOME": str(tmp_path / "home"),
    }  # fmt: skip


@pytest.fixture
def queues(redis_client, environ, tmp_path):
    return Queues(redis_client, environ, tmp_path / "out")


def client_of(queues, **guard):
    app = create_app(queues.settings, Guard(**{"host": "127.0.0.1"} | guard))
    return app.test_client()


@pytest.fixture
def client(queues):
    return client_of(queues)


def state(client):
    answer = client.get("/api/state", headers=LOCAL)
    assert answer.status_code == 200, answer.text
    return answer.json


def saved(path, content=b"\x89PNG\r\n\x1a\n tiny", **changes):
    """Put a file on the disk and give what an outcome says about it."""
    import hashlib

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {
        "path": str(path), "url": "https://v3.fal.media/x.png", "content_type": "image/png",
        "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
    } | changes  # fmt: skip


def done(queues, *files, **arguments):
    grant = queues.start(**arguments)
    outcome = {"status": "COMPLETED", "files": list(files), "timings": {"total_s": 1.5}}
    queues.end(grant, Phase.DONE, outcome=outcome, billable_units=0.5)
    return grant.job_id


def test_a_result_is_shown_with_model_arguments_units_duration_and_files(redis_client, tmp_path):
    with running_sandbox() as sandbox:
        environ = {
            "FALQ_FAL_URL": sandbox.url, "FALQ_HOME": str(tmp_path / "home"),
            "FALQ_REDIS_URL": f"unix://{redis_client.connection_pool.connection_kwargs['path']}",
        }  # fmt: skip
        queues = Queues(redis_client, environ, tmp_path / "out")
        queues.enqueue({"prompt": "a cat in a garden"})
        queues.work()
    client = client_of(queues)
    (card,) = state(client)["results"]
    assert (card["model_id"], card["phase"]) == ("sandbox/flux/dev", "done")
    assert card["arguments"] == {"prompt": "a cat in a garden"}
    assert card["billable_units"] > 0
    assert card["total_s"] > 0
    (file,) = card["files"]
    picture = client.get(file["url"], headers=LOCAL, buffered=True)
    record = queues.journal.get(card["job_id"])
    assert picture.data == Path(record.outcome["files"][0]["path"]).read_bytes()
    assert picture.headers["Content-Type"] == "image/png"
    assert "sandbox" in picture.headers["Content-Security-Policy"]
    beside = client.get(file["sidecar"], headers=LOCAL)
    assert beside.json["model_id"] == "sandbox/flux/dev"


def test_a_part_of_a_file_is_given_to_a_player_that_seeks(queues, client, tmp_path):
    job_id = done(queues, saved(tmp_path / "out" / "a.png", b"0123456789"))
    answer = client.get(f"/files/{job_id}/0", headers=LOCAL | {"Range": "bytes=2-4"}, buffered=True)
    assert (answer.status_code, answer.data) == (206, b"234")


@pytest.mark.parametrize("change", ["content", "link", "gone", "folder"])
def test_only_the_file_that_was_saved_is_given_out(queues, client, tmp_path, change):
    path = tmp_path / "out" / "a.png"
    job_id = done(queues, saved(path))
    path.unlink()
    if change == "content":
        path.write_bytes(b"\x89PNG\r\n\x1a\n TINY")
    elif change == "link":
        saved(tmp_path / "elsewhere.png")
        path.symlink_to(tmp_path / "elsewhere.png")
    elif change == "folder":
        path.mkdir()
    assert client.get(f"/files/{job_id}/0", headers=LOCAL).status_code == 404


def test_who_writes_to_redis_cannot_have_a_file_of_this_machine_shown(queues, client, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("canary")
    forged = {"path": str(secret), "content_type": "text/plain", "bytes": 6, "sha256": "0" * 64}
    job_id = done(queues, forged, {**forged, "path": f"{tmp_path}/x/../secret"})
    for number in range(3):
        answer = client.get(f"/files/{job_id}/{number}", headers=LOCAL)
        assert answer.status_code == 404
        assert b"canary" not in answer.data
        assert client.get(f"/files/{job_id}/{number}/sidecar", headers=LOCAL).status_code == 404


def test_a_page_or_drawing_that_could_run_scripts_is_only_offered_to_save(queues, client, tmp_path):
    page = saved(tmp_path / "out" / "a.svg", b"<svg onload='x()'/>", content_type="image/svg+xml")
    job_id = done(queues, page)
    answer = client.get(f"/files/{job_id}/0", headers=LOCAL, buffered=True)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_a_file_of_another_machine_is_named_and_not_linked(queues, client, tmp_path):
    file = saved(tmp_path / "out" / "a.png")
    done(queues, file)
    (tmp_path / "out" / "a.png").unlink()
    (card,) = state(client)["results"]
    assert (card["files"][0]["name"], card["files"][0]["url"]) == ("a.png", None)


def test_hostile_texts_stay_data(queues, client):
    grant = queues.start(prompt=HOSTILE)
    error = {"type": "ModelError", "message": HOSTILE + " Key canary-id:canary-secret"}
    queues.end(grant, Phase.FAILED, error=error)
    answer = client.get("/api/state", headers=LOCAL)
    assert answer.mimetype == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "canary-secret" not in answer.text


def test_a_picture_sent_as_data_is_shown_as_a_note(queues, client):
    done(queues, image_url="data:image/png;base64," + "A" * 4000, prompt="x" * 5000)
    (card,) = state(client)["results"]
    assert "A" * 100 not in card["arguments"]["image_url"]
    assert len(card["arguments"]["prompt"]) < 700


def test_nothing_runs_is_told_and_nothing_is_started(environ, tmp_path, redis_client):
    del environ["FALQ_REDIS_URL"]
    client = client_of(Queues(redis_client, environ, tmp_path))
    answer = client.get("/api/state", headers=LOCAL)
    assert answer.status_code == 503
    assert "nothing runs" in answer.json["error"]
    assert client.get("/", headers=LOCAL).status_code == 200
    assert not (tmp_path / "home" / "redis").exists()


@pytest.mark.parametrize("path", ["/", "/api/state", "/metrics", "/rq/", "/static/falq.js"])
def test_every_answer_tells_the_browser_to_run_nothing_foreign(queues, client, path):
    headers = client.get(path, headers=LOCAL, buffered=True).headers
    csp = re.sub(r"'nonce-[\w-]{20,}'", "'nonce-N'", headers["Content-Security-Policy"])
    assert csp == (RQ_CSP if path.startswith("/rq/") else OWN_CSP)
    assert headers["Referrer-Policy"] == "no-referrer"


def test_prometheus_is_let_in_by_the_name_that_the_guide_allows():
    text = (Path(falq.__file__).parents[1] / "docs" / "dashboard.md").read_text()
    target = re.search(r'targets: \["([^"]+)"\]', text)[1]
    host, allowed = re.search(r"--host (\S+) .*--allow-host ([\w.-]+)`", text).groups()
    assert Guard(host=host, token=TOKEN, names=(allowed,)).knows_host(target)
    assert not Guard(host=host, token=TOKEN).knows_host(target)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.0.2.1", "", "a@b"])
def test_a_name_that_was_pointed_here_is_refused(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:9181", "127.0.0.1:9181", "[::1]:9181"])
def test_names_of_this_machine_are_known(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 200


def test_elsewhere_than_on_loopback_a_token_is_asked_for(queues):
    client = client_of(queues, host="0.0.0.0", token=TOKEN, names=("box.example",))
    there = {"Host": "box.example:9181"}
    for path in ("/", "/api/state", "/metrics", "/rq/", "/static/falq.js", "/files/x/0"):
        assert client.get(path, headers=there).status_code == 401
    assert client.get("/?token=wrong", headers=there).status_code == 401
    bearer = client.get("/metrics", headers=there | {"Authorization": f"Bearer {TOKEN}"})
    assert bearer.status_code == 200
    assert client.get("/", headers=there | {"X-Falq-Token": TOKEN}).status_code == 200
    assert client.get("/", headers={"Host": "192.0.2.7:9181"}).status_code == 401
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_the_token_in_the_address_moves_into_a_cookie(queues):
    client = client_of(queues, host="0.0.0.0", token=TOKEN)
    there = {"Host": "192.0.2.7"}
    first = client.get(f"/?token={TOKEN}", headers=there)
    assert (first.status_code, first.headers["Location"]) == (302, "/")
    cookie = first.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    with_cookie = there | {"Cookie": cookie.partition(";")[0]}
    assert client.get("/", headers=with_cookie).status_code == 200


def test_nothing_of_falqs_own_changes_anything(client):
    for method in ("post", "put", "delete", "patch"):
        for path in ("/", "/api/state", "/metrics"):
            assert getattr(client, method)(path, headers=LOCAL).status_code in (403, 405)


@pytest.mark.skipif(os.name != "posix", reason="asks for rights of files")
def test_a_token_file_that_others_can_read_or_guess_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text("too-short")
    path.chmod(0o600)
    assert run(dashboard, ["--token-file", str(path)]) == 2
    path.write_text("long-enough-to-be-one")
    path.chmod(0o644)
    assert run(dashboard, ["--token-file", str(path)]) == 2


def test_a_port_that_is_taken_is_one_clear_line(environ, monkeypatch, capsys):
    import socket

    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(dashboard, ["--port", str(port)]) == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert f"127.0.0.1:{port}" in told["message"]


def test_a_dashboard_that_is_ended_while_it_starts_ends_as_one_that_serves(monkeypatch, tmp_path):
    handlers = []

    def stop_here(*_):
        handlers.append(signal.getsignal(signal.SIGTERM))
        raise UsageError("far enough")

    monkeypatch.setattr("falq.cli.dashboard._listen", stop_here)
    monkeypatch.setenv("FALQ_HOME", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert run(dashboard, ["--port", "0"]) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(SystemExit) as ended:
        handlers[0](signal.SIGTERM, None)
    assert ended.value.code == 0
