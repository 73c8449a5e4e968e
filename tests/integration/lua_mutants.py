"""Breaks each Lua script in many small ways and lists the breaks that no test notices.

    python -m tests.integration.lua_mutants [--script NAME] [--sample N] [--jobs 2]

A mutant is one changed operator, constant or flag, or one removed statement. The tests run in
a process of their own against a copy of the scripts that holds it.

What survives is equivalent, because
- only differences count: the first token or virtual time, the step of either, the number of
  entries that a stream, a page or a loop is cut at, a limit of one microsecond, a span of
  seconds that is longer by one;
- two waits are the same, and either of their reasons is right;
- a number stays the text that Redis gave, with which Lua counts as well; a default that is only
  read where something else is configured, which brings its own;
- it takes more looks or wakes somebody for nothing: hints (``asleep``, ``offers``, ``due``),
  shortcuts before a check that is made anyway (``work_left``, the status that ``vanish.lua`` reads
  again, a job's duplicates in a list that holds each id once, ``PERSIST`` of what has no end);
- a count is another one, of which only whether there is any is asked;
- the clock is not stored by a call after which the next one finds the same time, within CAP;
- the place of a job that nobody took in yet, in RQ's list, which is a view.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LUA = ROOT / "falq" / "lua"
#: As it was at the start: a run takes a while, and somebody may work on the scripts.
SOURCE = {path.name: path.read_text().splitlines() for path in sorted(LUA.glob("*.lua"))}
#: A mutant dies of the first test that notices it: the quick ones come first.
QUICK = (
    "test_journal.py", "test_reopening.py", "test_describing.py", "test_enqueue.py",
    "test_stock_tools.py", "test_probing.py",
)  # fmt: skip
#: A mutant may loop for ever.
LIMIT_S = 180
CONTEXT = multiprocessing.get_context("fork")
OPERATORS = {
    " >= ": " > ", " > ": " >= ", " <= ": " < ", " < ": " <= ", " == ": " ~= ", " ~= ": " == ",
    " + ": " - ", " - ": " + ", " and ": " or ", " or ": " and ", "not ": "",
    "'NX', ": "", "'XX', ": "", "math.max": "math.min", "math.min": "math.max",
    "ceil": "floor", "'LPUSH'": "'RPUSH'", "'RPUSH'": "'LPUSH'",
}  # fmt: skip
NUMBER = re.compile(r"(?<![\w.'\[])\d+(?![\w.\]])")
STATEMENT = re.compile(r"^\s*(?:[a-z_]+\(.*\)|[\w.\[\]#+ ]+ = .*)$")
GUARD = re.compile(r"^\s*if .* then .* end$")


@dataclass(frozen=True)
class Mutant:
    """One line of one script, changed."""

    script: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        shown = self.after.strip() or "(removed)"
        return f"{self.script}:{self.line}: {self.before.strip()}  ->  {shown}"

    def text(self) -> str:
        lines = list(SOURCE[self.script])
        lines[self.line - 1] = self.after
        return "\n".join(lines) + "\n"


def mutants_of(script: str) -> Iterator[Mutant]:
    for number, line in enumerate(SOURCE[script], 1):
        code = line.partition("--")[0].rstrip()
        if not code or line.startswith("#!"):
            continue
        for changed in changes(code):
            yield Mutant(script, number, code, changed)


def changes(code: str) -> Iterator[str]:
    """Give a line with one thing changed."""
    for old, new in OPERATORS.items():
        for found in re.finditer(re.escape(old), code):
            yield code[: found.start()] + new + code[found.end() :]
    for found in NUMBER.finditer(code):
        yield f"{code[: found.start()]}{int(found.group()) + 1}{code[found.end() :]}"
    balanced = code.count("(") == code.count(")") and code.count("{") == code.count("}")
    if balanced and (STATEMENT.match(code) or GUARD.match(code)) and "local" not in code:
        yield ""


def run_tests(directory: str, tests: list[str]) -> None:
    """Run the tests in this process, on the scripts of a directory; exit with their status."""
    os.setpgid(0, 0)
    import hypothesis
    import pytest
    from hypothesis.configuration import set_hypothesis_home_dir

    import falq.scripts

    falq.scripts.files = lambda _: Path(directory)
    set_hypothesis_home_dir(directory)
    hypothesis.settings.register_profile("mutants", database=None)
    hypothesis.settings.load_profile("mutants")
    with (Path(directory) / "said").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    places = [f"--basetemp={directory}/t", "-c", str(ROOT / "pyproject.toml")]
    status = pytest.main(["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", *places, *tests])
    os._exit(int(status != pytest.ExitCode.OK))


def judge(mutant: Mutant, tests: list[str]) -> tuple[Mutant, str]:
    """Give what the tests say that notice a mutant, or ''; one that hangs is noticed, too."""
    with tempfile.TemporaryDirectory() as directory:
        lua = Path(directory) / "lua"
        lua.mkdir()
        for name, lines in SOURCE.items():
            (lua / name).write_text("\n".join(lines) + "\n")
        (lua / mutant.script).write_text(mutant.text())
        process = CONTEXT.Process(target=run_tests, args=(directory, tests))
        process.start()
        process.join(LIMIT_S)
        # The group: a mutant that loops for ever keeps its server busy after its tests ended.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        said = (Path(directory) / "said").read_text(errors="replace")
        return mutant, (said or "nothing") if process.exitcode else ""


def copied_tests(directory: str) -> list[str]:
    """Copy the tests, which somebody may work on, too."""
    here, there = ROOT / "tests" / "integration", Path(directory)
    machines = sorted(path.name for path in here.glob("test_admission*.py"))
    names = list(dict.fromkeys((*QUICK, *machines)))
    for name in ("conftest.py", "admission_world.py", *names):
        (there / name).write_text((here / name).read_text())
    return [str(there / name) for name in names]


def chosen(scripts: list[str] | None, sample: int | None) -> list[Mutant]:
    found = [
        mutant for name in scripts or SOURCE for mutant in mutants_of(name) if name != "clock.lua"
    ]
    return found if sample is None else random.Random(0).sample(found, min(sample, len(found)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--script", action="append", help="such as admit.lua; several times")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="only show the mutants")
    options = parser.parse_args()
    mutants = chosen(options.script, options.sample)
    if options.list:
        print(*mutants, sep="\n")
        return 0
    os.environ["FALQ_SHRINK"] = "0"
    for name in ("falq.journal", "hypothesis.stateful", "pytest", "rq", "workers.building"):
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as directory:
        return examine(mutants, copied_tests(directory), options.jobs)


def examine(mutants: list[Mutant], tests: list[str], jobs: int) -> int:
    """Print the mutants that no test notices."""
    unbroken = Mutant("clock.lua", 1, "", SOURCE["clock.lua"][0])
    if said := judge(unbroken, tests)[1]:
        print(said, "the tests fail without a mutant: nothing can be said", file=sys.stderr)
        return 2
    started_at, survivors = time.monotonic(), 0
    with ThreadPoolExecutor(jobs) as pool:
        for mutant, said in pool.map(lambda each: judge(each, tests), mutants):
            if not said:
                survivors += 1
                print(mutant, flush=True)
    took_s = time.monotonic() - started_at
    print(f"{len(mutants)} mutants, {survivors} survived, {took_s:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
