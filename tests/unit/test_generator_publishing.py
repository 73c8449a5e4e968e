"""What strangers get holds no link, no secret and no path of this machine."""

import os
from dataclasses import replace

import pytest
from sandbox_facts import facts_of, sandbox_model

from falq.errors import UsageError
from generator.generation import Request, generate_skills
from generator.publishing import check_public

SPEECH = sandbox_model("sandbox/tts/turbo")
KEY = "01234567-89ab-cdef-0123-456789abcdef:0123456789abcdef0123456789abcdef"


def generate(output, model=SPEECH, **options):
    return generate_skills([facts_of(model)], Request(output=output, public=True, **options))[0]


def test_a_public_skill_has_no_link_and_no_record_of_this_machine(tmp_path):
    folder = generate(tmp_path).path
    paths = list(folder.rglob("*"))
    assert not any(path.is_symlink() for path in paths)
    assert not (folder / "scripts" / "falq_runtime.json").exists()
    assert (folder / "scripts" / "_falq" / "falq" / "wrapper.py").is_file()
    assert not (folder / "scripts" / "_falq" / "falq" / "sandbox").exists()
    assert not (tmp_path / "fal-skill-creator").exists()
    texts = [path.read_text() for path in paths if path.is_file()]
    assert not any(os.fspath(tmp_path) in text for text in texts)


@pytest.mark.parametrize(
    "words",
    [
        f"use {KEY}",
        "use sk-abcdefghijklmnopqrstuvwxyz",
        "redis://me:hunter2hunter2@db.example",
        "see /home/jane/secret.txt",
    ],
)
def test_secrets_and_paths_in_a_models_own_words_are_refused(tmp_path, words):
    with pytest.raises(UsageError, match="not fit for --public"):
        generate(tmp_path / "out", replace(SPEECH, description=words))
    assert not (tmp_path / "out").exists()


def test_the_key_in_use_is_found_and_not_repeated(tmp_path):
    words = f"say {KEY[-20:]}"
    with pytest.raises(UsageError, match="the key in use") as caught:
        generate(tmp_path, replace(SPEECH, description=words), secrets=(KEY[-20:],))
    assert KEY[-20:] not in str(caught.value)


def test_a_link_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to("elsewhere")
    with pytest.raises(UsageError, match=r"a/link is a symlink"):
        check_public(tmp_path, secrets=[], machine_paths=[])


def test_a_users_file_with_a_secret_stops_a_regeneration(tmp_path):
    folder = generate(tmp_path).path
    (folder / "queue_config.yaml").write_text(f"# {KEY}\n")
    with pytest.raises(UsageError, match=r"queue_config.yaml:1 holds a fal.ai key"):
        generate(tmp_path, force=True)
    assert KEY in (folder / "queue_config.yaml").read_text()
