"""The few lines by which an agent or a person picks a skill."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from falq.schema.wording import show_number
from generator.model_facts import ModelFacts
from generator.untrusted import few_words, name_words, quotable

#: So that 30 skills fit an agent's listing.
MAX_DESCRIPTION_CHARS = 250
MAX_DISPLAY_CHARS = 64
MAX_SHORT_CHARS = 64
MIN_SHORT_CHARS = 25
#: Less of a description says nothing.
_MIN_SUMMARY_CHARS = 30


@dataclass(frozen=True)
class Task:
    """What models of a category do: in a user's words, with more such words, as a noun."""

    wish: str
    more: str
    noun: str
    prompt: str = "make what I describe, and show me the files"


_TRANSCRIBE = Task(
    "a recording transcribed", "a transcript, translation or subtitles", "transcripts",
    "transcribe my recording and show me the text",
)  # fmt: skip
_WRITE = Task(
    "a text from a language model", "an answer, a summary or a draft", "texts",
    "answer my question, and show me the text",
)  # fmt: skip
_DESCRIBE = Task(
    "an image described or read", "a caption, an answer or the text in it", "texts from images",
    "tell me what my image shows",
)  # fmt: skip
_TASKS: Mapping[str, Task] = {
    "text-to-image": Task(
        "an image from a text prompt", "a picture, illustration, photo or logo", "images"
    ),
    "image-to-image": Task(
        "an image edited", "a picture restyled, combined or enlarged", "edited images",
        "edit my image as I describe, and show me the result",
    ),
    "image-to-video": Task(
        "a video from an image", "a still picture brought to life", "videos from images",
        "bring my image to life as I describe, and show me the video",
    ),
    "text-to-video": Task("a video from a text prompt", "a short clip", "videos"),
    "video-to-video": Task(
        "a video edited", "a clip restyled, enlarged or put together", "edited videos",
        "edit my video as I describe, and show me the result",
    ),
    "audio-to-video": Task(
        "a video from a recording", "such as lip-sync or a talking head", "videos from audio",
        "make a video that fits my recording, and show me the file",
    ),
    "video-to-audio": Task(
        "sound for a video", "noises or music that fit it", "sound for videos",
        "make sound that fits my video, and show me the file",
    ),
    "text-to-speech": Task(
        "a text read aloud", "a voice-over or narration", "speech",
        "read my text aloud, and show me the file",
    ),
    "speech-to-speech": Task(
        "a voice changed", "a recording spoken by another voice", "changed voices",
        "change the voice in my recording, and show me the file",
    ),
    "text-to-audio": Task(
        "sound or music from a text prompt", "a song, a jingle or a sound effect", "sound"
    ),
    "text-to-music": Task("music from a text prompt", "a song or a jingle", "music"),
    "audio-to-audio": Task(
        "a recording edited", "cleaned, split or restyled", "edited audio",
        "edit my recording as I describe, and show me the file",
    ),
    "speech-to-text": _TRANSCRIBE,
    "audio-to-text": _TRANSCRIBE,
    "image-to-3d": Task(
        "a 3D model from an image", "an object to print, turn or animate", "3D models",
        "make a 3D model of my image, and show me the file",
    ),
    "text-to-3d": Task(
        "a 3D model from a text prompt", "an object to print, turn or animate", "3D models"
    ),
    "image-to-text": _DESCRIBE,
    "vision": _DESCRIBE,
    "video-to-text": Task(
        "a video described or transcribed", "a summary, an answer or subtitles",
        "texts from videos", "tell me what happens in my video",
    ),
    "text-to-text": _WRITE,
    "llm": _WRITE,
    "training": Task(
        "a LoRA or model trained", "fine-tuning on the user's own pictures or recordings",
        "trained models", "train a model on my pictures, and show me where it lies",
    ),
}  # fmt: skip
#: Halves of fal's categories, as what goes in and as what comes out.
_NOUNS: Mapping[str, tuple[str, str]] = {
    "text": ("a text prompt", "a text"),
    "image": ("an image", "an image"),
    "video": ("a video", "a video"),
    "audio": ("a recording", "sound"),
    "speech": ("a recording", "speech"),
    "music": ("music", "music"),
    "3d": ("a 3D model", "a 3D model"),
    "json": ("JSON", "JSON"),
    "vector": ("a vector image", "a vector image"),
    "svg": ("an SVG", "an SVG"),
    "pdf": ("a PDF", "a PDF"),
    "lora": ("a LoRA", "a LoRA"),
}
#: Categories whose jobs often take longer than the time limit of a queue.
_LONG = ("training", "text-to-video", "image-to-video", "video-to-video", "audio-to-video")
_TEXTS = ("text", "json")


