"""Names of generated files: everything needed to make one stands in its address.

A call only writes addresses; the bytes are made when somebody downloads them, the same bytes
each time. So a call costs little and the sandbox remembers no files.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from functools import lru_cache

#: Longest part of a prompt that an address carries.
PROMPT_CHARS = 240

CONTENT_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "wav": "audio/wav",
    "glb": "model/gltf-binary",
    "safetensors": "application/octet-stream",
    "json": "application/json",
}


@dataclass(frozen=True, kw_only=True)
class MediaSpec:
    """What a generated file shows.

    Attributes:
        kind: File type, a key of ``CONTENT_TYPES`` and the suffix of its name.
        seconds: Length of sounds and films.
    """

    kind: str
    model_id: str
    prompt: str = ""
    seed: int = 0
    width: int = 512
    height: int = 512
    seconds: float = 1.0

    @property
    def content_type(self) -> str:
        """MIME type of the file."""
        return CONTENT_TYPES[self.kind]

    def to_path(self) -> str:
        """Write the path below the CDN's root that stands for this file."""
        fields = [
            self.kind,
            self.model_id,
            self.prompt[:PROMPT_CHARS],
            self.seed,
            self.width,
            self.height,
            self.seconds,
        ]
        token = base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode())
        name = f"{zlib.crc32(token):08x}.{self.kind}"
        return f"files/b/{token.decode().rstrip('=')}/{name}"

    @classmethod
    def from_token(cls, token: str) -> MediaSpec:
        """Read a path's third segment.

        Raises:
            ValueError: The token was not written by ``to_path``.
        """
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        kind, model_id, prompt, seed, width, height, seconds = json.loads(raw)
        if kind not in CONTENT_TYPES:
            raise ValueError(f"unknown kind of media: {kind!r}")
        return cls(
            kind=kind,
            model_id=model_id,
            prompt=prompt,
            seed=seed,
            width=width,
            height=height,
            seconds=seconds,
        )


@lru_cache(maxsize=64)
def render(spec: MediaSpec) -> bytes:
    """Make a file's bytes; equal specs give equal bytes."""
    if spec.kind in {"png", "jpeg", "gif"}:
        from falq.sandbox.pictures import draw

        return draw(spec)
    from falq.sandbox import sounds_and_shapes

    return sounds_and_shapes.MAKERS[spec.kind](spec)
