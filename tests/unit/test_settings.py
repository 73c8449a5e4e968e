import pickle
from pathlib import Path

import pytest

from falq.errors import (
    ConfigurationError,
    InvalidKeyError,
    MissingKeyError,
    UsageError,
)
from falq.settings import SANDBOX_KEY, Settings, is_loopback

CANARY = "canary-id:canary-secret"


def settings(**environ):
    return Settings.from_env({"FALQ_HOME": "/h"} | environ)


def test_an_empty_environment_gives_the_defaults():
    got = settings()
    assert got.key is None
    assert got.redis_url is None
    assert got.embedded
    assert got.fal_url is None
    assert not got.sandbox
    assert got.account_max_concurrent is None
    assert got.on_queue_down == "direct"
    assert got.on_unknown_submit == "fail"
    assert got.allow_api_key_arg is False
    assert got.queue_overrides == {}
    assert got.account == ""


def test_without_falq_home_the_state_directory_of_the_user_is_used():
    assert Settings.from_env({}).home.name == "falq"


def test_a_relative_home_becomes_absolute_and_a_tilde_is_expanded():
    assert settings(FALQ_HOME="x").home == Path.cwd() / "x"
    assert settings(FALQ_HOME="~/x").home == Path.home() / "x"


def test_every_variable_is_read():
    got = settings(
        FAL_KEY="a:b",
        FALQ_REDIS_URL="redis://127.0.0.1/3",
        FALQ_FAL_URL="http://127.0.0.1:9/",
        FALQ_ACCOUNT_MAX_CONCURRENT="7",
        FALQ_ON_QUEUE_DOWN="fail",
        FALQ_ON_UNKNOWN_SUBMIT="resubmit",
        FAL_ALLOW_API_KEY_ARG="1",
        FAL_QUEUE_BURST="4",
    )
    assert (got.key, got.redis_url, got.fal_url) == (
        "a:b",
        "redis://127.0.0.1/3",
        "http://127.0.0.1:9",
    )
    assert got.account_max_concurrent == 7
    assert (got.on_queue_down, got.on_unknown_submit) == ("fail", "resubmit")
    assert got.allow_api_key_arg is True
    assert got.queue_overrides == {"FAL_QUEUE_BURST": "4"}
    assert not got.embedded
    assert got.sandbox


@pytest.mark.parametrize("name", ["FAL_KEY", "FALQ_REDIS_URL", "FALQ_FAL_URL", "FAL_QUEUE_BURST"])
def test_an_empty_or_blank_variable_counts_as_unset(name):
    assert settings(**{name: "  "}) == settings()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FALQ_REDIS_URL", "localhost:6379", "redis://"),
        ("FALQ_REDIS_URL", "http://localhost", "redis://"),
        ("FALQ_FAL_URL", "127.0.0.1:80", "http://"),
        ("FALQ_FAL_URL", "http://u:p@host", "http://"),
        ("FALQ_FAL_URL", "http://host/path", "http://"),
        ("FALQ_FAL_URL", "http://host:99999", "http://"),
        ("FALQ_FAL_URL", "ftp://host", "http://"),
        ("FALQ_ACCOUNT_MAX_CONCURRENT", "0", ">= 1"),
        ("FALQ_ACCOUNT_MAX_CONCURRENT", "two", ">= 1"),
        ("FALQ_ON_QUEUE_DOWN", "ignore", "direct or fail"),
        ("FALQ_ON_UNKNOWN_SUBMIT", "Resubmit", "fail or resubmit"),
        ("FAL_ALLOW_API_KEY_ARG", "maybe", "true or false"),
        ("FAL_QUEUE_MAX_CONCURRENT", "-1", ">= 0"),
        ("FAL_QUEUE_MAX_CONCURRENT", "1.5", ">= 0"),
        ("FAL_QUEUE_START_INTERVAL", "nan", ">= 0"),
        ("FAL_QUEUE_POLL_INTERVAL", "0", "> 0"),
        ("FAL_QUEUE_JOB_TIMEOUT", "inf", "> 0"),
        ("FAL_QUEUE_RATE_PER_MIN", "0", "> 0"),
        ("FAL_QUEUE_BURST", "0", ">= 1"),
        ("FAL_QUEUE_CLIENT_IDLE_TIMEOUT", "1_0", ">= 0"),
        ("FAL_QUEUE_SYNC_ONLY", "2", "true or false"),
    ],
)
def test_an_invalid_value_is_refused_with_name_and_expectation(name, value, expected):
    with pytest.raises(ConfigurationError) as caught:
        settings(**{name: value})
    assert name in caught.value.message
    assert expected in caught.value.message
    assert caught.value.exit_code == 2


