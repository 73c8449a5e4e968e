"""The generator's commands against the sandbox."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import skills_ref

from falq.cli.main import falq, run
from falq.fal.catalogue import ModelDocument
from falq.sandbox import default_models, hostile_catalogue, running_sandbox
from generator.generation import Request, generate_skills
from generator.model_facts import read_facts

DOCUMENTED = [model.model_id for model in default_models() if model.documented]
SHARED = Path(__file__).parents[3] / "shared" / "openapi"


def shared_documents():
    """Find real documents of models, where there are any beside the checkout."""
    folder = Path(os.environ.get("FALQ_SHARED_OPENAPI", SHARED))
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [document for document in found if model_id_of(document)]


def model_id_of(document):
    return document.get("info", {}).get("x-fal-metadata", {}).get("endpointId")


@pytest.fixture(scope="module")
def sandbox():
    with running_sandbox() as running:
        yield running


@pytest.fixture
def command(sandbox, tmp_path, monkeypatch, capsys):
    for name in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET", "FAL_ALLOW_API_KEY_ARG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FALQ_FAL_URL", sandbox.url)
    monkeypatch.setenv("FALQ_HOME", str(tmp_path / "home"))
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)

    def call(*words):
        code = run(falq, words)
        shown = capsys.readouterr()
        return code, json.loads(shown.out) if shown.out else None, shown.err

    return call


def made(command, *words):
    code, shown, err = command("generate", *words)
    assert code == 0, err
    return shown["skills"]


@pytest.mark.parametrize("mode", [[], ["--lazy"], ["--standalone"], ["--public", "--lazy"]])
def test_every_sandbox_model_gives_a_skill_that_the_real_validator_accepts(command, mode):
    words = [word for model_id in DOCUMENTED for word in ("-m", model_id)]
    skills = made(command, *words, *mode)
    assert [skill["model_id"] for skill in skills] == DOCUMENTED
    for path in Path(".claude/skills").iterdir():
        assert skills_ref.validate(path) == []
    validator = Path(sys.executable).with_name("agentskills")
    done = subprocess.run([validator, "validate", skills[0]["path"]], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("document", shared_documents(), ids=model_id_of)
@pytest.mark.parametrize("lazy", [False, True])
def test_fals_own_documents_give_valid_skills(document, lazy, tmp_path):
    model_id = model_id_of(document)
    known = ModelDocument(model_id=model_id, openapi=document, deprecated=False, entry=None)
    facts = read_facts(known, None, date(2026, 8, 1))
    skill = generate_skills([facts], Request(output=tmp_path, lazy=lazy))[0]
    assert skills_ref.validate(skill.path) == []
    assert {"prompt", "image_size"} & {field.name for field in facts.inputs}


def test_hostile_models_give_valid_skills(tmp_path, monkeypatch, capsys):
    models = hostile_catalogue()
    with running_sandbox(models=models) as running:
        monkeypatch.setenv("FALQ_FAL_URL", running.url)
        words = [word for model in models for word in ("-m", model.model_id)]
        assert run(falq, ["generate", "-o", str(tmp_path), *words]) == 0
    for skill in json.loads(capsys.readouterr().out)["skills"]:
        assert skills_ref.validate(Path(skill["path"])) == []


def test_the_tree_is_the_one_of_the_contract(command):
    skill = made(command, "-m", "fal-ai/flux/dev", "--lazy")[0]
    folder = Path(skill["path"])
    assert folder == Path(".claude/skills/fal-ai-flux-dev")
    assert {
        "SKILL.md",
        "queue_config.yaml",
        "agents/openai.yaml",
        "scripts/fal_ai_flux_dev.py",
        "scripts/fal_api_call.py",
        "scripts/queue_client.py",
        "scripts/queue_protocol.py",
        "scripts/queue_daemon.py",
        "references/model_config.json",
        "references/schema.lock.json",
        "references/tools/fal-ai-flux-dev.yaml",
    } <= set(skill["files"])
    config = json.loads((folder / "references" / "model_config.json").read_text())
    assert list(config) == ["model_id", "name", "category", "description"]
    lock = json.loads((folder / "references" / "schema.lock.json").read_text())
    assert lock["price"]["unit_price"] == 0.025
    assert lock["defaults"]["num_images"] == 1
    assert len(lock["openapi_sha256"]) == 64


def test_the_seeds_commands_run_one_after_another_without_force(command):
    for option in ([], ["--lazy"], ["--standalone"], ["--public"]):
        made(command, "--model-id", "fal-ai/flux/dev", *option)
    both = made(command, "-m", "fal-ai/flux/dev", "-m", "fal-ai/flux/schnell")
    assert [skill["status"] for skill in both] == ["regenerated", "created"]


def test_what_was_edited_needs_force_and_is_named(command):
    folder = Path(made(command, "-m", "sandbox/tts/turbo")[0]["path"])
    (folder / "agents" / "openai.yaml").write_text("mine: 1\n")
    words = ("generate", "-m", "fal-ai/flux/dev", "-m", "sandbox/tts/turbo")
    code, shown, err = command(*words)
    assert (code, shown["error"]["type"]) == (2, "UsageError")
    assert "agents/openai.yaml" in err
    assert "none of the 2 skills was written" in shown["error"]["hint"]
    assert not Path(".claude/skills/fal-ai-flux-dev").exists()
    statuses = [skill["status"] for skill in made(command, *words[1:], "--force")]
    assert statuses == ["created", "regenerated"]


def test_a_name_of_ones_own_is_for_one_model(command):
    assert made(command, "-m", "sandbox/tts/turbo", "-n", "say", "-o", "out")[0]["name"] == "say"
    assert Path("out/say/scripts/say.py").is_file()
    code, _, err = command("generate", "-m", "a/b", "-m", "a/c", "-n", "say")
    assert code == 2
    assert "--name" in err


def test_a_dry_run_shows_the_tree_and_writes_nothing(command):
    code, shown, err = command("generate", "-m", "sandbox/tts/turbo", "--dry-run")
    assert (code, shown["skills"][0]["status"]) == (0, "planned")
    assert "scripts/sandbox_tts_turbo.py" in err
    assert "planned .claude/skills/fal-skill-creator/" in err
    assert not Path(".claude").exists()


def test_a_mistyped_model_id_is_met_with_a_suggestion(command):
    for words in (("generate", "-m", "fal-ai/flux/devv"), ("schema", "fal-ai/flux/devv")):
        code, shown, _ = command(*words)
        assert code == 2
        assert "did you mean fal-ai/flux/dev" in shown["error"]["hint"]


def test_one_unknown_model_among_several_writes_none(command):
    assert command("generate", "-m", "sandbox/tts/turbo", "-m", "no/such")[0] == 2
    assert not Path(".claude").exists()


def test_a_model_whose_document_fails_says_so(command):
    broken = next(model for model in default_models() if not model.documented)
    code, shown, _ = command("generate", "-m", broken.model_id)
    assert code == 5
    assert broken.model_id in shown["error"]["message"]
    assert f"falq call -m {broken.model_id}" in shown["error"]["hint"]


def test_a_deprecated_model_is_generated_with_a_warning(command):
    old = next(model for model in default_models() if model.status == "deprecated")
    code, shown, err = command("generate", "-m", old.model_id)
    assert (code, shown["skills"][0]["deprecated"]) == (0, True)
    assert "deprecated" in err


def test_search_gives_id_name_category_price_and_date(command):
    code, shown, _ = command("search", "kling", "-c", "image-to-video")
    assert code == 0
    assert [model["model_id"] for model in shown["models"]] == [
        "sandbox/kling-video/v2/image-to-video"
    ]
    model = shown["models"][0]
    assert model["price"] == {"unit_price": 0.28, "unit": "second", "currency": "USD"}
    assert model["updated_at"].startswith("2026-")


def test_the_seeds_search_lists_the_same(command):
    seed = command("generate", "--search", "flux", "--category", "text-to-image")[1]
    assert seed == command("search", "flux", "-c", "text-to-image")[1]
    assert {model["category"] for model in seed["models"]} == {"text-to-image"}


def test_a_search_goes_on_where_it_ended(command):
    everything = command("search", "", "--limit", "1000")[1]["models"]
    first = command("search", "", "--limit", "3")[1]
    second = command("search", "", "--limit", "3", "--cursor", first["next_cursor"])[1]
    assert [*first["models"], *second["models"]] == everything[:6]


def test_a_cursor_that_is_none_is_refused_as_such(command):
    code, shown, _ = command("search", "flux", "--cursor", "bogus")
    assert (code, shown["error"]["message"]) == (2, "--cursor 'bogus' is none of fal's")


def test_a_pasted_address_is_told_what_it_was_taken_for(command):
    code, _, err = command("generate", "-m", "https://fal.ai/models/fal-ai/flux/dev", "--dry-run")
    assert code == 0
    assert "took the model id fal-ai/flux/dev from the address" in err


def test_a_search_without_a_hit_is_no_error(command):
    code, shown, err = command("search", "nothing-like-this")
    assert (code, shown["models"]) == (0, [])
    assert "fewer words" in err


def test_schema_tells_inputs_outputs_and_price(command):
    code, shown, _ = command("schema", "fal-ai/flux/dev")
    assert code == 0
    size = next(field for field in shown["inputs"] if field["name"] == "image_size")
    assert size["default"] == "landscape_4_3"
    assert "square" in size["choices"]
    assert "images" in [field["name"] for field in shown["outputs"]]
    assert shown["price"]["unit"] == "megapixel"


def test_the_deprecated_key_option_is_refused_until_it_is_admitted(command, monkeypatch):
    words = ("generate", "-m", "sandbox/tts/turbo", "-k", "a:b")
    code, shown, _ = command(*words)
    assert (code, shown["error"]["type"]) == (2, "UsageError")
    monkeypatch.setenv("FAL_ALLOW_API_KEY_ARG", "1")
    code, _, err = command(*words)
    assert code == 0
    assert "deprecated" in err


def test_without_a_model_or_a_search_the_way_out_is_told(command):
    code, _, err = command("generate")
    assert code == 2
    assert "--model-id" in err


def test_quiet_leaves_stderr_empty(command):
    code, shown, err = command("generate", "-m", "sandbox/tts/turbo", "-q")
    assert (code, err, len(shown["skills"])) == (0, "", 1)


def test_the_creator_skill_installs_and_installs_again(command):
    for _ in range(2):
        code, shown, _ = command("skill", "install")
        assert (code, shown) == (0, {"path": ".claude/skills/fal-skill-creator"})
    names = {path.name for path in Path(shown["path"], "scripts").iterdir()}
    assert {
        "generate_fal_skill.py",
        "fal_api_call.py",
        "queue_client.py",
        "queue_protocol.py",
        "queue_daemon.py",
    } <= names
