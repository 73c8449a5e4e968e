"""With a replica, an intent to pay counts only when the replica has it."""

import os
import signal
import socket
import subprocess
import time

import pytest
from redis import Redis

from falq.admission import Admission
from falq.enqueue import NewJob, enqueue
from falq.journal import Journal
from falq.limits import Limits
from falq.phases import Phase
from falq.redis_link import count_replicas
from falq.scripts import UnacknowledgedError
from falq.server_binary import find_binary

ACCOUNT = "0123456789ab"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(port, directory, *more):
    directory.mkdir()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
    command = [find_binary().path, *options, "--repl-diskless-sync-delay", "0", *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def until(true, seconds=15.0):
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except Exception:
            pass
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.fixture
def pair(tmp_path):
    port, other = free_port(), free_port()
    primary = start(port, tmp_path / "primary")
    replica = start(other, tmp_path / "replica", "--replicaof", "127.0.0.1", str(port))
    with Redis(port=port) as redis:
        until(lambda: count_replicas(redis) == 1 and redis.wait(1, 100) == 1)
        yield redis, replica
    for server in (replica, primary):
        server.send_signal(signal.SIGCONT)
        server.terminate()
        server.wait(timeout=10)


def granted(redis, job_id):
    enqueue(
        redis,
        NewJob(
            job_id=job_id, account=ACCOUNT, queue="q", skill="s", model_id="a/b", arguments={},
            options={}, mode="sync", priority="normal", limits=Limits(start_interval_s=0),
            job_timeout_s=60, fingerprint=job_id,
        ),
    )  # fmt: skip
    return Admission(redis, ACCOUNT).admit("w", 1).grants[0]


def test_an_intent_counts_only_when_the_replica_has_it(pair):
    redis, replica = pair
    journal = Journal(redis, ACCOUNT)
    journal.replicas = count_replicas(redis)
    first = granted(redis, "j1")
    journal.advance("j1", first.token, Phase.SUBMITTING, fields={"submits": 1})
    second = granted(redis, "j2")
    os.kill(replica.pid, signal.SIGSTOP)
    with pytest.raises(UnacknowledgedError):
        journal.advance("j2", second.token, Phase.SUBMITTING, fields={"submits": 1})
    journal.advance("j2", second.token, Phase.QUEUED, fields={"submits": 0})
    assert journal.get("j1").phase == Phase.SUBMITTING
    assert journal.get("j2").phase == Phase.QUEUED
    os.kill(replica.pid, signal.SIGCONT)
