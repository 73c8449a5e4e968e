"""A skill is on disk whole or not at all, and what is its user's stays."""

import json

import pytest
from sandbox_facts import facts_of, sandbox_model

from falq.errors import OutputError, UsageError
from generator.generation import Request, generate_skills, install_creator
from generator.tree import SkillTree
from generator.writer import write_tree

FLUX = sandbox_model("fal-ai/flux/dev")


def generate(output, model=FLUX, **options):
    return generate_skills([facts_of(model)], Request(output=output, **options))[0]


def test_a_skill_lies_beside_the_creator_skill_that_it_links_to(tmp_path):
    made = generate(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fal-ai-flux-dev",
        "fal-skill-creator",
    ]
    for name in ("fal_api_call", "queue_client", "queue_protocol", "queue_daemon"):
        link = made.path / "scripts" / f"{name}.py"
        assert link.readlink().parts[:3] == ("..", "..", "fal-skill-creator")
        assert link.read_text()


def test_an_existing_skill_is_only_replaced_by_force(tmp_path):
    generate(tmp_path)
    with pytest.raises(UsageError, match="is there already") as caught:
        generate(tmp_path)
    assert "--force" in caught.value.hint
    assert generate(tmp_path, force=True).status == "regenerated"


def test_regenerating_keeps_the_users_limits_and_files(tmp_path):
    folder = generate(tmp_path).path
    (folder / "queue_config.yaml").write_text("max_concurrent: 7\n")
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.md").write_text("mine")
    (folder / "scripts" / "old.py").write_text("left over")
    generate(tmp_path, force=True, lazy=True)
    assert (folder / "queue_config.yaml").read_text() == "max_concurrent: 7\n"
    assert (folder / "notes" / "mine.md").read_text() == "mine"
    assert not (folder / "scripts" / "old.py").exists()
    assert (folder / "references" / "tools" / "fal-ai-flux-dev.yaml").exists()


def test_what_falq_did_not_generate_is_never_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("mine")
    with pytest.raises(UsageError, match="did not generate"):
        generate(tmp_path, name="mine", force=True)
    assert (tmp_path / "mine" / "work.txt").read_text() == "mine"


def test_changes_of_the_schema_are_told(tmp_path):
    folder = generate(tmp_path).path
    lock = folder / "references" / "schema.lock.json"
    old = json.loads(lock.read_text())
    fields = old["input"]["properties"]
    fields["gone"] = {"type": "string"}
    del fields["seed"]
    fields["num_images"]["maximum"] = 8
    lock.write_text(json.dumps(old))
    changes = generate(tmp_path, force=True).changes
    assert any(change.startswith("removed gone") and "[breaking]" in change for change in changes)
    assert any(change.startswith("added seed") for change in changes)
    assert any("up to" in c or "from 1 to 8" in c for c in changes if "num_images" in c)


def test_a_dry_run_writes_nothing(tmp_path):
    made = generate(tmp_path / "out", dry_run=True)
    assert made.status == "planned"
    assert "SKILL.md" in made.to_dict()["files"]
    assert not (tmp_path / "out").exists()


def test_a_refused_tree_leaves_what_was_there(tmp_path):
    folder = generate(tmp_path).path
    before = (folder / "SKILL.md").read_text()

    def refuse(_):
        raise UsageError("no")

    tree = SkillTree(name=folder.name, files={"SKILL.md": "other"})
    with pytest.raises(UsageError):
        write_tree(tree, tmp_path, check=refuse)
    assert (folder / "SKILL.md").read_text() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_unwritable_place_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_tree(SkillTree(name="a", files={"SKILL.md": ""}), tmp_path / "file")


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//b"])
def test_no_file_of_a_tree_leads_out_of_it(path):
    with pytest.raises(ValueError, match="no path inside"):
        SkillTree(name="a", files={path: ""})


def test_names_that_meet_get_folders_of_their_own(tmp_path):
    generate(tmp_path)
    twin = type(FLUX)(**{**vars(FLUX), "model_id": "fal-ai/flux-dev"})
    assert generate(tmp_path, twin).path.name != "fal-ai-flux-dev"


def test_the_creator_skill_is_installed_again_only_where_it_differs(tmp_path):
    folder = install_creator(tmp_path, refresh=False)
    script = folder / "scripts" / "fal_api_call.py"
    seen = script.stat().st_ino
    install_creator(tmp_path, refresh=False)
    assert script.stat().st_ino == seen
    script.write_text("old")
    install_creator(tmp_path, refresh=False)
    assert "run_fal_api_job" in script.read_text()


def test_in_one_go_all_skills_are_checked_before_the_first_is_written(tmp_path):
    generate(tmp_path)
    both = [facts_of(sandbox_model("sandbox/tts/turbo")), facts_of(FLUX)]
    with pytest.raises(UsageError):
        generate_skills(both, Request(output=tmp_path))
    assert not (tmp_path / "sandbox-tts-turbo").exists()
