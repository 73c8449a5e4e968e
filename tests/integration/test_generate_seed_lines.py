"""The seed's own command lines, word for word, from a project directory against the sandbox."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from falq.sandbox import running_sandbox

SCRIPTS = ".claude/skills/fal-skill-creator/scripts"
GENERATE = f"python {SCRIPTS}/generate_fal_skill.py"
PROGRAM = """
import sys, os
sys.path.insert(0, os.path.join(".claude", "skills", "fal-skill-creator", "scripts"))
from fal_api_call import run_fal_api_job
result = run_fal_api_job(
    model_id="fal-ai/flux/schnell",
    submit_args={"prompt": "a cat in a garden"},
    output_dir="./output",
)
print(result.get("saved_path") or result)
"""


class Project:
    """A directory in which somebody works with an agent."""

    def __init__(self, folder, environment):
        self.folder = folder
        self._environment = environment

    def run(self, line):
        done = subprocess.run(
            shlex.split(line),
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def skill(self, name="fal-ai-flux-dev"):
        return self.folder / ".claude" / "skills" / name


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FAL")}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    with running_sandbox() as sandbox:
        found = {**kept, "PATH": path, "FALQ_FAL_URL": sandbox.url, "FALQ_HOME": str(home)}
        yield found
        subprocess.run(["falq", "down"], env=found, capture_output=True, timeout=60, check=False)


@pytest.fixture
def project(tmp_path, environment):
    made = Project(tmp_path, environment)
    made.run("falq skill install")
    return made


@pytest.mark.parametrize("option", ["", "--lazy", "--standalone", "--public"])
def test_generate_lines_make_a_skill(project, option):
    project.run(f"{GENERATE} --model-id fal-ai/flux/dev {option}")
    assert (project.skill() / "scripts" / "fal_ai_flux_dev.py").is_file()


def test_the_line_for_several_models_makes_several_skills(project):
    project.run(f"{GENERATE} --model-id fal-ai/flux/dev --model-id fal-ai/flux/schnell")
    assert project.skill("fal-ai-flux-dev").is_dir()
    assert project.skill("fal-ai-flux-schnell").is_dir()


def test_the_search_line_lists_models(project):
    found = json.loads(project.run(f'{GENERATE} --search "flux" --category "text-to-image"'))
    assert "fal-ai/flux/dev" in [model["model_id"] for model in found["models"]]


def test_the_direct_call_line_saves_a_file(project):
    line = f"""python {SCRIPTS}/fal_api_call.py --model-id fal-ai/flux/schnell
        --args '{{"prompt": "a cat in a garden"}}' --output ./output"""
    check_saved(project, json.loads(project.run(line)))


def test_the_wrapper_line_saves_a_file(project):
    project.run(f"{GENERATE} --model-id fal-ai/flux/dev")
    line = """python .claude/skills/fal-ai-flux-dev/scripts/fal_ai_flux_dev.py
        --args '{"prompt": "sunset over mountains"}' --output ./output"""
    check_saved(project, json.loads(project.run(line)))


def test_the_programmatic_example_prints_the_saved_path(project):
    printed = project.run(f"python -c {shlex.quote(PROGRAM)}")
    assert Path(printed.strip()).is_file()


def test_the_queue_lines_start_show_and_stop_it(project):
    project.run(f"python {SCRIPTS}/queue_daemon.py --background")
    assert json.loads(project.run(f"python {SCRIPTS}/queue_client.py --status"))
    project.run(f"python {SCRIPTS}/queue_client.py --shutdown")


def check_saved(project, result):
    assert result["status"] == "COMPLETED"
    saved = Path(result["saved_path"])
    assert saved.parent == project.folder / "output"
    assert saved.stat().st_size > 0
