import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
import redis

from falq import redis_link
from falq.embedded import stop_server
from falq.errors import ConfigurationError, RedisUnavailableError
from falq.redis_link import ServerFacts, check_server, connect, redis_error, translate_redis_errors
from falq.server_binary import find_binary
from falq.settings import Settings

PASSWORD = "hunter2canary"


@pytest.fixture
def directory():
    path = Path(tempfile.mkdtemp(prefix="falq-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start(directory):
    """Start servers of our own; all end with the test."""
    running = []

    def start(*options, path="s", **kinds):
        place = directory / path
        running.append(
            subprocess.Popen(
                [find_binary().path, *options, "--dir", directory, "--save", ""]
                + ([] if "--port" in options else ["--port", "0", "--unixsocket", place]),
                stdout=subprocess.DEVNULL,
            )
        )
        if "--port" not in options:
            wait_until(lambda: listens(place))
        return f"unix://{place}"

    yield start
    for process in running:
        process.kill()
        process.wait()


def listens(place):
    """Tell whether a socket takes connections: its file is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(place)) == 0


def wait_until(done, wait_s=5.0):
    give_up_at = time.monotonic() + wait_s
    while not done():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def settings(url=None, home="/h"):
    environ = {"FALQ_HOME": str(home)} | ({"FALQ_REDIS_URL": url} if url else {})
    return Settings.from_env(environ)


def translated(client, command):
    with translate_redis_errors():
        return command(client)


def refused(url, command, **options):
    """Run a command that must fail and give falq's error for it."""
    client = connect(settings(url), **options)
    with client, pytest.raises(RedisUnavailableError) as caught:
        translated(client, command)
    assert caught.value.exit_code == 5
    assert PASSWORD not in str(caught.value.to_dict())
    assert "\n" not in caught.value.message
    return caught.value


def test_without_an_address_the_embedded_server_is_started_and_used(directory):
    with connect(settings(home=directory / "home")) as client:
        assert client.set("key", "value")
        assert client.get("key") == b"value"
        assert client.client_getname() == "falq-caller"
        facts = check_server(client, config=True)
    assert (facts.maxmemory_policy, facts.aof, facts.appendfsync) == ("noeviction", True, "always")
    assert stop_server(directory / "home")


def test_a_connection_that_the_server_closed_is_replaced_by_the_next_command(directory):
    with connect(settings(home=directory / "home")) as client:
        client.ping()
        stop_server(directory / "home")
        with connect(settings(home=directory / "home")):
            assert client.ping()
    stop_server(directory / "home")


def test_nobody_there_is_told(directory):
    err = refused(f"unix://{directory}/nobody", lambda client: client.ping())
    assert "cannot be reached" in err.message
    assert err.retryable


def test_a_refused_port_is_told():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        err = refused(f"redis://:{PASSWORD}@127.0.0.1:{port}", lambda client: client.ping())
    assert f"127.0.0.1:{port}" in err.message


@pytest.mark.parametrize("login", ["", f":{PASSWORD}@", f"jane:{PASSWORD}@"])
def test_a_missing_or_wrong_login_is_told_as_without_rights(start, login):
    url = start("--requirepass", "right").replace("unix://", f"unix://{login}")
    err = refused(url, lambda client: client.ping())
    assert "without rights" in err.message
    assert not err.retryable


def test_a_right_login_is_let_in(start):
    url = start("--requirepass", PASSWORD).replace("unix://", f"unix://:{PASSWORD}@")
    with connect(settings(url)) as client:
        assert client.ping()


@pytest.fixture
def limited(start):
    """An address whose user may write and connect, and nothing else."""
    url = start()
    with connect(settings(url)) as admin:
        admin.acl_setuser(
            "wk", enabled=True, passwords=[f"+{PASSWORD}"], keys=["falq:*"],
            categories=["-@all", "+@read", "+@write", "+@connection"],
        )  # fmt: skip
    return url.replace("unix://", f"unix://wk:{PASSWORD}@")


def test_a_forbidden_command_is_named_without_its_arguments(limited):
    err = refused(limited, lambda client: client.config_set("maxmemory-policy", PASSWORD))
    assert "config|set" in err.message.lower()
    assert "without rights" in err.message


def test_a_forbidden_key_in_a_script_is_told_as_without_rights(start):
    url = start()
    with connect(settings(url)) as admin:
        admin.execute_command("ACL", "SETUSER", "wk", "on", f">{PASSWORD}", "~foo*", "&*", "+@all")
    url = url.replace("unix://", f"unix://wk:{PASSWORD}@")
    err = refused(url, lambda client: client.eval("return redis.call('GET', 'falq:x')", 0))
    assert "without rights" in err.message
    assert not err.retryable
    assert not err.refused


def test_what_is_no_redis_is_told(directory):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            connection.recv(100)
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        port = server.getsockname()[1]
        err = refused(f"redis://127.0.0.1:{port}", lambda client: client.ping())
        thread.join()
    assert "is no Redis" in err.message
    assert not err.retryable


def test_a_forbidden_key_in_a_pipeline_shows_no_arguments(limited):
    err = refused(limited, lambda client: client.pipeline().set("other", PASSWORD).execute())
    assert "without rights" in err.message


def test_facts_that_an_acl_hides_are_none_and_the_version_still_shows(limited):
    with connect(settings(limited)) as client:
        facts = check_server(client, config=True)
    assert facts.maxmemory_policy is None
    assert facts.appendfsync is None
    assert facts.version
    facts.require_no_eviction()


def test_a_full_redis_is_told(start):
    url = start("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    err = refused(url, lambda client: [client.rpush("k", b"x" * 9000) for _ in range(500)])
    assert "Redis is full" in err.message
    assert err.retryable


def test_a_full_redis_is_told_from_inside_a_script_and_a_pipeline(start):
    url = start("--maxmemory", "1kb")
    script = "return redis.call('SET', KEYS[1], 'x')"
    assert "Redis is full" in refused(url, lambda c: c.eval(script, 1, "k")).message
    assert "Redis is full" in refused(url, lambda c: c.pipeline().set("k", "x").execute()).message


def test_a_read_only_replica_is_told(start):
    err = refused(start("--replicaof", "127.0.0.1 1"), lambda client: client.set("k", "x"))
    assert "read-only replica" in err.message


def test_too_few_replicas_are_told(start):
    err = refused(start("--min-replicas-to-write", "1"), lambda client: client.set("k", "x"))
    assert "too few replicas" in err.message


def test_a_wrong_command_is_told_without_its_arguments(start):
    err = refused(start(), lambda c: c.pipeline().execute_command("NOSUCH", PASSWORD).execute())
    assert "Redis refused a command" in err.message
    assert not err.retryable


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "still loading"),
        (b"-MISCONF Errors writing to the AOF file: No space left on device\r\n", "its disk"),
        (b"-BUSY Redis is busy running a script.\r\n", "busy with a script"),
        (b"-ERR max number of clients reached\r\n", "no connection left"),
    ],
)
def test_states_of_the_server_are_told(reply, said):
    code, _, text = reply.decode().strip()[1:].partition(" ")
    kinds = {"LOADING": redis.BusyLoadingError, "ERR": redis.ConnectionError}
    kind = kinds.get(code, redis.ResponseError)
    message = text if code in kinds else f"{code} {text}"
    err = redis_error(kind(message))
    assert said in err.message
    assert err.hint


