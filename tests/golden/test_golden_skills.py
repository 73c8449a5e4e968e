"""Whole generated trees, compared as text.

``FALQ_UPDATE_GOLDEN=1 pytest tests/golden`` writes them anew: read the difference then.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from sandbox_facts import facts_of, sandbox_model

from generator.tree import SkillOptions, build_tree, creator_tree

HERE = Path(__file__).parent
CASES = {
    "image-default": ("fal-ai/flux/dev", {}),
    "image-to-video-default": ("sandbox/kling-video/v2/image-to-video", {}),
    "speech-lazy": ("sandbox/tts/turbo", {"lazy": True}),
    "speech-standalone": ("sandbox/tts/turbo", {"standalone": True}),
    "nested-lazy": ("sandbox/flux-lora", {"lazy": True}),
}


def as_text(tree):
    """Write a tree as one text; of falq's own copied code only that it is there."""
    parts = [f"=== {path} -> {target}\n" for path, target in sorted(tree.links.items())]
    for path, text in sorted(tree.files.items()):
        if not path.startswith("scripts/_falq/"):
            mode = " (executable)" if path in tree.executable else ""
            parts.append(f"=== {path}{mode}\n{text}")
    return "".join(parts)


def check(name, text):
    path = HERE / f"{name}.txt"
    if os.environ.get("FALQ_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_a_skill_is_generated_as_it_was(name):
    model_id, options = CASES[name]
    facts = facts_of(sandbox_model(model_id))
    skill = model_id.replace("/", "-")
    options = SkillOptions(shown_folder=f".claude/skills/{skill}", **options)
    check(name, as_text(build_tree(facts, skill, options)))


def test_the_creator_skill_is_generated_as_it_was():
    check("creator", as_text(creator_tree(None)))
