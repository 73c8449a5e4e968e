"""The table in ``falq.keys`` against the functions below it and against the scripts."""

import inspect
import re
from importlib.resources import files

from falq import keys

ROW = re.compile(r"^(falq:\S+)\s+(hash|string|list|set|zset|stream|channel)\s", re.MULTILINE)
TABLE = dict(ROW.findall(keys.__doc__))
SCRIPTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in files("falq").joinpath("lua").iterdir()
    if path.name.endswith(".lua")
}
#: What the scripts call an account's keys by.
NAMED = re.compile(r"([A-Z]+) = P \.\. '([a-z:]+)'")


def prefix(key: str) -> str:
    return key.partition("<")[0]


PREFIXES = {prefix(key) for key in TABLE}


def code(text: str) -> str:
    return "\n".join(line.partition("--")[0] for line in text.splitlines())


def literals(text: str) -> set[str]:
    """Give the keys of falq that a script writes out, each up to its first variable part."""
    account = "'falq:{' .. ARGV[1] .. '}:'"
    plain = code(text).replace(account, "P")
    written = set(re.findall(r"'(falq:[a-z{}:]+)'", plain))
    return written | {f"falq:{{a}}:{name}" for name in re.findall(r"\bP \.\. '([a-z:]+)'", plain)}


def test_each_key_has_one_row_and_a_type():
    assert len(TABLE) == len(ROW.findall(keys.__doc__))
    assert len(TABLE) > 20


def test_each_key_that_a_script_writes_out_is_in_the_table():
    for name, text in SCRIPTS.items():
        unknown = {each for each in literals(text) if each not in PREFIXES | {"falq:{a}:"}}
        assert not unknown, (name, unknown)


def test_each_key_of_rq_that_a_script_writes_out_is_named():
    for name, text in SCRIPTS.items():
        for key in re.findall(r"'(rq:[a-z]*:?)'", code(text)):
            assert key == "rq:" or f"``{key}" in keys.__doc__, (name, key)


def test_the_head_of_a_script_names_what_it_touches_beyond_its_account():
    for name, text in SCRIPTS.items():
        head = text.partition("\n--")[2].partition("\nlocal")[0]
        beyond = {key for key in literals(text) if not key.startswith("falq:{a}:")}
        for key in beyond if text.startswith("#!lua") else ():
            assert key.replace("{a}:", "") in head, (name, key)


def test_the_scripts_call_keys_as_the_functions_do():
    named = {short: "falq:{x}:" + name for short, name in NAMED.findall(SCRIPTS["account.lua"])}
    assert keys.scope("x", "q") == named["SCOPE"] + "q"
    assert keys.leases("x") == named["LEASES"]
    assert keys.held("x", "q") == named["HELD"] + "q"
    assert keys.waiting("x", "q") == named["WAITING"] + "q"
    for key in (keys.job(""), keys.rq_job(""), keys.rq_queue("")):
        assert f"'{key}' .." in SCRIPTS["jobs.lua"]


def test_each_function_gives_a_key_of_the_table():
    made = set()
    for name, function in inspect.getmembers(keys, inspect.isfunction):
        if name in ("of_account", "rq_queue", "rq_job"):
            continue
        values = {
            p: "a" if p == "account" else "@@" for p in inspect.signature(function).parameters
        }
        made.add(function(**values).partition("@@")[0])
    assert made <= PREFIXES | {"falq:alive:a"}


def test_the_constants_are_in_the_table():
    for key in (keys.JOBS, keys.UNKNOWN, keys.INTAKE, keys.COUNTERS, keys.WORKERS):
        assert key in TABLE
    assert TABLE[keys.INTAKE_CHANNEL] == "channel"