def test_a_silent_server_is_given_up(directory, monkeypatch):
    monkeypatch.setitem(redis_link.REPLY_WAIT_S, "worker", 0.1)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "silent"))
        server.listen()
        url = f"unix://{directory}/silent"
        err = refused(url, lambda client: client.ping(), role="worker")
    assert "did not answer in time" in err.message


def test_a_blocking_command_may_wait_as_long_as_announced(start, monkeypatch):
    url = start()
    monkeypatch.setitem(redis_link.REPLY_WAIT_S, "caller", 0.2)
    with connect(settings(url), blocking_s=0.5) as client:
        assert client.blpop(["nothing"], timeout=0.4) is None


@pytest.fixture
def hanging_up(directory):
    """A server that hangs up on each INCR; gives its address and what it received."""
    received = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(directory / "cut"))
    server.listen()

    def run():
        with contextlib.suppress(OSError):
            while True:
                with server.accept()[0] as line:
                    while (said := line.recv(4096)) and b"INCR" not in said:
                        line.sendall(b"+PONG\r\n" if b"PING" in said else b"+OK\r\n")
                    received.append(said)

    thread = threading.Thread(target=run)
    thread.start()
    yield f"unix://{directory}/cut", received
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_nothing_is_repeated_when_a_reply_is_lost(hanging_up):
    url, received = hanging_up
    err = refused(url, lambda client: client.execute_command("INCR", "paid"))
    assert "cannot be reached" in err.message
    assert [said for said in received if said] == [b"*2\r\n$4\r\nINCR\r\n$4\r\npaid\r\n"]


def test_errors_that_a_program_expects_pass_unchanged(start):
    with connect(settings(start())) as client, pytest.raises(redis.exceptions.NoScriptError):
        translated(client, lambda c: c.evalsha("0" * 40, 0))


def test_a_lost_watch_passes_unchanged(start):
    with connect(settings(start())) as client, client.pipeline() as pipe:
        pipe.watch("k")
        client.set("k", "other")
        pipe.multi()
        pipe.set("k", "mine")
        with pytest.raises(redis.WatchError), translate_redis_errors():
            pipe.execute()


def test_a_server_that_evicts_is_refused(start):
    with connect(settings(start("--maxmemory-policy", "allkeys-lru"))) as client:
        facts = check_server(client, config=True)
    with pytest.raises(ConfigurationError, match="allkeys-lru") as caught:
        facts.require_no_eviction()
    assert "noeviction" in caught.value.hint


def test_the_facts_of_a_server(start):
    with connect(settings(start())) as client:
        facts = check_server(client, config=True)
    assert facts == ServerFacts(
        version=".".join(map(str, find_binary().version)),
        is_valkey=find_binary().product == "valkey",
        maxmemory_policy="noeviction",
        aof=False,
        appendfsync="everysec",
        replicas=0,
        clock_difference_s=facts.clock_difference_s,
    )
    assert abs(facts.clock_difference_s) < 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_primary_is_found_through_its_sentinels(start, directory):
    port, sentinel_port = free_port(), free_port()
    start("--bind", "127.0.0.1", "--port", str(port), "--requirepass", PASSWORD)
    (directory / "sentinel.conf").write_text(
        f"bind 127.0.0.1\nsentinel monitor main 127.0.0.1 {port} 1\n"
        f"sentinel auth-pass main {PASSWORD}\n"
    )
    start(directory / "sentinel.conf", "--sentinel", "--port", str(sentinel_port))
    url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{sentinel_port}/main/1"

    def answers():
        try:
            with connect(settings(url)) as client:
                return client.set("key", "value")
        except redis.ConnectionError:
            return False

    wait_until(answers)
    with connect(settings(url)) as client:
        assert client.get("key") == b"value"
    wrong = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{sentinel_port}/other"
    assert "no primary" in refused(wrong, lambda client: client.ping()).message
