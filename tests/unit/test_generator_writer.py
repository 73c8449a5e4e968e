"""A skill is on disk whole or not at all, and what is its user's stays."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from sandbox_facts import facts_of, sandbox_model

from falq.errors import OutputError, UsageError
from generator.creator import install_creator
from generator.generated_files import RECORD, mark_of_text
from generator.generation import Request, generate_skills
from generator.tree import SkillTree
from generator.writer import write_trees

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


def contents(folder):
    """Give what lies in a folder: texts of files, targets of links, folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        shown = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[shown] = f"-> {path.readlink()}"
        else:
            found[shown] = path.read_text() if path.is_file() else "folder"
    return found


def test_a_skill_that_nobody_edited_is_regenerated_without_force(tmp_path):
    folder = generate(tmp_path).path
    for options in ({}, {"lazy": True}, {"standalone": True}, {"public": True}, {}):
        assert generate(tmp_path, **options).status in ("created", "regenerated")
    assert not (folder / "scripts" / "_falq").exists()
    assert not (folder / "references" / "tools").exists()


def test_an_edited_file_is_named_and_only_replaced_by_force(tmp_path):
    folder = generate(tmp_path).path
    (folder / "SKILL.md").write_text("my own words")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"SKILL\.md") as caught:
        generate(tmp_path)
    assert "--force" in caught.value.hint
    assert contents(tmp_path) == before
    made = generate(tmp_path, force=True)
    assert made.status == "regenerated"
    assert any("SKILL.md" in warning for warning in made.warnings)
    assert (folder / "SKILL.md").read_text() != "my own words"


def test_a_skill_without_a_record_is_only_replaced_by_force(tmp_path):
    folder = generate(tmp_path).path
    (folder / RECORD).unlink()
    (folder / "scripts" / "fal_ai_flux_dev.py").write_text("of another generator")
    with pytest.raises(UsageError, match=r"scripts/fal_ai_flux_dev\.py"):
        generate(tmp_path)
    assert generate(tmp_path, force=True).status == "regenerated"


