"""The probe of a server: it writes one key of each kind, leaves none, and tells what is refused."""

import pytest
from redis import Redis

from falq.errors import RedisUnavailableError
from falq.redis_link import try_writes

ONCE = {"hset", "zadd", "sadd", "xadd", "rpush", "publish"}


@pytest.fixture
def limited(redis_client, redis_url):
    """Connect as a user that may do everything but what the test denies."""

    def make(*denied):
        redis_client.acl_setuser(
            "probing", enabled=True, nopass=True, keys=["*"], channels=["*"],
            categories=["+@all"], commands=[f"-{command}" for command in denied],
        )  # fmt: skip
        return Redis.from_url(redis_url.replace("unix://", "unix://probing:any@"))

    yield make
    redis_client.acl_deluser("probing")


def calls(redis):
    return {
        name.removeprefix("cmdstat_"): stats["calls"]
        for name, stats in redis.info("commandstats").items()
    }


def test_a_probe_writes_one_key_of_each_kind_and_leaves_none(redis_client):
    redis_client.flushall()
    redis_client.config_resetstat()
    try_writes(redis_client)
    made = calls(redis_client)
    assert {name for name, times in made.items() if times == 1} >= ONCE
    assert (made["expire"], made["del"]) == (5, 5)
    assert redis_client.keys() == []


@pytest.mark.parametrize("denied", sorted(ONCE | {"expire"}))
def test_a_command_that_is_refused_is_named_and_nothing_is_left(denied, limited, redis_client):
    redis_client.flushall()
    with limited(denied) as client, pytest.raises(RedisUnavailableError, match=denied):
        try_writes(client)
    assert redis_client.keys() == []


def test_of_two_refusals_the_first_is_told(limited):
    with limited("zadd", "publish") as client, pytest.raises(RedisUnavailableError, match="zadd"):
        try_writes(client)
