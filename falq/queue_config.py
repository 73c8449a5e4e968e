"""The limits and habits of one queue: ``queue_config.yaml`` and the ``FAL_QUEUE_*`` variables.

Precedence: environment, then file, then the defaults of ``QueueConfig``. What is invalid is
refused as a whole, so a slip never leaves a queue without limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from falq.config_file import Entry, read_entries, shown
from falq.errors import ConfigurationError, UsageError
from falq.limits import MAX_INTERVAL_S, MAX_RATE_PER_MIN, Limits
from falq.model_id import parse_model_id
from falq.values import (
    MAX_SECONDS,
    boolean,
    boolean_from_text,
    number_from_text,
    number_within,
    whole_number,
)


@dataclass(frozen=True, kw_only=True)
class ModelRate:
    """What ``model_rates`` says about one model; None falls back to the queue's value."""

    rate_per_min: float | None = None
    burst: int | None = None


@dataclass(frozen=True, kw_only=True)
class QueueConfig:
    """The nine settings of a queue, named as in the file; times in seconds."""

    max_concurrent: int = 2
    start_interval: float = 1.0
    poll_interval: float = 5.0
    job_timeout: float = 600.0
    global_rate_per_min: float = 10.0
    global_burst: int = 5
    model_rates: Mapping[str, ModelRate] = field(default_factory=dict)
    client_idle_timeout: float = 0.0
    sync_only: bool = True

    def limits_for(self, model_id: str) -> Limits:
        """Resolve the limits of a model: its own rate and burst win over the queue's.

        >>> QueueConfig(model_rates={"a/b": ModelRate(rate_per_min=60)}).limits_for("a/b")
        Limits(max_concurrent=2, start_interval_s=1.0, rate_per_min=60, burst=5)
        """
        own = self.model_rates.get(model_id, ModelRate())
        return Limits(
            max_concurrent=self.max_concurrent,
            start_interval_s=self.start_interval,
            rate_per_min=self.global_rate_per_min if own.rate_per_min is None else own.rate_per_min,
            burst=self.global_burst if own.burst is None else own.burst,
        )


@dataclass(frozen=True)
class _Setting:
    name: str
    variable: str | None
    expected: str
    check: Callable[[Any], Any]

    def from_text(self, text: str) -> Any:
        if self.check is boolean:
            return boolean_from_text(text)
        return self.check(number_from_text(text))


def _seconds(*, zero: bool, most: float = MAX_SECONDS) -> Callable[[Any], float]:
    return lambda value: number_within(value, most, zero=zero)


_RATE = _Setting(
    "global_rate_per_min",
    "FAL_QUEUE_RATE_PER_MIN",
    "starts per minute, a number > 0",
    lambda value: number_within(value, MAX_RATE_PER_MIN, zero=False),
)
_BURST = _Setting(
    "global_burst", "FAL_QUEUE_BURST", "a whole number >= 1", lambda value: whole_number(value, 1)
)
_SETTINGS = (
    _Setting(
        "max_concurrent",
        "FAL_QUEUE_MAX_CONCURRENT",
        "a whole number >= 0 (0 pauses the queue)",
        lambda value: whole_number(value, 0),
    ),
    _Setting(
        "start_interval",
        "FAL_QUEUE_START_INTERVAL",
        "seconds, a number >= 0, at most a day",
        _seconds(zero=True, most=MAX_INTERVAL_S),
    ),
    _Setting(
        "poll_interval", "FAL_QUEUE_POLL_INTERVAL", "seconds, a number > 0", _seconds(zero=False)
    ),
    _Setting("job_timeout", "FAL_QUEUE_JOB_TIMEOUT", "seconds, a number > 0", _seconds(zero=False)),
    _RATE,
    _BURST,
    _Setting(
        "client_idle_timeout",
        "FAL_QUEUE_CLIENT_IDLE_TIMEOUT",
        "seconds, a number >= 0 (0 disables it)",
        _seconds(zero=True),
    ),
    _Setting("sync_only", "FAL_QUEUE_SYNC_ONLY", "true or false", boolean),
)
_BY_NAME = {setting.name: setting for setting in _SETTINGS}
_BY_VARIABLE = {setting.variable: setting for setting in _SETTINGS}
_MODEL_RATE = {"rate_per_min": _RATE, "burst": _BURST}
#: The variables that override a file.
VARIABLES = tuple(setting.variable for setting in _SETTINGS if setting.variable)


def read_overrides(overrides: Mapping[str, str]) -> dict[str, Any]:
    """Turn ``FAL_QUEUE_*`` variables into settings; others and empty ones are passed over.

    Raises:
        ConfigurationError: Names the variable, its value and what was expected.
    """
    found = {}
    for variable, text in overrides.items():
        setting = _BY_VARIABLE.get(variable)
        if setting is not None and text.strip():
            found[setting.name] = _read_override(setting, text)
    return found


def _read_override(setting: _Setting, text: str) -> Any:
    try:
        return setting.from_text(text)
    except ValueError:
        raise ConfigurationError(
            f"{setting.variable} is {shown(text)}: expected {setting.expected}"
        ) from None


def load_queue_config(
    path: Path | None,
    overrides: Mapping[str, str],
    on_warning: Callable[[str], None],
) -> QueueConfig:
    """Read a skill's file, lay the environment over it and check every value.

    Args:
        path: The file; None means defaults. A wrapper whose own file is gone passes None.
        overrides: ``FAL_QUEUE_*`` variables by name.
        on_warning: Told about unknown keys, one line each.

    Raises:
        ConfigurationError: Names the file and line or the variable, the value and what was
            expected. Nothing of a bad file is used.
    """
    values = _read_file(path, on_warning) if path is not None else {}
    return QueueConfig(**values | read_overrides(overrides))


def _read_file(path: Path, on_warning: Callable[[str], None]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in read_entries(path):
        if entry.key in _BY_NAME:
            found[entry.key] = _checked(entry, _BY_NAME[entry.key], entry.key)
        elif entry.key == "model_rates":
            found["model_rates"] = _model_rates(entry, on_warning)
        else:
            on_warning(f"{entry.place}: unknown setting {shown(entry.key)} is ignored")
    return found


def _checked(entry: Entry, setting: _Setting, name: str) -> Any:
    try:
        return setting.check(entry.value)
    except ValueError:
        raise entry.refuse(name, setting.expected) from None


def _model_rates(rates: Entry, on_warning: Callable[[str], None]) -> dict[str, ModelRate]:
    if rates.value is None:
        return {}
    if not isinstance(rates.value, dict):
        raise rates.refuse("model_rates", "model ids, each with {rate_per_min, burst}")
    return {_model_id(entry): _model_rate(entry, on_warning) for entry in rates.children()}


def _model_id(entry: Entry) -> str:
    try:
        return parse_model_id(str(entry.key))
    except UsageError as err:
        raise ConfigurationError(f"{entry.place}: model_rates: {err}") from err


def _model_rate(rate: Entry, on_warning: Callable[[str], None]) -> ModelRate:
    name = f"model_rates[{rate.key}]"
    if not isinstance(rate.value, dict) or not rate.value.keys() & _MODEL_RATE.keys():
        raise rate.refuse(name, "{rate_per_min: NUMBER, burst: NUMBER}")
    found = {}
    for entry in rate.children():
        setting = _MODEL_RATE.get(entry.key)
        if setting is None:
            on_warning(f"{entry.place}: unknown key {shown(entry.key)} in {name} is ignored")
        else:
            found[entry.key] = _checked(entry, setting, f"{name}.{entry.key}")
    return ModelRate(**found)
