"""What strangers get holds no link, no secret and no path of this machine."""

import base64
import contextlib
import os
import time
from dataclasses import replace

import pytest
from sandbox_facts import facts_of, sandbox_model

from falq.errors import UsageError
from falq.sandbox import default_models
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
        "see /opt/models/a.bin",
        "in /srv/data/x or elsewhere",
        "(/var/lib/falq/a)",
        "file:///home/jane/a.png",
        "file://server/a.png",
        "D:\\work\\a.png",
        "hf_abcdefghijABCDEFGHIJabcdefghij",
        "github_pat_11ABCDEFG0abcdefghijkl_0123456789",
        "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AIzaSyA-0123456789abcdefghijklmnopqrstu",
        "xoxb-123456789012-abcdefghijkl",
        "password: hunter2hunter2",
        '{"password": "hunter2hunter2"}',
        "postgres://me:hunter2hunter2@db.example/x",
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


@pytest.mark.parametrize("before", ["", "x", "xy"])
def test_the_key_in_use_is_found_in_base64_too(tmp_path, before):
    hidden = base64.b64encode(f"{before}{KEY} and more".encode()).decode()
    with pytest.raises(UsageError, match="the key in use"):
        generate(tmp_path, replace(SPEECH, description=f"say {hidden}"), secrets=(KEY,))


ORDINARY = (
    "Sizes and/or ratios; see https://fal.ai/models/fal-ai/x, ./output, a/b, /v1/models and 1:2.",
    'Q:\nWhat? A:\nThat. The token: one of many. Password: optional. API key: required for "x".',
    "max_tokens: 4096, tokens=1000, num_tokens: 123456789, a sk-learn model, token limit 8192.",
)


@pytest.mark.parametrize("words", ORDINARY)
def test_ordinary_words_are_no_secret(tmp_path, words):
    assert generate(tmp_path, replace(SPEECH, description=words), lazy=True).status == "created"


DOCUMENTED = [model for model in default_models() if model.documented]


@pytest.mark.parametrize("model", DOCUMENTED, ids=lambda model: model.model_id)
def test_every_sandbox_model_can_be_public(tmp_path, model):
    assert generate(tmp_path, model, lazy=True).status == "created"


def test_a_users_file_among_the_copied_code_is_looked_at_too(tmp_path):
    folder = generate(tmp_path).path
    (folder / "scripts" / "_falq" / "falq" / "mine.py").write_text(f"KEY = '{KEY}'\n")
    with pytest.raises(UsageError, match=r"mine.py:1 holds a fal.ai key"):
        generate(tmp_path)


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


@pytest.mark.parametrize("piece", ["token=", "eyJ-", "a.", "a://", "/opt", "password:", "sk-"])
def test_a_long_line_is_read_in_no_time(tmp_path, piece):
    (tmp_path / "notes.md").write_text(piece * (300_000 // len(piece)))
    started_at = time.perf_counter()
    with contextlib.suppress(UsageError):
        check_public(tmp_path, secrets=[], machine_paths=[])
    assert time.perf_counter() - started_at < 5