def skill_description(facts: ModelFacts) -> str:
    """Say when to use the skill, in a user's words and at most 250 characters.

    The wish and the model come first: listings show no more than that. What fal says stands in
    quotes and under its name, and only if it reads like a description.
    """
    task = _task(facts)
    more = f" ({task.more})" if task.more else ""
    line = f'Use when the user wants {task.wish} with "{_name(facts)}"{more}; paid fal.ai call.'
    room = MAX_DESCRIPTION_CHARS - len(line) - len(" fal.ai says: ''")
    summary = summary_of(facts, room) if room >= _MIN_SUMMARY_CHARS else ""
    return f"{line} fal.ai says: '{summary}'" if summary else line


def summary_of(facts: ModelFacts, limit: int) -> str:
    """Give fal's description as words that can stand in single quotes; empty if it is none."""
    words = quotable(facts.description, limit).replace("'", "\u2019")
    return words if len(words) >= _MIN_SUMMARY_CHARS or words == facts.description else ""


def display_name(facts: ModelFacts) -> str:
    """Name the skill in a list of at most 64 characters."""
    return _name(facts)[: MAX_DISPLAY_CHARS - len(" (fal.ai)")].rstrip() + " (fal.ai)"


def short_description(facts: ModelFacts) -> str:
    """Say what the skill gives, in 25 to 64 characters."""
    line = f"Make {_task(facts).noun} with {_name(facts)}"
    if len(line) > MAX_SHORT_CHARS:
        line = f"Make {_task(facts).noun} with a model of fal.ai"
    return line if len(line) >= MIN_SHORT_CHARS else f"{line} on fal.ai, paid API"


def default_prompt(facts: ModelFacts, skill: str) -> str:
    """Write what a user could say first."""
    return f"Use ${skill} to {_task(facts).prompt}."


def takes_long(facts: ModelFacts) -> bool:
    """Tell whether calls of the model may take longer than ten minutes."""
    return facts.category in _LONG


def answers_in_words(facts: ModelFacts) -> bool:
    """Tell whether the model's answer is a text instead of files."""
    return _task(facts) in (_TRANSCRIBE, _WRITE, _DESCRIBE) or _result_noun(facts) in _TEXTS


def price_line(facts: ModelFacts) -> str:
    """Say what a call costs and when that was true."""
    if facts.price is None:
        return f"Price: not known when this was generated ({facts.checked_on})."
    price = facts.price
    cost = f"{show_number(price.unit_price)} {_currency(price.currency)}"
    return f"Price: {cost} per {few_words(price.unit) or 'unit'} (fal.ai, {price.checked_on})."


def _currency(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z]{3}", text) else "of an unknown currency"


def _result_noun(facts: ModelFacts) -> str:
    return facts.category.rpartition("-to-")[2]


def _task(facts: ModelFacts) -> Task:
    given, _, made = facts.category.partition("-to-")
    if facts.category in _TASKS:
        return _TASKS[facts.category]
    # A category of fal's that nobody knows here is a stranger's text.
    if given in _NOUNS and made in _NOUNS:
        return Task(f"{_NOUNS[made][1]} from {_NOUNS[given][0]}", "", "results")
    return Task("a result made", "", "results")


def _name(facts: ModelFacts) -> str:
    return name_words(facts.title, 50) or facts.model_id
