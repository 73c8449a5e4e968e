"""A generated wrapper: its flags become checked arguments of one call."""

import json
import subprocess
import sys
from datetime import date

import pytest

import falq.cli.call
from falq.fal.catalogue import ModelDocument
from falq.sandbox.catalogue import default_models
from falq.sandbox.model import Model, openapi_document
from falq.sandbox.schema import (
    choice,
    flag,
    image_size,
    integer,
    listing,
    media_url,
    nullable,
    ref,
    text,
)
from falq.wrapper import main
from generator.generation import Request, generate_skills
from generator.model_facts import read_facts

RICH = Model(
    model_id="acme/rich",
    display_name="Rich",
    category="text-to-image",
    description="Has every kind of input.",
    maker="images",
    inputs={
        "prompt": text("What to see."),
        "image_size": image_size(),
        "num_images": integer("How many.", minimum=1, maximum=4, default=1),
        "duration": choice("Seconds.", "5", "10", default="5"),
        "seed": nullable(integer("Seed.")),
        "enable_checks": flag("Check it.", default=True),
        "image_urls": {"type": "array", "items": media_url("An image.", "image", "a.png")},
        "loras": listing("Weights.", ref("LoraWeight"), default=[]),
        "output": text("Clashes with an option of the call."),
        "wait": flag("Clashes as well.", default=False),
        "span": {"anyOf": [integer("", minimum=4, maximum=12), {"enum": ["auto"]}], "default": 5},
        "style": choice("Its style.", *(f"style-{number}" for number in range(60))),
        "loop": {"anyOf": [{"type": "boolean"}, {"enum": ["auto"]}]},
    },
    outputs={"images": listing("The images.", ref("Image"))},
)


def facts_of(model):
    document = ModelDocument(
        model_id=model.model_id, openapi=openapi_document(model), deprecated=False, entry=None
    )
    return read_facts(document, None, date(2026, 8, 1))


@pytest.fixture
def skill(tmp_path):
    return generate_skills([facts_of(RICH)], Request(output=tmp_path))[0].path


@pytest.fixture
def calls(monkeypatch):
    seen = []

    def run_call(**call):
        seen.append(call)
        return 0

    monkeypatch.setattr(falq.cli.call, "run_call", run_call)
    return seen


def arguments_of(calls, skill, *argv):
    assert main(["--prompt", "a cat", *argv], skill) == 0
    return {k: v for k, v in calls[-1]["arguments"].items() if k != "prompt"}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], {}),
        (["--num-images", "2"], {"num_images": 2}),
        (["--duration", "10"], {"duration": "10"}),
        (["--seed", "7"], {"seed": 7}),
        (["--seed", "null"], {"seed": None}),
        (["--enable-checks"], {"enable_checks": True}),
        (["--no-enable-checks"], {"enable_checks": False}),
        (["--image-size", "square"], {"image_size": "square"}),
        (["--image-size", '{"width": 8, "height": 9}'], {"image_size": {"width": 8, "height": 9}}),
        (["--image-urls", "a.png", "--image-urls", "b.png"], {"image_urls": ["a.png", "b.png"]}),
        (["--image-urls", '["a.png"]'], {"image_urls": ["a.png"]}),
        (["--loras", '{"path": "p", "scale": 2}'], {"loras": [{"path": "p", "scale": 2}]}),
        (["--loras", '[{"path": "p"}, {"path": "q"}]'], {"loras": [{"path": "p"}, {"path": "q"}]}),
        (["--input-output", "words"], {"output": "words"}),
        (["--input-wait"], {"wait": True}),
        (["--span", "5"], {"span": 5}),
        (["--span", "auto"], {"span": "auto"}),
        (["--loop", "true"], {"loop": True}),
        (["--loop", "auto"], {"loop": "auto"}),
        (["--args", '{"num_images": 3}', "--num-images", "2"], {"num_images": 2}),
        (["--args", '{"num_images": 3}'], {"num_images": 3}),
    ],
)
def test_flags_become_typed_arguments_and_win_over_args(calls, skill, argv, expected):
    assert arguments_of(calls, skill, *argv) == expected


def test_options_of_the_call_keep_their_names(calls, skill, tmp_path):
    main(["--prompt", "x", "--output", "there", "--wait", "9", "--priority", "low"], skill)
    call = calls[-1]
    assert call["model_id"] == "acme/rich"
    assert call["skill"] == skill.name
    assert call["queue_config_path"] == skill / "queue_config.yaml"
    assert (call["options"]["output"], call["options"]["wait_s"]) == ("there", 9.0)
    assert not {"args", "args_file"} & call["options"].keys()


