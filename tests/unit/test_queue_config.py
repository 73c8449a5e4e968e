import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import ConfigurationError
from falq.queue_config import VARIABLES, ModelRate, QueueConfig, load_queue_config


@pytest.fixture
def load(tmp_path):
    def load(text=None, overrides=None, warnings=None):
        path = tmp_path / "queue_config.yaml"
        if text is not None:
            path.write_text(text)
        heard = [] if warnings is None else warnings
        return load_queue_config(path if text is not None else None, overrides or {}, heard.append)

    return load


DEFAULTS = {
    "max_concurrent": 2,
    "start_interval": 1.0,
    "poll_interval": 5.0,
    "job_timeout": 600,
    "global_rate_per_min": 10,
    "global_burst": 5,
    "model_rates": {},
    "client_idle_timeout": 0,
    "sync_only": True,
}


def test_the_nine_defaults_are_those_of_the_contract():
    assert dataclasses.asdict(QueueConfig()) == DEFAULTS


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_an_empty_file_gives_the_defaults(load, text):
    assert load(text) == QueueConfig()


def test_a_file_that_is_named_must_be_there_or_a_slip_would_loosen_limits(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nope\.yaml is no file"):
        load_queue_config(tmp_path / "nope.yaml", {}, pytest.fail)


def test_no_path_gives_the_defaults():
    assert load_queue_config(None, {}, pytest.fail) == QueueConfig()


def test_every_setting_is_read_from_the_file(load):
    got = load(
        """
        max_concurrent: 3
        start_interval: 0
        poll_interval: 0.5
        job_timeout: 60
        global_rate_per_min: 120.5
        global_burst: 9
        model_rates:
          fal-ai/flux/dev: {rate_per_min: 30, burst: 2}
        client_idle_timeout: 90
        sync_only: false
        """
    )
    rates = {"fal-ai/flux/dev": ModelRate(rate_per_min=30, burst=2)}
    assert got == QueueConfig(
        max_concurrent=3,
        start_interval=0,
        poll_interval=0.5,
        job_timeout=60,
        global_rate_per_min=120.5,
        global_burst=9,
        model_rates=rates,
        client_idle_timeout=90,
        sync_only=False,
    )


def test_the_environment_wins_over_the_file(load):
    overrides = dict(zip(VARIABLES, ["7", "2.5", "1", "30", "99", "8", "5", "off"], strict=True))
    got = load("max_concurrent: 3\nsync_only: true", overrides)
    assert (got.max_concurrent, got.start_interval, got.poll_interval) == (7, 2.5, 1)
    assert (got.job_timeout, got.global_rate_per_min, got.global_burst) == (30, 99, 8)
    assert (got.client_idle_timeout, got.sync_only) == (5, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("1", True),
        ("YES", True),
        (" On ", True),
        ("false", False),
        ("0", False),
        ("no", False),
        ("off", False),
    ],
)
def test_booleans_of_the_environment(load, text, expected):
    assert load(None, {"FAL_QUEUE_SYNC_ONLY": text}).sync_only is expected


def test_zero_concurrency_pauses_and_is_no_slip(load):
    assert load("max_concurrent: 0").limits_for("a/b").max_concurrent == 0


def test_unknown_keys_warn_with_their_line_and_change_nothing(load):
    heard = []
    got = load("max_concurent: 9\nmodel_rates:\n  a/b: {burst: 1, brust: 2}\n", warnings=heard)
    assert got.max_concurrent == 2
    assert len(heard) == 2
    assert ":1: " in heard[0]
    assert "max_concurent" in heard[0]
    assert ":3: " in heard[1]
    assert "brust" in heard[1]


