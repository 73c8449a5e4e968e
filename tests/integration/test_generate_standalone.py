"""A skill finds falq wherever it is, or carries it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest

from falq.fal.catalogue import ModelDocument
from falq.sandbox import default_models, running_sandbox
from falq.sandbox.model import openapi_document
from generator.creator import install_creator
from generator.generation import Request, generate_skills
from generator.model_facts import read_facts
from generator.scripts import standalone_requirements

MODEL_ID = "sandbox/tts/turbo"
WRAPPER = "scripts/sandbox_tts_turbo.py"


def generate(output, **options):
    from datetime import date

    model = next(model for model in default_models() if model.model_id == MODEL_ID)
    document = ModelDocument(
        model_id=MODEL_ID, openapi=openapi_document(model), deprecated=False, entry=None
    )
    facts = read_facts(document, None, date(2026, 8, 1))
    return generate_skills([facts], Request(output=output, **options))[0].path


def names_needed(requirements):
    """Give the distributions that requirements stand for, theirs included."""
    found, left = set(), list(requirements)
    while left:
        line = left.pop()
        name = re.match(r"[A-Za-z0-9_.-]+", line).group().lower()
        if name in found or "extra ==" in line:
            continue
        try:
            left.extend(metadata.requires(name) or ())
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
    return found


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """Make a fresh environment without falq."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def python_with_requirements(tmp_path_factory):
    """Make a fresh environment that holds only what a standalone skill lists."""
    folder = tmp_path_factory.mktemp("listed")
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in names_needed(standalone_requirements()):
        for file in metadata.files(name) or ():
            top = file.parts[0]
            source = Path(metadata.distribution(name).locate_file(top))
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(source)
    return folder / "bin" / "python"


def start(python, script, *words, path="/usr/bin:/bin", **environment):
    return subprocess.run(
        [python, script, *words],
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": path, "HOME": os.environ.get("HOME", "/"), **environment},
        check=False,
    )


def moved(folder, tmp_path):
    target = tmp_path / "elsewhere" / "renamed"
    target.parent.mkdir()
    shutil.move(folder, target)
    return target


def test_a_moved_standalone_skill_needs_only_its_listed_requirements(
    tmp_path, python_with_requirements
):
    folder = moved(generate(tmp_path / "skills", standalone=True), tmp_path)
    shutil.rmtree(tmp_path / "skills")
    done = start(python_with_requirements, folder / WRAPPER, "--help")
    assert done.returncode == 0, done.stderr
    assert "--voice" in done.stdout
    refused = start(python_with_requirements, folder / WRAPPER, "--text", "x", "--voice", "Rachell")
    assert refused.returncode == 2
    assert "did you mean" in json.loads(refused.stdout)["error"]["message"]


def test_a_moved_standalone_skill_makes_calls_with_a_worker_of_its_own(
    tmp_path, python_with_requirements, tmp_path_factory
):
    folder = moved(generate(tmp_path / "skills", standalone=True), tmp_path)
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    output = tmp_path / "output"
    with running_sandbox() as sandbox:
        environment = {"FALQ_FAL_URL": sandbox.url, "FALQ_HOME": str(home)}
        words = ("--text", "Hello", "--output", str(output))
        done = start(python_with_requirements, folder / WRAPPER, *words, **environment)
        client = folder / "scripts" / "queue_client.py"
        down = start(python_with_requirements, client, "--shutdown", **environment)
    assert done.returncode == 0, done.stderr
    assert Path(json.loads(done.stdout)["saved_path"]).parent == output
    assert down.returncode == 0, down.stderr


def test_the_inline_requirements_are_those_of_the_requirements_file(tmp_path):
    folder = generate(tmp_path, standalone=True)
    lines = (folder / WRAPPER).read_text().split("# /// script\n")[1].split("# ///\n")[0]
    header = tomllib.loads("".join(f"{line[2:]}\n" for line in lines.splitlines()))
    assert header["requires-python"] == ">=3.11"
    assert header["dependencies"] == (folder / "requirements.txt").read_text().splitlines()


