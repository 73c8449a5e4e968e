"""SKILL.md and the files beside it say what an agent needs."""

from dataclasses import asdict

import pytest
import yaml
from sandbox_facts import facts_of, sandbox_model

from falq.queue_config import QueueConfig, load_queue_config
from falq.sandbox.catalogue import default_models
from generator.description import price_line, skill_description
from generator.pages import example_commands, queue_config_yaml, skill_md

DOCUMENTED = [model for model in default_models() if model.documented]


def page(model_id, **options):
    return skill_md(facts_of(sandbox_model(model_id)), "the-skill", "skills/the-skill", **options)


def test_the_queue_file_holds_every_setting_at_its_default(tmp_path):
    path = tmp_path / "queue_config.yaml"
    path.write_text(queue_config_yaml())
    warnings = []
    assert load_queue_config(path, {}, warnings.append) == QueueConfig()
    assert set(yaml.safe_load(queue_config_yaml())) == set(asdict(QueueConfig()))
    assert warnings == []


@pytest.mark.parametrize("model", DOCUMENTED, ids=lambda model: model.model_id)
def test_every_page_is_short_and_names_the_command(model):
    for lazy in (False, True):
        text = skill_md(facts_of(model), "the-skill", "skills/the-skill", lazy=lazy)
        assert len(text.splitlines()) < 500
        assert "python skills/the-skill/scripts/the_skill.py" in text
        assert len(skill_description(facts_of(model))) <= 250
        assert "\n\n\n" not in text


def test_inputs_are_listed_with_range_choices_and_default():
    text = page("fal-ai/flux/dev", lazy=False)
    assert "--num-images — an integer from 1 to 4; default 1" in text
    assert '--output-format — one of "jpeg", "png"; default "png"' in text


def test_a_lazy_page_leaves_the_details_to_its_reference():
    lazy, whole = page("fal-ai/flux/dev", lazy=True), page("fal-ai/flux/dev", lazy=False)
    assert "references/tools/the-skill.yaml" in lazy
    assert "--num-images" not in lazy
    assert len(lazy) < len(whole)


def test_exit_codes_and_tickets_are_explained():
    text = page("sandbox/tts/turbo", lazy=True)
    for words in ("| 6 |", "may be billed", "| 75 |", "falq wait JOB_ID"):
        assert words in text


def test_a_price_carries_its_date_and_its_absence_too():
    model = sandbox_model("fal-ai/flux/dev")
    assert price_line(facts_of(model)) == "Price: 0.025 USD per megapixel (fal.ai, 2026-08-01)."
    assert "2026-08-01" in price_line(facts_of(model, priced=False))


def test_a_deprecated_model_says_so():
    model = next(model for model in DOCUMENTED if model.status == "deprecated")
    assert "deprecated" in skill_md(facts_of(model), "s", "", lazy=False)


def test_without_a_folder_commands_are_relative_to_the_skill():
    facts = facts_of(sandbox_model("sandbox/tts/turbo"))
    commands = example_commands(facts, "the-skill", "")
    assert commands["first_example"].startswith("python scripts/the_skill.py --text ")
