"""What a model gives back: an output of the shape that its schema promises."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from falq.sandbox.media import MediaSpec, render
from falq.sandbox.model import Model
from falq.sandbox.schema import IMAGE_PRESETS

Output = dict[str, Any]

#: Longest side of a generated picture; larger wishes are scaled down to keep the sandbox fast.
MAX_SIDE = 1024


@dataclass(frozen=True, kw_only=True)
class Work:
    """One call whose output is to be made.

    Attributes:
        origin: Where the sandbox is reached, as the caller wrote it.
        query: Appended to each file's address, to ask the CDN for a fault.
    """

    model: Model
    arguments: Mapping[str, Any]
    origin: str
    query: str = ""

    @property
    def seed(self) -> int:
        """The caller's seed, else one made of the arguments: equal calls give equal files."""
        given = self.arguments.get("seed")
        if isinstance(given, int):
            return given
        canonical = json.dumps(self.arguments, sort_keys=True, default=str)
        return zlib.crc32(canonical.encode())

    @property
    def prompt(self) -> str:
        """The words that describe the wish, whatever the model calls them."""
        return next(
            (
                str(self.arguments[name])
                for name in ("prompt", "text", "image_url", "audio_url")
                if self.arguments.get(name)
            ),
            "",
        )

    def spec(self, kind: str, **more: Any) -> MediaSpec:
        """Describe a file of this call."""
        base = MediaSpec(
            kind=kind, model_id=self.model.model_id, prompt=self.prompt, seed=self.seed
        )
        return replace(base, **more)

    def url(self, spec: MediaSpec) -> str:
        """Write a file's address, or the file itself where the caller asked for it inline."""
        if self.arguments.get("sync_mode") is True:
            return data_uri(spec)
        return f"{self.origin}/cdn/{spec.to_path()}{self.query}"

    def file(self, spec: MediaSpec) -> Output:
        """Describe a file as fal's ``File`` does; the size is unknown before it is made."""
        name = spec.to_path().rpartition("/")[2]
        return {
            "url": self.url(spec),
            "content_type": spec.content_type,
            "file_name": name,
            "file_size": None,
        }


def data_uri(spec: MediaSpec) -> str:
    """Write a file as a ``data:`` address."""
    return f"data:{spec.content_type};base64,{base64.b64encode(render(spec)).decode()}"


def make_output(work: Work) -> Output:
    """Make a model's output."""
    return MAKERS[work.model.maker](work)


def billable_units(work: Work, output: Output) -> float:
    """Count what fal would charge for, in the model's own unit."""
    unit = work.model.unit
    if unit == "image":
        return float(len(output.get("images", [1])))
    if unit == "second":
        return float(work.arguments.get("duration") or work.arguments.get("seconds_total") or 5)
    if unit == "megapixel":
        pictures = output.get("images") or [output.get("image") or {}]
        area = sum(item.get("width", 1024) * item.get("height", 1024) for item in pictures)
        return float(round(area / 1_000_000, 3))
    return 1.0


def image(work: Work, index: int = 0, size: tuple[int, int] | None = None) -> Output:
    """Describe one picture of a call."""
    width, height = size or _size(work.arguments.get("image_size", "landscape_4_3"))
    kind = str(work.arguments.get("output_format") or "png")
    spec = work.spec(kind, seed=work.seed + index, width=width, height=height)
    return {
        "url": work.url(spec),
        "width": width,
        "height": height,
        "content_type": spec.content_type,
    }


def _size(wish: Any) -> tuple[int, int]:
    if isinstance(wish, str):
        return IMAGE_PRESETS.get(wish, IMAGE_PRESETS["landscape_4_3"])
    given = wish if isinstance(wish, dict) else {}
    width, height = int(given.get("width", 512)), int(given.get("height", 512))
    scale = min(1.0, MAX_SIDE / max(width, height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _images(work: Work) -> Output:
    count = int(work.arguments.get("num_images") or 1)
    return {
        "images": [image(work, index) for index in range(count)],
        "timings": {"inference": 0.01},
        "seed": work.seed,
        "has_nsfw_concepts": [False] * count,
        "prompt": work.prompt,
    }


def _upscaled(work: Work) -> Output:
    factor = float(work.arguments.get("upscale_factor") or 2)
    side = min(MAX_SIDE, int(256 * factor))
    return {"image": image(work, size=(side, side)), "seed": work.seed}


def _film(work: Work) -> MediaSpec:
    width, height = {"9:16": (180, 320), "1:1": (240, 240)}.get(
        str(work.arguments.get("aspect_ratio")), (320, 180)
    )
    seconds = float(work.arguments.get("duration") or 5)
    return work.spec("gif", width=width, height=height, seconds=seconds)


def _video(work: Work) -> Output:
    return {"video": work.file(_film(work))}


def _composed(work: Work) -> Output:
    still = work.spec("png", width=320, height=180)
    return {"video_url": work.url(_film(work)), "thumbnail_url": work.url(still)}


def _audio(work: Work) -> Output:
    seconds = max(1.0, len(work.prompt) * 0.06)
    return {"audio": work.file(work.spec("wav", seconds=round(seconds, 2)))}


def _audio_file(work: Work) -> Output:
    seconds = float(work.arguments.get("seconds_total") or 30)
    return {"audio_file": work.file(work.spec("wav", seconds=seconds))}


def _transcript(_work: Work) -> Output:
    words = "This is the falq sandbox. Nobody listened to the recording."
    parts = words.replace(". ", ".|").split("|")
    chunks = [{"timestamp": [float(at), at + 1.0], "text": part} for at, part in enumerate(parts)]
    return {"text": words, "chunks": chunks, "inferred_languages": ["en"]}


def _mesh(work: Work) -> Output:
    texture = work.spec("png", width=256, height=256)
    mesh = work.file(work.spec("glb"))
    return {"model_mesh": mesh, "textures": [work.file(texture)], "seed": work.seed}


def _chat(work: Work) -> Output:
    answer = f"The falq sandbox heard: {work.prompt}"
    asked, told = len(work.prompt.split()), len(answer.split())
    usage = {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told}
    return {"output": answer, "reasoning": None, "partial": False, "error": None, "usage": usage}


def _lora(work: Work) -> Output:
    weights, config = work.spec("safetensors"), work.spec("json")
    return {"diffusers_lora_file": work.file(weights), "config_file": work.file(config)}


MAKERS: Mapping[str, Callable[[Work], Output]] = {
    "images": _images,
    "upscaled": _upscaled,
    "video": _video,
    "composed": _composed,
    "audio": _audio,
    "audio_file": _audio_file,
    "transcript": _transcript,
    "mesh": _mesh,
    "chat": _chat,
    "lora": _lora,
}