def test_every_script_of_a_standalone_skill_starts_from_its_own_copy(
    tmp_path, python_with_requirements
):
    folder = moved(generate(tmp_path / "skills", standalone=True), tmp_path)
    for script in ("fal_api_call.py", "queue_client.py", "queue_daemon.py", "queue_protocol.py"):
        done = start(python_with_requirements, folder / "scripts" / script, "--help")
        assert done.returncode == 0, (script, done.stderr)
    assert done.stdout.startswith("falq")
    code = "import fal_api_call as f, falq; print(f.run_fal_api_job.__name__, falq.__file__)"
    done = subprocess.run(
        [python_with_requirements, "-c", code],
        cwd=folder / "scripts",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [
        "run_fal_api_job",
        str(folder / "scripts" / "_falq" / "falq" / "__init__.py"),
    ], done.stderr


def test_a_standalone_skill_names_a_missing_requirement(tmp_path, bare_python):
    folder = generate(tmp_path, standalone=True)
    done = start(bare_python, folder / WRAPPER, "--help")
    assert done.returncode == 2
    assert f"pip install -r {folder}/requirements.txt" in done.stderr
    check_failed(done, model_id=MODEL_ID)
    code = "import fal_api_call; fal_api_call.run_fal_api_job"
    done = subprocess.run(
        [bare_python, "-c", code],
        cwd=folder / "scripts",
        capture_output=True,
        text=True,
        check=False,
    )
    check_failed(done, model_id=None)


def check_failed(done, *, model_id):
    """One line for people and the failed result for programs, without a traceback."""
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    shown = json.loads(done.stdout)
    assert shown["status"] == "FAILED"
    assert shown["error"]["message"] == done.stderr.strip()
    assert (shown["error"]["model_id"], shown["error"]["may_be_billed"]) == (model_id, False)


def test_a_recorded_interpreter_without_falq_is_passed_by(tmp_path, bare_python):
    folder = generate(tmp_path)
    record = {"python": str(bare_python), "falq_version": "0"}
    (folder / "scripts" / "falq_runtime.json").write_text(json.dumps(record))
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = start(bare_python, folder / WRAPPER, "--help", path=path)
    assert done.returncode == 0, done.stderr
    assert "--voice" in done.stdout
    check_failed(start(bare_python, folder / WRAPPER, "--text", "x"), model_id=MODEL_ID)


@pytest.mark.parametrize("word", ["generate", "demo", "dashboard", "sandbox", "skill", "--bogus"])
def test_the_queue_client_of_a_standalone_skill_knows_its_own_commands(
    tmp_path, python_with_requirements, word
):
    client = generate(tmp_path, standalone=True) / "scripts" / "queue_client.py"
    done = start(python_with_requirements, client, word)
    check_failed(done, model_id=None)
    assert "no command of queue_client.py" in done.stderr
    shown = start(python_with_requirements, client, "--help").stdout
    assert "usage: queue_client.py" in shown
    assert "--status" in shown
    assert "generate" not in shown


def test_a_wrapper_goes_on_in_the_interpreter_that_generated_it(tmp_path, bare_python):
    folder = generate(tmp_path)
    done = start(bare_python, folder / WRAPPER, "--help")
    assert done.returncode == 0, done.stderr
    assert "--voice" in done.stdout


def test_a_wrapper_goes_on_by_the_falq_command_on_the_path(tmp_path, bare_python):
    folder = generate(tmp_path)
    (folder / "scripts" / "falq_runtime.json").unlink()
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = start(bare_python, folder / WRAPPER, "--help", path=path)
    assert done.returncode == 0, done.stderr
    assert "--voice" in done.stdout
    refused = start(bare_python, folder / WRAPPER, "--voice", "x", "--text", "-n", path=path)
    assert refused.returncode == 2
    assert "voice" in refused.stderr


def test_without_falq_anywhere_one_line_says_how_to_install_it(tmp_path, bare_python):
    folder = generate(tmp_path)
    (folder / "scripts" / "falq_runtime.json").unlink()
    done = start(bare_python, folder / WRAPPER, "--help")
    check_failed(done, model_id=MODEL_ID)
    assert "pip install falq" in done.stderr
    code = "import fal_api_call"
    words = [bare_python, "-c", code]
    cwd = folder / "scripts"
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    check_failed(done, model_id=None)


def test_shared_scripts_work_through_their_links(tmp_path, bare_python):
    folder = generate(tmp_path)
    for script in ("fal_api_call.py", "queue_client.py", "queue_daemon.py"):
        done = start(bare_python, folder / "scripts" / script, "--help")
        assert done.returncode == 0, (script, done.stderr)


def test_the_creators_door_to_generate_works(tmp_path, bare_python):
    folder = install_creator(tmp_path).path
    done = start(bare_python, folder / "scripts" / "generate_fal_skill.py", "--help")
    assert done.returncode == 0, done.stderr
    assert "--standalone" in done.stdout