def test_the_refused_value_is_shown():
    with pytest.raises(ConfigurationError, match="'ignore'"):
        settings(FALQ_ON_QUEUE_DOWN="ignore")


def test_a_refused_redis_address_shows_no_password():
    with pytest.raises(ConfigurationError) as caught:
        settings(FALQ_REDIS_URL="reddis://user:hunter2@host")
    assert "hunter2" not in str(caught.value.to_dict())


def test_a_key_is_stripped_and_hidden_from_the_repr():
    got = settings(FAL_KEY=f" {CANARY}\n", FALQ_REDIS_URL="redis://:hunter2@127.0.0.1")
    assert got.key == CANARY
    assert "canary" not in repr(got)
    assert "hunter2" not in repr(got)


def test_the_account_tells_keys_apart_without_the_key():
    one, other = settings(FAL_KEY="a:b").account, settings(FAL_KEY="a:c").account
    assert one != other
    assert len(one) == 12
    assert int(one, 16) >= 0


def test_key_id_and_secret_make_the_same_key_as_fal_key():
    pair = settings(FAL_KEY_ID=" a ", FAL_KEY_SECRET="b\n")
    assert pair.key == "a:b"
    assert pair.account == settings(FAL_KEY="a:b").account


def test_fal_key_wins_over_the_pair():
    assert settings(FAL_KEY="x:y", FAL_KEY_ID="a", FAL_KEY_SECRET="b").key == "x:y"


@pytest.mark.parametrize("environ", [{}, {"FAL_KEY_ID": "a"}, {"FAL_KEY_SECRET": "b"}])
def test_no_key_or_half_a_pair_is_missing_when_one_is_needed(environ):
    with pytest.raises(MissingKeyError, match="FAL_KEY_SECRET") as caught:
        settings(**environ).require_key()
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("key", ["a b:c", "a:b\nX: y", "schlüssel:x"])
def test_a_key_that_cannot_go_into_a_header_is_refused_unseen(key):
    with pytest.raises(InvalidKeyError) as caught:
        settings(FAL_KEY=key)
    assert key not in str(caught.value.to_dict())


def test_the_deprecated_api_key_needs_leave_and_then_wins():
    with pytest.raises(UsageError, match="--api-key") as caught:
        Settings.from_env({"FAL_KEY": "a:b"}, api_key=CANARY)
    assert "canary" not in str(caught.value.to_dict())
    allowed = Settings.from_env({"FAL_KEY": "a:b", "FAL_ALLOW_API_KEY_ARG": "1"}, api_key=CANARY)
    assert allowed.key == CANARY


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://localhost:9", "http://[::1]:9"])
def test_a_sandbox_on_this_machine_needs_no_key(url):
    assert settings(FALQ_FAL_URL=url).require_key() == SANDBOX_KEY
    assert settings(FALQ_FAL_URL=url, FAL_KEY="a:b").require_key() == "a:b"


def test_a_sandbox_elsewhere_needs_a_key():
    with pytest.raises(MissingKeyError):
        settings(FALQ_FAL_URL="https://sandbox.example.com").require_key()


def test_hosts_follow_falq_fal_url():
    assert settings().hosts.run == "https://fal.run"
    assert settings(FALQ_FAL_URL="http://127.0.0.1:9").hosts.run == "http://127.0.0.1:9/run"


@pytest.mark.parametrize("host", ["127.evil.com", "localhost.evil.com", "0.0.0.0", "", None])
def test_look_alikes_are_no_loopback(host):
    assert not is_loopback(host)


def test_settings_survive_pickling():
    got = settings(FAL_KEY="a:b", FAL_QUEUE_BURST="4")
    assert pickle.loads(pickle.dumps(got)) == got