def test_arguments_come_from_a_file_too(calls, skill, tmp_path):
    (tmp_path / "in.json").write_text('{"prompt": "from file"}')
    assert main(["--args-file", str(tmp_path / "in.json")], skill) == 0
    assert calls[-1]["arguments"] == {"prompt": "from file"}


def test_a_field_that_is_uploaded_does_not_count_as_missing(calls, tmp_path):
    model = next(m for m in default_models() if m.model_id == "sandbox/whisper")
    skill = generate_skills([facts_of(model)], Request(output=tmp_path))[0].path
    assert main(["--upload-field", "audio_url=a.wav"], skill) == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--num-images", "9"], ["num_images: got 9", "from 1 to 4"]),
        (["--num-images", "two"], ['num_images: got "two"', "an integer"]),
        (["--duration", "7"], ["duration", 'one of "5", "10"']),
        (["--span", "13"], ["span: got 13", 'an integer from 4 to 12 or "auto"']),
        (["--image-size", "squar"], ['did you mean "square"?']),
        (["--loras", '{"scale": 9}'], ["`loras[0].path` is required", "loras[0].scale: got 9"]),
        (["--args", '{"num_image": 2}'], ["num_image", "did you mean num_images?"]),
        (["--args", "[1]"], ["--args", "expected a JSON object"]),
        (["--nummm", "2"], ["--nummm"]),
        (["--imagesize", "square"], ["no such option: --imagesize (did you mean --image-size?)"]),
        (["--image-size", '{"width":512,'], ["image_size is not valid JSON", "column 14"]),
        (["--image-size", '{"widht":512}'], ["image_size.widht", "did you mean width?"]),
        (["--args", '{"a":'], ["--args"]),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(calls, skill, capsys, argv, words):
    assert main(["--prompt", "x", *argv], skill) == 2
    assert calls == []
    shown = capsys.readouterr()
    error = json.loads(shown.out)["error"]
    for word in words:
        assert word in error["message"]
        assert word in shown.err
    assert error["model_id"] == "acme/rich"
    assert "--help lists" in error["hint"] or "Flags" in error["hint"]


def test_a_flag_that_is_near_to_none_is_met_with_no_suggestion(calls, skill, capsys):
    assert main(["--bogus", "1"], skill) == 2
    assert "did you mean" not in capsys.readouterr().err


def test_the_hint_tells_how_to_renew_the_schema(calls, skill, capsys):
    assert main(["--prompt", "x", "--num-images", "9"], skill) == 2
    hint = json.loads(capsys.readouterr().out)["error"]["hint"]
    assert hint == (
        "nothing was sent; --help lists what fits"
        " (schema of 2026-08-01; renew: falq generate -m acme/rich)"
    )


def test_help_lists_every_choice_and_the_parts_of_objects(skill, capsys):
    assert main(["--help"], skill) == 0
    shown = capsys.readouterr().out
    assert '"style-59"' in shown
    lines = [line.strip() for line in shown.splitlines()]
    assert "path* text" in lines
    assert "scale a number from 0 to 4, default 1" in lines
    assert any(line.startswith('such as \'{"path": ') for line in lines)


def test_missing_required_inputs_are_named(calls, skill, capsys):
    assert main([], skill) == 2
    assert "prompt" in capsys.readouterr().err


def test_unknown_inputs_far_from_any_name_are_sent_with_a_warning(calls, skill, capsys):
    assert arguments_of(calls, skill, "--args", '{"zzz": 1}') == {"zzz": 1}
    assert "zzz" in capsys.readouterr().err


def test_help_shows_types_choices_ranges_and_defaults(skill, capsys):
    assert main(["--help"], skill) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("[required]", "from 1 to 4", '"5", "10"', "[default: 1]", "--no-enable-checks"):
        assert words in shown
    assert shown.index("--prompt") < shown.index("--output DIR")


@pytest.mark.parametrize("damage", ["", "{}", '{"lock_version": 1}', "[]"])
def test_a_damaged_lock_is_an_error_with_a_way_out(skill, capsys, damage):
    (skill / "references" / "schema.lock.json").write_text(damage)
    assert main(["--prompt", "x"], skill, model_id="acme/rich") == 2
    assert "falq generate -m acme/rich --force" in capsys.readouterr().err


def test_a_lock_of_another_model_is_refused(skill, capsys):
    assert main(["--prompt", "x"], skill, model_id="acme/other") == 2
    assert "acme/other" in capsys.readouterr().err


def test_help_needs_nothing_that_only_a_call_needs(skill):
    script = skill / "scripts" / f"{skill.name.replace('-', '_')}.py"
    code = (
        "import runpy, sys; sys.argv = ['w', '--help']\n"
        f"try: runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(sorted({'jinja2', 'jsonschema', 'httpx', 'rq', 'redis', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
