"""The configurations of docs/operations.md as they are written: TLS, users, hosts, restarts."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError
from world import KEY, Home, Server, posts_of, until

from falq.cli.main import COMMANDS
from falq.scripts import compose

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "operations.md").read_text()
FLUX = "sandbox/flux/dev"
PASSWORDS = {"caller": "CALLER-PASSWORD", "worker": "WORKER-PASSWORD"}
CALLERS_SCRIPTS = ("enqueue", "cancel", "configure", "explain", "reopen", "deliver")
WORKERS_SCRIPTS = (
    "admit", "acquire", "advance", "claim", "configure", "describe", "explain", "reap", "renew",
    "reopen", "surrender", "take_in", "vanish",
)  # fmt: skip


def block(name: str) -> str:
    """Give a code block of the guide by its name."""
    found = re.search(rf"^```\w+ {re.escape(name)}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    assert found, name
    return found[1]


def tls_server() -> str | None:
    """Find a server with TLS; the packaged one has none."""
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is None:
            continue
        options = ["--port", "0", "--tls-port", "0", "--unixsocket", "/nonexistent/s"]
        tried = subprocess.run(
            [path, *options], capture_output=True, text=True, timeout=10, check=False
        )
        if "TLS" not in tried.stdout and "tls" not in tried.stdout:
            return path
    return None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Guided:
    """A server set up as the guide says, but for paths and the port."""

    def __init__(self, root: Path, program: str) -> None:
        self.root = root
        self.port = free_port()
        subprocess.run(
            ["sh", "-ec", block("certificate.sh")], cwd=root, check=True, capture_output=True
        )
        (root / "users.acl").write_text(block("users.acl"))
        (root / "data").mkdir()
        conf = block("redis.conf").replace("/var/lib/falq-redis", str(root / "data"))
        conf = conf.replace("/etc/falq", str(root)).replace("6380", str(self.port))
        (root / "redis.conf").write_text(conf)
        with (root / "server.log").open("w") as log:
            self.process = subprocess.Popen(
                [program, str(root / "redis.conf"), "--daemonize", "no"], stdout=log, stderr=log
            )
        until(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.root / "server.log").read_text()
        with contextlib.suppress(RedisError):
            return bool(self.client("operator").ping())
        return False

    def client(self, user: str) -> Redis:
        return Redis(
            host="127.0.0.1", port=self.port, ssl=True, ssl_ca_certs=str(self.root / "redis.crt"),
            username=f"falq-{user}", password=f"{user.upper()}-PASSWORD",
        )  # fmt: skip

    def env(self, name: str) -> dict[str, str]:
        """Read an environment file of the guide."""
        text = block(name).replace("redis.internal:6380", f"localhost:{self.port}")
        text = text.replace("/etc/falq", str(self.root)).replace("key_id:key_secret", KEY)
        return dict(line.split("=", 1) for line in text.replace('"', "").splitlines())

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    program = tls_server()
    if program is None or shutil.which("openssl") is None:
        pytest.skip("no server with TLS on this machine")
    server = Guided(tmp_path_factory.mktemp("guided"), program)
    yield server
    server.close()


@pytest.fixture
def machines(guided, new_home):
    """Two worker hosts and a caller without a key, each a home of its own."""
    workers = [new_home(**guided.env("worker.env")) for _ in range(2)]
    return workers, new_home(
        FAL_KEY="", FALQ_FAL_URL="", FALQ_ON_QUEUE_DOWN="fail", **guided.env("caller.env")
    )


def alive(home: Home) -> int:
    return len(json.loads(home.falq("status").out)["workers"])


def test_callers_and_two_worker_hosts_share_a_redis_with_tls_and_users(guided, machines, tmp_path):
    workers, caller = machines
    processes = [home.start_worker() for home in workers]
    until(lambda: alive(caller) == 2)
    calls = [
        caller.start(*caller.call_line(FLUX, {"prompt": f"shared {n}"}, *more))
        for n, more in enumerate([(), ("--no-sync-only",), ("--idempotency-key", "k")])
    ]
    for call in calls:
        out, err = call.communicate(timeout=60)
        assert call.returncode == 0, err
        assert Path(json.loads(out)["saved_path"]).is_file()
    ticket = caller.submit(FLUX, {"prompt": "later"})
    assert caller.falq("wait", ticket).code == 0
    assert caller.falq("result", ticket, "-o", str(tmp_path / "again")).code == 0
    queue = json.loads(caller.falq("status").out)["queues"][0]["queue"]
    assert caller.falq("pause", queue).code == 0
    held = caller.submit(FLUX, {"prompt": "held"})
    assert caller.falq("cancel", held).json["status"] == "cancelled"
    assert caller.falq("resume", queue).code == 0
    lost = caller.submit(FLUX, {"prompt": "its worker is killed"}, "--no-sync-only")
    processes[0].kill()
    assert caller.falq("wait", lost).code == 0
    for command in ("jobs", "metrics", "doctor"):
        assert caller.falq(command).code == 0, command
    for name, text in [each for home in workers for each in home.texts().items()]:
        assert b"permission" not in text, (name, text[-2000:])


def test_the_operator_sees_every_page_of_the_dashboard(guided, new_home):
    import urllib.request

    home = new_home(FAL_KEY="", FALQ_FAL_URL="", **guided.env("operator.env"))
    dashboard = home.start("dashboard", "--port", "0")
    url = json.loads(dashboard.stdout.readline())["url"]
    pages = ("", "api/state", "metrics", "rq/", "rq/0/data/queues.json", "rq/0/data/workers.json")
    for page in pages:
        with urllib.request.urlopen(url + page) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("user", ["caller", "worker", "operator"])
@pytest.mark.parametrize(
    "command",
    [
        ("CONFIG", "SET", "maxmemory", "1"), ("FLUSHALL",), ("KEYS", "*"), ("SCAN", "0"),
        ("ACL", "LIST"), ("SHUTDOWN",), ("GET", "somebody:else"),
        ("SET", "somebody:else", "1"), ("PUBLISH", "somebody", "hello"), ("MONITOR",),
        ("EVAL", "return redis.call('GET', 'somebody:else')", "0"), ("SCRIPT", "FLUSH"),
    ],
    ids=lambda command: command[0] if isinstance(command, tuple) else command,
)  # fmt: skip
def test_nobody_has_rights_beyond_falq(guided, user, command):
    if user == "operator" and command[0] == "SCRIPT":
        pytest.skip("a flush of scripts costs one reload")
    with (
        guided.client(user) as client,
        pytest.raises(RedisError, match=r"(?i)permission|can't access"),
    ):
        client.execute_command(*command)


def test_the_callers_user_cannot_listen_to_rqs_commands(guided):
    with guided.client("caller") as client, pytest.raises(NoPermissionError):
        client.execute_command("PUBLISH", "rq:pubsub:x", "shutdown")


def test_without_a_certificate_that_is_known_nobody_connects(guided, new_home):
    env = guided.env("caller.env")
    env["FALQ_REDIS_URL"] = env["FALQ_REDIS_URL"].partition("?")[0]
    run = new_home(**env).falq("jobs")
    assert run.code == 5
    assert "certificate" in run.error["message"].lower()


def test_a_wrong_password_is_told_as_such(guided, new_home):
    env = guided.env("caller.env")
    env["FALQ_REDIS_URL"] = env["FALQ_REDIS_URL"].replace("CALLER-PASSWORD", "wrong")
    run = new_home(**env).falq("jobs")
    assert run.code == 5
    assert "rights" in run.error["message"]


@pytest.mark.parametrize(
    ("user", "scripts"), [("caller", CALLERS_SCRIPTS), ("worker", WORKERS_SCRIPTS)]
)
def test_the_guides_users_may_do_what_falqs_scripts_do(user, scripts):
    line = next(each for each in block("users.acl").splitlines() if f"falq-{user}" in each)
    allowed = {word[1:].upper() for word in line.split() if word.startswith("+")}
    for name in scripts:
        needed = set(re.findall(r"call\('([A-Z]+)'", compose(name))) - {"PUBSUB"}
        assert needed <= allowed, (name, needed - allowed)


def test_the_guide_names_only_commands_that_exist():
    for page in DOCS.glob("*.md"):
        for name in re.findall(r"(?:`|^    |/bin/)falq ([a-z]+)", page.read_text(), re.MULTILINE):
            assert name in COMMANDS, (page.name, name)


def test_a_rolling_restart_loses_and_repeats_nothing(sandbox, new_home, tmp_path):
    server = Server(tmp_path / "r")
    try:
        shared = {"FALQ_REDIS_URL": server.url}
        homes = [new_home(**shared) for _ in range(2)]
        workers = [home.start_worker() for home in homes]
        until(lambda: alive(homes[0]) == 2)
        prompts = [{"prompt": f"rolling {n}"} for n in range(12)]
        tickets = []
        for number, arguments in enumerate(prompts):
            tickets.append(homes[0].submit(FLUX, arguments, "--no-sync-only"))
            if number in (3, 7):
                which = 0 if number == 3 else 1
                workers[which].send_signal(signal.SIGTERM)
                assert workers[which].wait(timeout=30) == 0
                workers[which] = homes[which].start_worker()
        for ticket in tickets:
            until(lambda ticket=ticket: server.phase(ticket) == "done", wait_s=30)
        for arguments in prompts:
            assert len(posts_of(sandbox, arguments)) == 1, arguments
    finally:
        for home in homes:
            home.close()
        server.close()


def test_a_job_of_a_newer_falq_is_refused_before_anything_is_sent(sandbox, new_home, tmp_path):
    server = Server(tmp_path / "r")
    home = new_home(FALQ_REDIS_URL=server.url)
    try:
        ticket = home.submit(FLUX, {"prompt": "from the future"})
        server.ask("HSET", f"falq:job:{ticket}", "version", "99.0.0")
        home.start_worker()
        run = home.falq("wait", ticket)
        assert run.code == 2
        assert "99.0.0" in run.error["message"]
        assert posts_of(sandbox, {"prompt": "from the future"}) == []
    finally:
        home.close()
        server.close()


def test_a_job_of_an_older_falq_is_finished(sandbox, new_home, tmp_path):
    server = Server(tmp_path / "r")
    home = new_home(FALQ_REDIS_URL=server.url)
    try:
        ticket = home.submit(FLUX, {"prompt": "from the past"})
        key = f"falq:job:{ticket}"
        server.ask("HSET", key, "version", "0.0.1")
        server.ask("HDEL", key, "skill", "deaths", "arguments_hash")
        home.start_worker()
        assert home.falq("wait", ticket).code == 0
    finally:
        home.close()
        server.close()


def test_links_between_the_guides_lead_somewhere():
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


@pytest.mark.skipif(shutil.which("redis-sentinel") is None, reason="no redis-sentinel here")
def test_a_failover_by_sentinel_loses_nothing(sandbox, new_home, tmp_path):
    with sentinels(tmp_path) as (url, kill_primary):
        home = new_home(FALQ_REDIS_URL=url)
        worker = home.start_worker()
        until(lambda: alive(home) == 1)
        assert home.call(FLUX, {"prompt": "before"}).code == 0
        queue = json.loads(home.falq("status").out)["queues"][0]["queue"]
        assert home.falq("pause", queue).code == 0
        ticket = home.submit(FLUX, {"prompt": "during"})
        waiting = home.start("wait", ticket)
        time.sleep(1)
        kill_primary()
        until(lambda: home.falq("status").code == 0, every_s=0.5)
        assert home.falq("resume", queue).code == 0
        _, err = waiting.communicate(timeout=60)
        assert waiting.returncode == 0, err
        assert len(posts_of(sandbox, {"prompt": "during"})) == 1
        assert home.call(FLUX, {"prompt": "after"}).code == 0
        assert worker.poll() is None


@contextlib.contextmanager
def sentinels(root: Path):
    """Run a primary, a replica and a sentinel that may decide alone."""
    program = shutil.which("redis-server")
    ports = [free_port() for _ in range(3)]
    for name in ("p", "r", "s"):
        (root / name).mkdir()
    common = ["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    conf = root / "s" / "sentinel.conf"
    conf.write_text(
        f"port {ports[2]}\nbind 127.0.0.1\ndir {root / 's'}\n"
        f"sentinel monitor falq 127.0.0.1 {ports[0]} 1\n"
        "sentinel down-after-milliseconds falq 1500\nsentinel failover-timeout falq 6000\n"
    )
    lines = [
        [program, "--port", str(ports[0]), "--dir", str(root / "p"), *common],
        [program, "--port", str(ports[1]), "--dir", str(root / "r"), *common,
         "--replicaof", "127.0.0.1", str(ports[0])],
        [shutil.which("redis-sentinel"), str(conf)],
    ]  # fmt: skip
    processes = []
    try:
        for line in lines:
            processes.append(
                subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            time.sleep(0.5)
        until(lambda: knows_replica(ports[2]))
        yield f"redis+sentinel://127.0.0.1:{ports[2]}/falq/0", processes[0].kill
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.skipif(shutil.which("redis-sentinel") is None, reason="no redis-sentinel here")
def test_sentinels_primary_and_callers_speak_tls_with_passwords(guided, new_home, tmp_path):
    port, sentinel_port = free_port(), free_port()
    tls = [
        "port 0", f"tls-cert-file {guided.root}/redis.crt", f"tls-key-file {guided.root}/redis.key",
        f"tls-ca-cert-file {guided.root}/redis.crt", "tls-auth-clients no", "tls-replication yes",
        "bind 127.0.0.1",
    ]  # fmt: skip
    for name in ("p", "s"):
        (tmp_path / name).mkdir()
    primary, sentinel = tmp_path / "p" / "conf", tmp_path / "s" / "conf"
    primary.write_text("\n".join([*tls, f"tls-port {port}", f"dir {tmp_path}/p", "save \"\"",
                                  "appendonly yes", "requirepass PRIMARY", ""]))  # fmt: skip
    lines = block("sentinel.conf").replace("redis-1.internal 6380", f"127.0.0.1 {port}")
    lines = lines.replace("PRIMARY-PASSWORD", "PRIMARY").replace(" 2\n", " 1\n", 1)
    kept = [line for line in lines.splitlines() if line.startswith(("sentinel", "requirepass"))]
    sentinel.write_text("\n".join([*tls, f"tls-port {sentinel_port}", f"dir {tmp_path}/s",
                                   *kept, ""]))  # fmt: skip
    url = re.search(r'FALQ_REDIS_URL="(rediss\+sentinel:[^"]+)"', GUIDE)[1]
    url = re.sub(r"@[^/]+/", f"@127.0.0.1:{sentinel_port}/", url)
    url = url.replace("PRIMARY-PASSWORD", "PRIMARY").replace("/etc/falq", str(guided.root))
    processes = [
        subprocess.Popen([program, str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for program, conf in (("redis-server", primary), ("redis-sentinel", sentinel))
    ]
    try:
        home = new_home(FALQ_REDIS_URL=url)
        until(lambda: home.falq("status").code == 0, every_s=0.3)
        worker = home.start_worker()
        assert home.call(FLUX, {"prompt": "through TLS and sentinels"}).code == 0
        assert worker.poll() is None
        home.close()
    finally:
        for process in processes:
            process.kill()
            process.wait()


def knows_replica(port: int) -> bool:
    with contextlib.suppress(RedisError), Redis(port=port) as sentinel:
        found = sentinel.execute_command("SENTINEL", "REPLICAS", "falq")
        return bool(found) and all(b"s_down" not in str(each).encode() for each in found)
    return False


def test_honcho_starts_everything_from_a_checkout(sandbox, new_home):
    home = new_home(FALQ_DASHBOARD_PORT=str(free_port()))
    honcho = Path(sys.executable).with_name("honcho")
    if not honcho.exists():
        pytest.skip("honcho is not installed")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.Popen(
        [str(honcho), "start"], cwd=DOCS.parent, env=home.environ(PATH=path), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        until(lambda: json.loads(home.falq("status").out)["workers"])
        assert home.call(FLUX, {"prompt": "under honcho"}).code == 0
    finally:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert "Traceback" not in out
    assert "SERVING" in out
    assert json.loads(home.falq("status").out)["status"] == "DOWN"
