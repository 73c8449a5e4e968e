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


def full(redis):
    redis.config_set("maxmemory", "1")


def too_few_replicas(redis):
    redis.config_set("min-replicas-to-write", "1")


def read_only(redis):
    redis.execute_command("REPLICAOF", "127.0.0.1", "1")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(full, "full"), (too_few_replicas, "too few replicas"), (read_only, "read-only replica")],
)
def test_a_redis_that_takes_no_writes_is_trouble(ask, redis_url, redis_client, spoil, said):
    spoil(redis_client)
    try:
        code, found = ask(FALQ_REDIS_URL=redis_url)
    finally:
        redis_client.execute_command("REPLICAOF", "NO", "ONE")
        redis_client.config_set("maxmemory", "0")
        redis_client.config_set("min-replicas-to-write", "0")
    assert (code, found["writes"]["verdict"]) == (5, "trouble")
    assert said in found["writes"]["found"]
    assert found["writes"]["advice"]


RIGHTS = {
    "another key": ["~foo*", "&*", "+@all"],
    "no scripts": ["~*", "&*", "+@all", "-@scripting"],
    "reads only": ["~*", "&*", "+@all", "-@write"],
    "no keys of RQ": ["~falq:*", "&*", "+@all"],
    "no channels": ["~*", "resetchannels", "+@all"],
}


@pytest.mark.parametrize("rights", RIGHTS.values(), ids=RIGHTS)
def test_a_user_without_the_rights_that_falq_needs_is_trouble(ask, redis_url, redis_client, rights):
    redis_client.execute_command("ACL", "SETUSER", "poor", "reset", "on", "nopass", *rights)
    try:
        code, found = ask(FALQ_REDIS_URL=redis_url.replace("unix://", "unix://poor:any@"))
    finally:
        redis_client.acl_deluser("poor")
    troubles = [each for each in found.values() if each["verdict"] == "trouble"]
    assert code == 5
    assert "without rights" in troubles[0]["found"]
    assert redis_client.keys("*") == []


def test_a_look_leaves_nothing_in_redis(ask, redis_url, redis_client):
    code, found = ask(FALQ_REDIS_URL=redis_url)
    assert (code, found["writes"]["verdict"]) == (0, "ok")
    assert redis_client.keys("*") == []


def test_neither_an_append_only_file_nor_a_replica_is_noted(ask, redis_url):
    _, found = ask(FALQ_REDIS_URL=redis_url)
    assert found["persistence"]["verdict"] == "note"
    assert "no replica" in found["persistence"]["found"]


def test_data_of_a_newer_server_than_is_there_are_trouble(ask, tmp_path):
    home = tmp_path / "home"
    ensure_server(home)
    stop_server(home)
    record = home / "redis" / "version.json"
    written = json.loads(record.read_text()) | {"size_bytes": 1, "version": [99, 0, 0]}
    record.write_text(json.dumps(written))
    code, found = ask()
    assert (code, found["Redis"]["verdict"]) == (2, "trouble")
    assert "99.0.0" in found["Redis"]["found"]


def test_the_doctor_sends_nobody_to_the_doctor_and_advises_on_each_trouble(ask, tmp_path):
    for changes in (
        {"FALQ_REDIS_URL": f"unix://{tmp_path}/none.sock"},
        {"FALQ_FAL_URL": "http://127.0.0.1:9"},
        {"FAL_QUEUE_MAX_CONCURRENT": "many"},
        {"FALQ_HOME": "/proc/x"},
    ):
        code, found = ask(**changes)
        troubles = [each for each in found.values() if each["verdict"] == "trouble"]
        assert code in (2, 5)
        assert troubles
        for each in troubles:
            assert each["advice"], each
            assert "falq doctor" not in each["advice"]
            assert "free some space" not in each["advice"]


def test_a_directory_that_others_use_is_not_to_be_closed(ask, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    code, found = ask(FALQ_HOME=str(shared))
    assert code == 2
    assert "choose another directory" in found["home"]["advice"]
