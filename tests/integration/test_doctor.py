"""The doctor: each thing found with what to do, nothing started, nothing paid, no secret told."""

import json
import os

import pytest
from operating import Queues

from falq import presence
from falq.cli.doctor import doctor
from falq.cli.main import run
from falq.embedded import ensure_server, stop_server
from falq.phases import Phase
from falq.sandbox import running_sandbox

KEY = "canary-id:canary-secret"


@pytest.fixture(scope="module")
def sandbox():
    with running_sandbox() as running:
        yield running


@pytest.fixture
def ask(sandbox, tmp_path, monkeypatch, capsys):
    """Run the doctor with these variables; give exit code and findings by name."""
    for name in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET", "FALQ_REDIS_URL", "FALQ_FAL_URL"):
        monkeypatch.delenv(name, raising=False)
    base = {"FAL_KEY": KEY, "FALQ_FAL_URL": sandbox.url, "FALQ_HOME": str(tmp_path / "home")}

    def ask(**changes):
        for name, value in (base | changes).items():
            monkeypatch.setenv(name, value)
        code = run(doctor, [])
        told = capsys.readouterr()
        assert "canary-secret" not in told.out + told.err
        return code, {each["name"]: each for each in json.loads(told.out)["findings"]}

    return ask


def test_all_is_well_with_an_embedded_server(ask, tmp_path):
    home = tmp_path / "home"
    ensure_server(home)
    try:
        code, found = ask()
    finally:
        stop_server(home)
    assert code == 0
    assert {name for name, each in found.items() if each["verdict"] == "trouble"} == set()
    assert found["eviction"]["found"] == "noeviction"
    assert found["persistence"]["verdict"] == "ok"
    assert "redis.sock" in found["Redis"]["found"]
    assert "accepts it" in found["key"]["found"]


def test_nothing_is_started_and_nothing_is_paid(ask, sandbox, tmp_path):
    before = sandbox.posts()
    code, found = ask()
    assert code == 0
    assert "a call starts it" in found["Redis"]["found"]
    assert sandbox.posts() == before
    assert not (tmp_path / "home").exists()


def test_a_missing_key_is_trouble_at_home_and_a_note_on_a_shared_redis(ask, redis_url):
    no_key = {"FAL_KEY": "", "FALQ_FAL_URL": ""}
    code, found = ask(**no_key)
    assert (code, found["key"]["verdict"]) == (4, "trouble")
    code, found = ask(**no_key, FALQ_REDIS_URL=redis_url)
    assert (code, found["key"]["verdict"]) == (0, "note")


def test_a_wrong_key_is_trouble(ask):
    code, found = ask(FAL_KEY="bad:canary-secret")
    assert (code, found["key"]["verdict"]) == (4, "trouble")
    assert "key_id:key_secret" in found["key"]["advice"]


def test_a_fal_out_of_reach_is_told_and_the_rest_is_looked_at_all_the_same(ask, redis_url):
    code, found = ask(FALQ_FAL_URL="http://127.0.0.1:9", FALQ_REDIS_URL=redis_url)
    assert (code, found["key"]["verdict"]) == (5, "trouble")
    assert found["eviction"]["verdict"] == "ok"


def test_a_redis_out_of_reach_is_trouble(ask, tmp_path):
    code, found = ask(FALQ_REDIS_URL=f"unix://{tmp_path}/none.sock")
    assert (code, found["Redis"]["verdict"]) == (5, "trouble")


def test_a_server_that_evicts_is_trouble(ask, redis_url, redis_client):
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        code, found = ask(FALQ_REDIS_URL=redis_url)
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")
    assert (code, found["eviction"]["verdict"]) == (2, "trouble")


def test_workers_and_unknown_jobs_are_told(ask, redis_url, redis_client, sandbox, tmp_path):
    environ = {"FAL_KEY": KEY, "FALQ_FAL_URL": sandbox.url, "FALQ_REDIS_URL": redis_url}
    queues = Queues(redis_client, environ, tmp_path)
    _, found = ask(FALQ_REDIS_URL=redis_url)
    assert "none serves this account" in found["workers"]["found"]
    presence.announce(redis_client, queues.settings.account, "box.1.abc", {})
    queues.end(queues.start(), Phase.UNKNOWN)
    _, found = ask(FALQ_REDIS_URL=redis_url)
    assert "box.1.abc" in found["workers"]["found"]
    assert found["unknown jobs"]["verdict"] == "note"


def test_a_setting_that_cannot_be_read_is_the_finding(ask):
    code, found = ask(FAL_QUEUE_MAX_CONCURRENT="many")
    assert (code, found["settings"]["verdict"]) == (2, "trouble")
    assert "FAL_QUEUE_MAX_CONCURRENT" in found["settings"]["found"]


@pytest.mark.skipif(os.name != "posix", reason="asks for rights of files")
def test_a_home_that_is_open_to_others_is_trouble(ask, tmp_path):
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home").chmod(0o755)
    code, found = ask()
    assert (code, found["home"]["verdict"]) == (2, "trouble")
    assert "chmod 700" in found["home"]["advice"]
