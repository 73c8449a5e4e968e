"""Calls of scripts, alone and together."""

import pytest
from redis.exceptions import ResponseError

from falq.scripts import ScriptCall, Scripts

TEXTS = {
    "echo": "#!lua\n-- Needs nothing\nreturn ARGV[1]\n",
    "count": "#!lua\n-- Needs nothing\nreturn redis.call('INCR', ARGV[1])\n",
    "fail": "#!lua\n-- Needs nothing\nreturn redis.error_reply('no')\n",
    "nothing": "",
    "clock": "",
}


@pytest.fixture
def scripts(redis_client):
    redis_client.script_flush()
    return Scripts(redis_client, TEXTS.__getitem__)


def call(name, *args, read=lambda reply: reply):
    return ScriptCall(name, args, read)


def test_calls_go_together_and_each_has_its_own_outcome(scripts):
    def refuse(reply):
        raise KeyError(reply)

    outcomes = scripts.do_all([call("echo", "a"), call("fail"), call("echo", "b", read=refuse)])
    assert outcomes[0] == b"a"
    assert isinstance(outcomes[1], ResponseError)
    assert isinstance(outcomes[2], KeyError)


def test_scripts_that_the_server_does_not_know_run_once_all_the_same(scripts, redis_client):
    scripts.do(call("echo", "loaded before"))
    outcomes = scripts.do_all([call("count", "n"), call("echo", "x"), call("count", "n")])
    assert sorted(outcomes[::2]) == [1, 2]
    assert redis_client.get("n") == b"2"


def test_a_call_alone_raises_what_its_reply_says(scripts):
    with pytest.raises(ResponseError):
        scripts.do(call("fail"))
