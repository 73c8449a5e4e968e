"""Pictures that say what they are: model, prompt, seed and the words "falq sandbox"."""

from __future__ import annotations

import colorsys
import io
import textwrap
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from falq.sandbox.media import MediaSpec

_BANDS = 12
_WHITE, _BLACK = _BANDS, _BANDS + 1
_FRAMES_PER_SECOND = 6
_MAX_FRAMES = 18


def draw(spec: MediaSpec) -> bytes:
    """Draw a PNG or JPEG, or an animated GIF."""
    if spec.kind == "gif":
        return _encode_film(spec)
    picture = _picture(spec)
    return _encode(picture.convert("RGB") if spec.kind == "jpeg" else picture, spec.kind)


def _encode(picture: Image.Image, kind: str, **more: Any) -> bytes:
    buffer = io.BytesIO()
    speed = {"compress_level": 1} if kind == "png" else {}
    picture.save(buffer, kind, **speed, **more)
    return buffer.getvalue()


def _encode_film(spec: MediaSpec) -> bytes:
    still = _picture(spec)
    count = max(2, min(_MAX_FRAMES, round(spec.seconds * _FRAMES_PER_SECOND)))
    frames = [_with_bar(still, (step + 1) / count) for step in range(count)]
    pause_ms = round(spec.seconds * 1000 / count)
    return _encode(
        frames[0], "gif", save_all=True, append_images=frames[1:], duration=pause_ms, loop=0
    )


def _with_bar(still: Image.Image, part: float) -> Image.Image:
    frame = still.copy()
    bar = (0, frame.height - frame.height // 24 - 1, int(frame.width * part), frame.height)
    ImageDraw.Draw(frame).rectangle(bar, fill=_WHITE)
    return frame


def _picture(spec: MediaSpec) -> Image.Image:
    picture = Image.new("P", (spec.width, spec.height))
    picture.putpalette(_palette(spec.seed))
    canvas = ImageDraw.Draw(picture)
    for band in range(_BANDS):
        top, bottom = (spec.height * edge // _BANDS for edge in (band, band + 1))
        canvas.rectangle((0, top, spec.width, bottom), fill=band)
    _write(canvas, spec)
    return picture


def _palette(seed: int) -> list[int]:
    # A palette keeps a 1024-pixel PNG near 20 kB and its encoding at a few milliseconds.
    hue = (seed * 0.618033988749895) % 1.0
    shades = [colorsys.hsv_to_rgb(hue, 0.55, 0.35 + 0.4 * band / _BANDS) for band in range(_BANDS)]
    colours = [*shades, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)]
    return [round(255 * part) for colour in colours for part in colour]


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _write(canvas: ImageDraw.ImageDraw, spec: MediaSpec) -> None:
    size = max(8, min(spec.width, spec.height) // 16)
    margin, top = size, size
    columns = max(6, int((spec.width - 2 * margin) / (size * 0.55)))
    heading, body = ["falq sandbox"], textwrap.wrap(spec.prompt, columns) or ["(no prompt)"]
    room = max(1, int((spec.height - 2 * margin) / (size * 1.3)) - 4)
    lines = [*heading, spec.model_id, "", *body[:room], "", f"seed {spec.seed}"]
    for line in lines:
        font = _font(round(size * 1.4) if line in heading else size)
        canvas.text((margin + 1, top + 1), line, fill=_BLACK, font=font)
        canvas.text((margin, top), line, fill=_WHITE, font=font)
        top += round(size * (1.9 if line in heading else 1.3))
