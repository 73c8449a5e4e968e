"""The sandbox's models that give sound, film, words, meshes or weights."""

from __future__ import annotations

from typing import Any

from falq.sandbox.model import Model
from falq.sandbox.schema import (
    Schema,
    choice,
    flag,
    integer,
    listing,
    media_url,
    nullable,
    number,
    ref,
    text,
)


def other_models() -> list[Model]:
    """List every model whose result is no plain picture."""
    return [
        _kling("image-to-video"),
        _kling("text-to-video"),
        _compose(),
        _speech(),
        _sound(),
        _whisper(),
        _mesh("text-to-3d"),
        _mesh("image-to-3d"),
        _chat(),
        _trainer(),
    ]


def _seed() -> Schema:
    return nullable(integer("The same seed gives the same result."))


def _file(description: str) -> Schema:
    return ref("File", description=description)


def _model(model_id: str, name: str, category: str, maker: str, **more: Any) -> Model:
    return Model(
        model_id=f"sandbox/{model_id}",
        display_name=f"{name} (sandbox)",
        category=category,
        maker=maker,
        **more,
    )


def _kling(task: str) -> Model:
    source = media_url("The first frame.", "image", "frame.png")
    start = {"image_url": source} if task == "image-to-video" else {}
    inputs = {
        "prompt": text("What happens.", maxLength=2500, examples=["Snow falls on a quiet lake."]),
        **start,
        "duration": choice("Length in seconds.", "5", "10", default="5"),
        "aspect_ratio": choice("Shape of the frame.", "16:9", "9:16", "1:1", default="16:9"),
        "negative_prompt": text("What to avoid.", default="blur, distort, and low quality"),
        "cfg_scale": number("How close to the prompt.", minimum=0, maximum=1, default=0.5),
        "seed": _seed(),
    }
    return _model(
        f"kling-video/v2/{task}",
        f"Kling 2 {task.replace('-', ' ')}",
        task,
        "video",
        description="A short film; the sandbox gives an animated GIF.",
        inputs=inputs,
        required=("prompt", *start),
        outputs={"video": _file("The generated video.")},
        outputs_required=("video",),
        unit="second",
        unit_price=0.28,
    )


def _compose() -> Model:
    tracks = listing("The tracks to put together.", ref("Track"), minItems=1)
    frame = {"timestamp": 0, "duration": 1000, "url": "https://example.com/a.gif"}
    tracks["examples"] = [[{"id": "1", "type": "video", "keyframes": [frame]}]]
    return _model(
        "ffmpeg-api/compose",
        "Compose",
        "video-to-video",
        "composed",
        description="Puts films together; answers with bare addresses.",
        inputs={"tracks": tracks},
        required=("tracks",),
        outputs={"video_url": text("The film."), "thumbnail_url": text("A still.")},
        outputs_required=("video_url", "thumbnail_url"),
        unit="second",
        unit_price=0.0002,
    )


def _speech() -> Model:
    inputs = {
        "text": text("What to say.", minLength=1, maxLength=5000, examples=["Hello, world!"]),
        "voice": choice("Who says it.", "Rachel", "Aria", "Roger", default="Rachel"),
        "speed": number("How fast.", minimum=0.7, maximum=1.2, default=1),
        "stability": number("How even.", minimum=0, maximum=1, default=0.5),
    }
    return _model(
        "tts/turbo",
        "Speech turbo",
        "text-to-speech",
        "audio",
        description="Says a text; the sandbox gives tones instead.",
        inputs=inputs,
        required=("text",),
        outputs={"audio": _file("The speech.")},
        outputs_required=("audio",),
        unit="1000 characters",
        unit_price=0.05,
    )


def _sound() -> Model:
    inputs = {
        "prompt": text("What to hear.", examples=["Rain on a tin roof."]),
        "seconds_total": integer("How long.", minimum=1, maximum=47, default=30),
        "steps": integer("Denoising steps.", minimum=1, maximum=1000, default=100),
        "seed": _seed(),
    }
    return _model(
        "stable-audio",
        "Stable audio",
        "text-to-audio",
        "audio_file",
        description="Makes sounds from words.",
        inputs=inputs,
        outputs={"audio_file": _file("The sound.")},
        outputs_required=("audio_file",),
        unit="second",
        unit_price=0.001,
    )


