"""The guides name what there is: commands, options, variables, settings, exit codes, links."""

import dataclasses
import re
from pathlib import Path

import click
import pytest

from falq.cli.main import COMMANDS
from falq.errors import ERROR_TYPES
from falq.queue_config import _BY_NAME, QueueConfig
from tests.reference import DOCS, PAGE, commands, options_of, renewed

ROOT = DOCS.parent
PAGES = [*sorted(DOCS.glob("*.md")), *sorted(ROOT.glob("*.md"))]
REFERENCE = PAGE.read_text()
#: Variables of falq's own processes among themselves, and of this test's pattern.
INTERNAL = {"FALQ_DOOR", "FALQ_COMPLETE"}
#: Beside errors: done, not finished yet, Ctrl-C.
CODES = {0, 75, 130} | {kind.exit_code for kind in ERROR_TYPES.values()}
#: A command in a line of code or between backticks, up to where a shell would end it.
_CALL = re.compile(r"(?:^|[\s`/])falq (?!import\b)((?:skill )?[a-z]+)((?:[^`|#\n]|\\\n)*)")


def rows(title: str) -> list[list[str]]:
    """Give the cells of the table below a heading of the reference."""
    section = REFERENCE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def code_of(page: Path) -> str:
    """Give the lines and spans of a page that are code."""
    text = page.read_text()
    indented = re.findall(r"^(?: {4}|\t)(.*)$", text, re.MULTILINE)
    fenced = re.findall(r"^```.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return "\n".join([*indented, *fenced, *re.findall(r"`[^`\n]+`", text)])


def test_the_list_of_commands_is_that_of_the_code():
    assert renewed(REFERENCE) == REFERENCE, "python -m tests.reference"


def test_each_setting_of_a_queue_is_told_with_its_default_and_its_variable():
    told = {row[0].strip("`"): row for row in rows("Settings of a queue")}
    settings = {each.name: each for each in dataclasses.fields(QueueConfig)}
    assert told.keys() == settings.keys()
    for name, value in dataclasses.asdict(QueueConfig()).items():
        assert told[name][1] == str(value).replace("True", "true"), name
        variable = _BY_NAME[name].variable if name in _BY_NAME else None
        assert told[name][2].strip("`") == (variable or "none")


def test_each_variable_that_the_code_reads_is_told_and_no_other():
    sources = [
        path for name in ("falq", "workers", "generator") for path in (ROOT / name).rglob("*.py")
    ]
    text = "\n".join(path.read_text() for path in sources) + (ROOT / "Procfile").read_text()
    read = set(re.findall(r"\b(FALQ?_[A-Z_]*[A-Z])\b|\bNO_COLOR\b", text)) - INTERNAL - {""}
    read = {name for name in read if not name.endswith("_")} | {"NO_COLOR"}
    told = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", str(rows("Environment"))))
    told |= set(re.findall(r"`(FAL_QUEUE_[A-Z_]+)`", str(rows("Settings of a queue"))))
    assert told == read


def test_each_exit_code_is_told_and_no_other():
    assert {int(row[0]) for row in rows("Exit codes")} == CODES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_the_guides_exist(page):
    known = {name.removeprefix("falq "): command for name, command in commands()}
    for name, rest in _CALL.findall(code_of(page)):
        assert name in known or name in COMMANDS, name
        command = known.get(name)
        given = re.findall(r"(?<![\w-])(--[a-z][a-z-]+|-[a-zA-Z])(?![\w-])", rest)
        if command is not None:
            assert set(given) - _options(command) == set(), (page.name, name)


def _options(command: click.Command) -> set[str]:
    names = {name for each in options_of(command) for name in (*each.opts, *each.secondary_opts)}
    return names | {"-h", "--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_their_anchors_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}


def test_the_readme_starts_with_the_two_commands_and_fits_a_screen():
    lines = (ROOT / "README.md").read_text().splitlines()
    demo = "    python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/falq demo"
    tests = '    .venv/bin/pip install -q -e ".[dev]" && .venv/bin/python -m pytest -n 2'
    assert lines.index(demo) < lines.index(tests) < 20
    assert len(lines) < 70
