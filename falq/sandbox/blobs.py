"""Uploaded files, kept on disk for as long as the sandbox runs."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(kw_only=True)
class Blob:
    """One uploaded file.

    Attributes:
        name: The caller's name for it, which is only shown and never a path of ours.
        secret: What a presigned address must carry.
        parts: Number and ETag of each part of a multipart upload.
    """

    name: str
    content_type: str
    path: Path
    blob_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    secret: str = field(default_factory=lambda: uuid.uuid4().hex)
    parts: dict[int, str] = field(default_factory=dict)
    complete: bool = False

    @property
    def url_path(self) -> str:
        """Its path below the CDN's root."""
        return f"files/u/{self.blob_id}/{self.name}"


class Blobs:
    """The uploads of one sandbox."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._blobs: dict[str, Blob] = {}

    def create(self, name: str, content_type: str) -> Blob:
        """Begin an upload."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="falq-sandbox-")
        safe = "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in name)
        blob = Blob(name=safe or "file", content_type=content_type, path=Path(self._folder.name))
        blob.path /= blob.blob_id
        self._blobs[blob.blob_id] = blob
        return blob

    def find(self, blob_id: str) -> Blob | None:
        """Find an upload by its id."""
        return self._blobs.get(blob_id)

    async def save(self, blob: Blob, chunks: AsyncIterable[bytes], part: int = 0) -> str:
        """Keep a file or one part of it, and give the ETag."""
        target, digest = _part(blob, part), hashlib.sha256()
        with target.open("wb") as file:
            async for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
        blob.parts[part] = f'"{digest.hexdigest()[:32]}"'
        return blob.parts[part]

    def finish(self, blob: Blob, listed: Iterable[tuple[int, str]] = ((0, ""),)) -> bool:
        """Put the parts together in order; False if one is unknown or differs."""
        parts = sorted(listed)
        if any(blob.parts.get(number) != etag for number, etag in parts if number):
            return False
        with blob.path.open("wb") as whole:
            for number, _ in parts:
                piece = _part(blob, number)
                whole.write(piece.read_bytes())
                piece.unlink()
        blob.complete = True
        return True

    def close(self) -> None:
        """Delete every file."""
        self._blobs.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _part(blob: Blob, number: int) -> Path:
    return blob.path.with_suffix(f".{number}")