@pytest.mark.parametrize(
    ("text", "line", "named", "expected"),
    [
        ("max_concurrent: -1", 1, "max_concurrent is -1", ">= 0"),
        ("\nmax_concurrent: 1.5", 2, "max_concurrent is 1.5", ">= 0"),
        ("max_concurrent: true", 1, "max_concurrent is True", ">= 0"),
        ("max_concurrent: '2'", 1, "max_concurrent is '2'", ">= 0"),
        ("max_concurrent:", 1, "max_concurrent is None", ">= 0"),
        ("start_interval: .nan", 1, "start_interval is nan", ">= 0"),
        ("poll_interval: 0", 1, "poll_interval is 0", "> 0"),
        ("job_timeout: .inf", 1, "job_timeout is inf", "> 0"),
        ("global_rate_per_min: 0", 1, "global_rate_per_min is 0", "> 0"),
        ("global_burst: 0", 1, "global_burst is 0", ">= 1"),
        ("client_idle_timeout: -0.1", 1, "client_idle_timeout is -0.1", ">= 0"),
        ("sync_only: 1", 1, "sync_only is 1", "true or false"),
        ("model_rates: [a/b]", 1, "model_rates is ['a/b']", "rate_per_min"),
        ("model_rates: {nope: {burst: 1}}", 1, "'nope'", "owner/name"),
        ("model_rates:\n  a/b: 5", 2, "model_rates[a/b] is 5", "rate_per_min"),
        ("model_rates:\n  a/b:\n    burst: 0", 3, "model_rates[a/b].burst is 0", ">= 1"),
        ("- 1", 1, "[1]", "name: value"),
        ("a: 1\na: 2", 2, "'a'", "once"),
        ("a: [", 2, "no valid YAML", ""),
        ("a: !!python/object/apply:os.system [ls]", 1, "no valid YAML", "python/object"),
        ("a: &x [1]\nb: *x", 2, "aliases", "plain settings"),
        ("a: " + "[" * 50_000, 1, "nesting", "plain settings"),
    ],
)
def test_a_bad_file_is_refused_with_file_line_key_value_and_expectation(
    load, text, line, named, expected
):
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    assert f"queue_config.yaml:{line}: " in caught.value.message
    assert named in caught.value.message
    assert expected in caught.value.message
    assert "\n" not in caught.value.message


def test_billion_laughs_are_refused_before_they_grow(load):
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(ConfigurationError, match="aliases"):
        load("\n".join(["l0: &l0 [ha]", *levels]))


@pytest.mark.parametrize(
    ("raw", "said"), [(b"a: 1\n" * 20_000, "larger"), (b"\xff\xfe", "UTF-8"), (b"a: 1\x00", "YAML")]
)
def test_a_file_that_is_no_such_file_is_refused(tmp_path, raw, said):
    path = tmp_path / "queue_config.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigurationError, match=said):
        load_queue_config(path, {}, pytest.fail)


def test_a_directory_in_its_place_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no file"):
        load_queue_config(tmp_path, {}, pytest.fail)


def test_a_long_wrong_value_is_shortened(load):
    with pytest.raises(ConfigurationError) as caught:
        load(f"max_concurrent: {'x' * 5000}")
    assert len(caught.value.message) < 400


def test_a_variable_wins_even_where_the_error_names_it(load):
    with pytest.raises(ConfigurationError, match="FAL_QUEUE_BURST is '0': expected"):
        load("global_burst: 3", {"FAL_QUEUE_BURST": "0"})


def test_variables_of_others_are_passed_over(load):
    assert load(None, {"FAL_QUEUE_RUN_HOST": "queue.fal.run"}) == QueueConfig()


def test_a_model_rate_replaces_rate_and_burst_of_its_model_only(load):
    got = load("model_rates:\n  a/b: {rate_per_min: 60}\n  a/c: {burst: 1}")
    assert (got.limits_for("a/b").rate_per_min, got.limits_for("a/b").burst) == (60, 5)
    assert (got.limits_for("a/c").rate_per_min, got.limits_for("a/c").burst) == (10, 1)
    assert (got.limits_for("a/d").rate_per_min, got.limits_for("a/d").burst) == (10, 5)


def test_limits_carry_the_whole_promise(load):
    limits = load("max_concurrent: 4\nstart_interval: 0.25").limits_for("a/b")
    assert (limits.max_concurrent, limits.start_interval_s) == (4, 0.25)


@given(st.text(max_size=200))
def test_any_text_gives_a_configuration_or_a_configuration_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    try:
        config = load_queue_config(path, {}, lambda warning: None)
    except ConfigurationError:
        return
    assert isinstance(config, QueueConfig)


@given(st.sampled_from(VARIABLES), st.text(max_size=30))
def test_any_override_gives_limits_or_a_configuration_error(variable, text):
    try:
        limits = load_queue_config(None, {variable: text}, pytest.fail).limits_for("a/b")
    except ConfigurationError:
        return
    assert limits.rate_per_min > 0
    assert limits.burst >= 1
