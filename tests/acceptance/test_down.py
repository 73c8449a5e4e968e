"""``falq down`` ends what it started, and never the server under a worker that holds paid jobs."""

import json

from world import KEY, until

SLOW = {"prompt": "slow", "sandbox_latency": 4.0}


def in_flight(home) -> list[dict]:
    return json.loads(home.falq("status").out)["jobs"]


def test_a_worker_in_the_foreground_that_holds_a_job_keeps_its_server(new_home, sandbox):
    home = new_home()
    worker = home.start_worker()
    job_id = home.submit("sandbox/flux/dev", SLOW)
    until(lambda: in_flight(home))
    refused = home.falq("down")
    assert refused.code == 5
    assert f"pid {worker.pid}" in refused.error["message"]
    assert "still holds 1 job" in refused.error["message"]
    assert "--now" in refused.error["hint"]
    assert home.falq("wait", job_id).code == 0
    stopped = home.falq("down")
    assert (stopped.code, stopped.json["redis_stopped"]) == (0, True)


def test_a_worker_of_another_account_keeps_its_server_and_ours_goes_on(new_home):
    home = new_home()
    assert home.falq("up").code == 0
    other = {"FAL_KEY": KEY.replace("canary-id", "another-id")}
    home.start_worker(**other)
    home.submit("sandbox/flux/dev", SLOW, **other)
    until(lambda: in_flight(home))
    assert home.falq("down").code == 5
    assert home.falq("call", "-m", "sandbox/flux/dev", "-a", '{"prompt": "on"}').code == 0


def test_down_now_stops_the_server_and_the_job_goes_on_at_the_next_start(new_home, sandbox):
    home = new_home()
    worker = home.start_worker()
    job_id = home.submit("sandbox/flux/dev", SLOW)
    until(lambda: in_flight(home))
    assert home.falq("down", "--now").json["redis_stopped"] is True
    worker.kill()
    worker.wait()
    assert home.falq("up").code == 0
    assert home.falq("wait", job_id, timeout_s=90).json["status"] == "COMPLETED"