def _whisper() -> Model:
    inputs = {
        "audio_url": media_url("What to listen to.", "audio", "speech.wav"),
        "task": choice("What to do.", "transcribe", "translate", default="transcribe"),
        "language": nullable(choice("Spoken language.", "de", "en", "fr", "ja")),
        "diarize": flag("Tell the speakers apart.", default=False),
        "chunk_level": choice("Size of the chunks.", "none", "segment", "word", default="segment"),
    }
    outputs = {
        "text": text("All that was said."),
        "chunks": listing("The same in parts.", ref("TranscriptChunk")),
        "inferred_languages": listing("Languages heard.", {"type": "string"}),
    }
    return _model(
        "whisper",
        "Whisper",
        "speech-to-text",
        "transcript",
        description="Writes down what is said.",
        inputs=inputs,
        required=("audio_url",),
        outputs=outputs,
        outputs_required=("text",),
        unit="compute_second",
        unit_price=0.0005,
    )


def _mesh(task: str) -> Model:
    prompt = {"prompt": text("The object.", examples=["a wooden chair"])}
    source = {"image_url": media_url("A picture of the object.", "image", "chair.png")}
    start = prompt if task == "text-to-3d" else source
    quads = choice("Kind of faces.", "triangle", "quad", default="triangle")
    count = integer("Number of faces.", minimum=100, maximum=300_000, default=30_000)
    return _model(
        f"mesh/{task}",
        f"Mesh {task}",
        task,
        "mesh",
        description="A model in three dimensions; the sandbox gives a cube.",
        inputs={**start, "topology": quads, "target_polycount": count, "seed": _seed()},
        required=tuple(start),
        outputs={
            "model_mesh": _file("The mesh as GLB."),
            "textures": listing("Its textures.", ref("File")),
            "seed": integer("The seed."),
        },
        outputs_required=("model_mesh",),
        unit="request",
        unit_price=0.4,
    )


def _chat() -> Model:
    inputs = {
        "prompt": text("The question.", examples=["Name three rivers."]),
        "system_prompt": nullable(text("How to behave.", examples=["Answer briefly."])),
        "model": choice("Which one answers.", "sandbox/small", "sandbox/large"),
        "temperature": number("How freely.", minimum=0, maximum=2, default=1),
        "max_tokens": nullable(integer("At most so many.", minimum=1, examples=[500])),
        "reasoning": flag("Show the thoughts.", default=False),
    }
    inputs["model"]["default"] = "sandbox/small"
    outputs = {
        "output": text("The answer."),
        "reasoning": nullable(text("The thoughts.")),
        "partial": flag("More follows.", default=False),
        "error": nullable(text("What went wrong.")),
        "usage": ref("ChatUsage"),
    }
    return _model(
        "chat",
        "Chat",
        "llm",
        "chat",
        description="Answers a question without knowing anything.",
        inputs=inputs,
        outputs=outputs,
        outputs_required=("output",),
        unit="token",
        unit_price=0.000001,
    )


def _trainer() -> Model:
    archive = media_url("A zip of at least four images.", "file", "images.zip")
    rate = number("Learning rate.", exclusiveMinimum=0, maximum=0.01, default=0.0004)
    return _model(
        "flux-lora/trainer",
        "FLUX LoRA trainer",
        "training",
        "lora",
        description="Trains a LoRA; the sandbox gives a tiny safetensors file.",
        inputs={
            "images_data_url": archive,
            "trigger_word": nullable(text("The word to learn.", examples=["TOK"])),
            "steps": integer("Training steps.", minimum=1, maximum=10_000, default=1000),
            "learning_rate": rate,
            "is_style": flag("Train a style.", default=False),
        },
        required=("images_data_url",),
        outputs={
            "diffusers_lora_file": _file("The trained weights."),
            "config_file": _file("The configuration used."),
        },
        outputs_required=("diffusers_lora_file", "config_file"),
        kind="training",
        unit="request",
        unit_price=2.0,
    )