@pytest.mark.parametrize("options", [{"force": True}, {"force": True, "standalone": True}])
def test_regenerating_keeps_everything_that_falq_did_not_write(tmp_path, options):
    folder = generate(tmp_path).path
    (folder / "queue_config.yaml").write_text("max_concurrent: 7\n")
    for name in ("notes/mine.md", "scripts/my_helper.py", "references/my_ref.md", ".hidden"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    (folder / "scripts" / "empty").mkdir()
    (folder / "d").mkdir()
    (folder / "d" / "up").symlink_to("..")
    (folder / "d" / "nowhere").symlink_to("gone")
    before = contents(folder)
    generate(tmp_path, **options)
    after = contents(folder)
    own = ("queue", "notes", "scripts/my", "references/my", ".hidden", "scripts/empty", "d")
    kept = {path: text for path, text in before.items() if path.startswith(own)}
    assert len(kept) == 10
    assert {path: after.get(path) for path in kept} == kept


def test_what_cannot_be_kept_is_refused_by_name(tmp_path):
    folder = generate(tmp_path).path
    os.mkfifo(folder / "notes.pipe")
    with pytest.raises(UsageError, match=r"notes\.pipe is neither a file"):
        generate(tmp_path, force=True)
    assert (folder / "SKILL.md").is_file()


def test_what_python_leaves_behind_is_not_kept(tmp_path):
    folder = generate(tmp_path, standalone=True).path
    (folder / "scripts" / "_falq" / "falq" / "__pycache__").mkdir()
    (folder / "scripts" / "_falq" / "falq" / "__pycache__" / "a.pyc").write_text("x")
    generate(tmp_path)
    assert not (folder / "scripts" / "_falq").exists()


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


def test_how_the_schema_stands_to_the_earlier_one_is_told(tmp_path):
    assert generate(tmp_path).schema == "new"
    lock = tmp_path / "fal-ai-flux-dev" / "references" / "schema.lock.json"
    assert generate(tmp_path).schema == "unchanged"
    lock.write_text(lock.read_text().replace('"openapi_sha256": "', '"openapi_sha256": "0'))
    assert generate(tmp_path, force=True).schema == "texts changed"
    lock.unlink()
    assert generate(tmp_path).schema == "unknown"


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
        write_trees([tree], tmp_path, check=refuse)
    assert (folder / "SKILL.md").read_text() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_unwritable_place_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_trees([SkillTree(name="a", files={"SKILL.md": ""})], tmp_path / "file")


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//b"])
def test_no_file_of_a_tree_leads_out_of_it(path):
    with pytest.raises(ValueError, match="no path inside"):
        SkillTree(name="a", files={path: ""})


def test_names_that_meet_get_folders_of_their_own(tmp_path):
    generate(tmp_path)
    twin = type(FLUX)(**{**vars(FLUX), "model_id": "fal-ai/flux-dev"})
    assert generate(tmp_path, twin).path.name != "fal-ai-flux-dev"


def test_the_creator_skill_is_installed_again_only_where_it_differs(tmp_path):
    folder = install_creator(tmp_path).path
    script = folder / "scripts" / "fal_api_call.py"
    seen = script.stat().st_ino
    assert install_creator(tmp_path).status == "kept"
    assert script.stat().st_ino == seen
    script.write_text("of an older falq")
    record = json.loads((folder / RECORD).read_text())
    record["files"]["scripts/fal_api_call.py"] = mark_of_text("of an older falq")
    (folder / RECORD).write_text(json.dumps(record))
    assert install_creator(tmp_path).status == "renewed"
    assert "run_fal_api_job" in script.read_text()


def test_another_name_of_the_same_interpreter_renews_nothing(tmp_path, monkeypatch):
    folder = install_creator(tmp_path).path
    names = sorted(Path(sys.executable).parent.glob("python*"))
    for name in names:
        monkeypatch.setattr(sys, "executable", str(name))
        assert install_creator(tmp_path).status == "kept"
    monkeypatch.setattr(sys, "executable", "/usr/bin/elsewhere")
    assert install_creator(tmp_path).status == "renewed"
    assert "elsewhere" in (folder / "scripts" / "falq_runtime.json").read_text()


def own_creator(folder):
    """Make a fal-skill-creator such as users of the seed have."""
    for name in ("SKILL.md", "scripts/fal_api_call.py", "scripts/my_tool.py", "references/a.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    return folder


def test_a_creator_skill_of_the_users_own_is_never_replaced_unasked(tmp_path):
    folder = own_creator(tmp_path / "fal-skill-creator")
    before = contents(tmp_path)
    for act in (generate, install_creator):
        with pytest.raises(
            UsageError, match=r"fal-skill-creator holds files .* SKILL.md"
        ) as caught:
            act(tmp_path)
        assert "--standalone" in caught.value.hint
    assert contents(tmp_path) == before
    generate(tmp_path, standalone=True)
    assert contents(folder) == {p.split("/", 1)[1]: t for p, t in before.items() if "/" in p}


def test_words_that_a_user_changed_in_the_creator_skill_stay(tmp_path):
    folder = install_creator(tmp_path).path
    (folder / "SKILL.md").write_text("my own words")
    assert generate(tmp_path, force=True).to_dict()["creator"]["status"] == "kept"
    (folder / "scripts" / "queue_client.py").unlink()
    assert generate(tmp_path).to_dict()["creator"]["status"] == "renewed"
    assert (folder / "SKILL.md").read_text() == "my own words"
    (folder / "scripts" / "queue_client.py").write_text("mine")
    with pytest.raises(UsageError, match="falq did not write"):
        generate(tmp_path, force=True)


def test_asked_to_the_creator_skill_replaces_its_own_names_alone(tmp_path):
    folder = own_creator(tmp_path / "fal-skill-creator")
    assert install_creator(tmp_path, force=True).status == "renewed"
    assert (folder / "scripts" / "my_tool.py").read_text() == "mine"
    assert (folder / "references" / "a.md").read_text() == "mine"
    assert "run_fal_api_job" in (folder / "scripts" / "fal_api_call.py").read_text()


def test_a_linked_creator_skill_stays_a_link(tmp_path):
    own = own_creator(tmp_path / "elsewhere")
    link = tmp_path / "skills" / "fal-skill-creator"
    link.parent.mkdir()
    link.symlink_to(own)
    for force in (False, True):
        with pytest.raises(UsageError, match="is a link to"):
            generate(link.parent, force=force)
    assert link.is_symlink()
    assert (own / "SKILL.md").read_text() == "mine"


def test_the_creator_skill_is_named_before_and_after(tmp_path):
    planned = generate(tmp_path, dry_run=True).to_dict()["creator"]
    assert planned == {"path": str(tmp_path / "fal-skill-creator"), "status": "planned"}
    assert generate(tmp_path).to_dict()["creator"]["status"] == "installed"
    assert generate(tmp_path, standalone=True).to_dict()["creator"] is None


def test_a_taken_folder_and_the_name_made_instead_are_told(tmp_path):
    (tmp_path / "fal-ai-flux-dev").mkdir(parents=True)
    (tmp_path / "fal-ai-flux-dev" / "mine.txt").write_text("mine")
    made = generate(tmp_path, force=True)
    assert made.path.name == "fal-ai-flux-dev-383a4094"
    assert "something that falq did not generate" in made.warnings[0]


def test_in_one_go_all_skills_are_checked_before_the_first_is_written(tmp_path):
    (generate(tmp_path).path / "SKILL.md").write_text("edited")
    both = [facts_of(sandbox_model("sandbox/tts/turbo")), facts_of(FLUX)]
    with pytest.raises(UsageError):
        generate_skills(both, Request(output=tmp_path))
    assert not (tmp_path / "sandbox-tts-turbo").exists()


def test_of_several_public_skills_none_is_written_if_one_is_refused(tmp_path):
    speech = sandbox_model("sandbox/tts/turbo")
    folders = [generate(tmp_path, model, public=True).path for model in (FLUX, speech)]
    (folders[1] / "up").symlink_to("..")
    before, places = contents(tmp_path), [folder.stat().st_ino for folder in folders]
    both = [facts_of(FLUX), facts_of(speech)]
    with pytest.raises(UsageError, match="up is a symlink"):
        generate_skills(both, Request(output=tmp_path, public=True, force=True, lazy=True))
    assert contents(tmp_path) == before
    assert [folder.stat().st_ino for folder in folders] == places


def test_a_swap_that_fails_puts_the_earlier_ones_back(tmp_path):
    first, second = (SkillTree(name=name, files={"SKILL.md": "old"}) for name in ("a", "b"))
    write_trees([first, second], tmp_path)
    before = contents(tmp_path)

    def lose(staged):
        if staged.name.startswith(".b."):
            shutil.rmtree(staged)

    trees = [SkillTree(name=name, files={"SKILL.md": "new"}) for name in ("a", "b")]
    with pytest.raises(OutputError, match="cannot write"):
        write_trees(trees, tmp_path, check=lose)
    assert contents(tmp_path) == before
