"""The few lines by which an agent or a person picks a skill."""

from __future__ import annotations

import re
from collections.abc import Mapping

from generator.model_facts import ModelFacts
from generator.untrusted import quotable

#: So that 30 skills fit an agent's listing.
MAX_DESCRIPTION_CHARS = 250
MAX_DISPLAY_CHARS = 64
MAX_SHORT_CHARS = 64
MIN_SHORT_CHARS = 25

#: What a user says when a model of that category is meant, and the short noun for it.
_TASKS: Mapping[str, tuple[str, str]] = {
    "text-to-image": ("a picture, illustration, photo or logo made from a description", "images"),
    "image-to-image": ("a picture edited, restyled, combined or enlarged", "edited images"),
    "image-to-video": ("a still picture brought to life as a short video", "videos from images"),
    "text-to-video": ("a video clip made from a description", "videos"),
    "video-to-video": ("a video edited, restyled, enlarged or put together", "edited videos"),
    "audio-to-video": ("a video made to fit a recording, such as lip-sync", "videos from audio"),
    "video-to-audio": ("sound made to fit a video", "sound for videos"),
    "text-to-speech": ("a text read aloud, a voice-over or narration", "speech"),
    "speech-to-speech": ("a recorded voice changed into another one", "changed voices"),
    "text-to-audio": ("music, a song or a sound effect made from a description", "sound and music"),
    "text-to-music": ("music or a song made from a description", "music"),
    "audio-to-audio": ("a recording edited, cleaned or split", "edited audio"),
    "speech-to-text": ("a recording transcribed, translated or subtitled", "transcripts"),
    "audio-to-text": ("a recording transcribed, translated or subtitled", "transcripts"),
    "image-to-3d": ("a 3D model made from a picture", "3D models from images"),
    "text-to-3d": ("a 3D model made from a description", "3D models"),
    "image-to-text": ("a picture described or read", "text from images"),
    "vision": ("a picture described or asked about", "text from images"),
    "video-to-text": ("a video described or transcribed", "text from videos"),
    "text-to-text": ("a text written by a language model on fal.ai", "text"),
    "llm": ("a text written by a language model on fal.ai", "text"),
    "training": ("a model or LoRA trained on own pictures or recordings", "trained models"),
}


def skill_description(facts: ModelFacts) -> str:
    """Say when to use the skill, in a user's words and at most 250 characters.

    What fal says stands in quotes and under its name, and only if it reads like a description.
    """
    task, _ = _task(facts)
    line = f"Use when the user wants {task}, with {_name(facts)} on fal.ai (paid API)."
    room = MAX_DESCRIPTION_CHARS - len(line) - len(" fal.ai says: ''")
    summary = quotable(facts.description, max(room, 0)).replace("'", "") if room >= 30 else ""
    return f"{line} fal.ai says: '{summary}'" if summary else line


def display_name(facts: ModelFacts) -> str:
    """Name the skill in a list of at most 64 characters."""
    return _name(facts)[: MAX_DISPLAY_CHARS - len(" (fal.ai)")].rstrip() + " (fal.ai)"


def short_description(facts: ModelFacts) -> str:
    """Say what the skill gives, in 25 to 64 characters."""
    line = f"Make {_task(facts)[1]} with {_name(facts)}"
    if len(line) > MAX_SHORT_CHARS:
        line = f"Make {_task(facts)[1]} with a model of fal.ai"
    return line if len(line) >= MIN_SHORT_CHARS else f"{line} on fal.ai, paid API"


def price_line(facts: ModelFacts) -> str:
    """Say what a call costs and when that was true."""
    if facts.price is None:
        return f"Price: not known when this was generated ({facts.checked_on})."
    price = facts.price
    unit = quotable(price.unit, 40) or "unit"
    currency = quotable(price.currency, 8) or "USD"
    return f"Price: {price.unit_price:g} {currency} per {unit} (fal.ai, {price.checked_on})."


def _task(facts: ModelFacts) -> tuple[str, str]:
    known = _TASKS.get(facts.category)
    # A category of fal is a slug; anything else is not repeated.
    known_form = re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*", facts.category[:24]) is not None
    words = quotable(facts.category[:24].replace("-", " "), 24) if known_form else "media"
    words = words or "media"
    return known or (f"{words} done by a model of fal.ai", f"{words} results")


def _name(facts: ModelFacts) -> str:
    return quotable(facts.title, 50) or facts.model_id
