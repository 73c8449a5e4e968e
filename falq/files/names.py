"""Names of the files that falq writes; nothing that fal says becomes a path.

A path given with ``-O`` is the caller's own word: it is held inside the output directory.
A name that is taken by a file of another job is never reused: the next free one of
``name.png, name-2.png, name-3.png …`` is, so that a repeated ``-O cat.png`` neither fails
after it was paid for nor destroys the cat of the call before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from falq.errors import UsageError
from falq.files.content import by_suffix
from falq.model_id import slug

#: Bytes of one path component; file systems take 255 and sidecars and counters need room.
MAX_COMPONENT_BYTES = 200
MAX_PATH_BYTES = 1000
MAX_COMPONENTS = 16
#: Taken names that are tried before giving up.
MAX_CANDIDATES = 1000
_SHORT_ID_CHARS = 8
_MAX_STEM_CHARS = 64
_RESERVED = re.compile(r"^(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?$", re.IGNORECASE)
_REFUSED = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\\ud800-\udfff]')


@dataclass(frozen=True, kw_only=True)
class NamePlan:
    """How the file of one artifact may be called.

    Attributes:
        stem: The name without suffix, different for each artifact of a job.
        suffix: The suffix that the caller asked for, without dot; None: by content.
        insisted: Keep that suffix whatever the bytes are.
        fits: Says whether a name may be taken at all; blocks. None: each may.
    """

    stem: str
    suffix: str | None = None
    insisted: bool = False
    fits: Callable[[str], bool] | None = None

    def candidates(self, extension: str) -> Iterator[str]:
        """Give the name for a content's extension, then those to take when it is taken.

        >>> names = NamePlan(stem="flux-dev-1f2e").candidates("png")
        >>> next(names), next(names)
        ('flux-dev-1f2e.png', 'flux-dev-1f2e-2.png')
        """
        return filter(self.fits, self._all_candidates(extension))

    def _all_candidates(self, extension: str) -> Iterator[str]:
        suffix = self._suffix(extension)
        yield f"{self.stem}.{suffix}"
        for count in range(2, MAX_CANDIDATES):
            yield f"{self.stem}-{count}.{suffix}"

    def _suffix(self, extension: str) -> str:
        kind = by_suffix(self.suffix or "")
        fits = self.insisted or (kind is not None and kind.extension == extension)
        return self.suffix if self.suffix is not None and fits else extension


def plan_names(stem: str, count: int) -> list[NamePlan]:
    """Name the files of a job: ``stem.png``, or ``stem-1.png, stem-2.png …`` for several."""
    if count == 1:
        return [NamePlan(stem=stem)]
    return [NamePlan(stem=f"{stem}-{number}") for number in range(1, count + 1)]


def plan_stamped(request_id: str, timestamp: str, count: int) -> list[NamePlan]:
    """Name files as ``--auto-filename`` does: ``{request_id}_{timestamp}.{ext}``, then ``…_2``."""
    stem = f"{safe_id(request_id)}_{timestamp}"
    further = [NamePlan(stem=f"{stem}_{number}") for number in range(2, count + 1)]
    return [NamePlan(stem=stem), *further]


def plan_output_file(name: str, count: int) -> list[NamePlan]:
    """Name files as ``-O`` asks: ``cat.png``, then ``cat-2.png``, ``cat-3.png``.

    The first file is called what the caller said, whatever its bytes are; further ones, and
    a name without a suffix, get the suffix of their content.
    """
    stem, dot, suffix = name.rpartition(".")
    if not (dot and stem and re.fullmatch(r"[A-Za-z0-9]{1,12}", suffix)):
        stem, suffix = name, ""
    first = NamePlan(stem=stem, suffix=suffix or None, insisted=bool(suffix))
    numbers = range(2, count + 1)
    further = [NamePlan(stem=f"{stem}-{n}", suffix=suffix or None) for n in numbers]
    return [first, *further]


def stem_of(model_id: str, some_id: str) -> str:
    """Make the stem of automatic names: the model without its owner, and a short id.

    >>> stem_of("fal-ai/flux/dev", "764cabcf-b745-4b3e-ae38-1200304cf45b")
    'flux-dev-764cabcf'
    """
    alias = slug(model_id.partition("/")[2] or model_id)[:_MAX_STEM_CHARS].strip("-")
    return f"{alias or 'file'}-{slug(safe_id(some_id))[:_SHORT_ID_CHARS].strip('-')}"


def safe_id(some_id: str) -> str:
    """Make one harmless path component of an id that fal may have given.

    >>> safe_id("../../etc/passwd")
    'etc-passwd'
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "-", some_id)[:MAX_COMPONENT_BYTES].strip("-") or "unnamed"


def inside(directory: str, output_file: str, cwd: str | None = None) -> str:
    """Resolve ``-O`` to a path relative to the output directory, with ``/`` between.

    An absolute path, or one that as seen from ``cwd`` leads into the directory, is meant as
    it stands; any other is taken from the directory. So both ``-o out -O cat.png`` and
    ``-o out -O out/cat.png`` mean ``out/cat.png``.

    >>> inside("/home/u/out", "sub/cat.png"), inside("/home/u/out", "out/cat.png", "/home/u")
    ('sub/cat.png', 'cat.png')

    Args:
        directory: Absolute path of the output directory.
        output_file: What the caller gave.
        cwd: Absolute path of the caller's own directory.

    Raises:
        UsageError: It leads outside, or no system should have a file of that name.
    """
    parts = _checked_parts(output_file)
    root = _parts(directory)
    seen = parts if output_file.startswith("/") else _parts(cwd) + parts if cwd else None
    if seen is not None and seen[: len(root)] == root and len(seen) > len(root):
        parts = seen[len(root) :]
    elif output_file.startswith("/"):
        raise _refused(output_file, f"it must lie inside the output directory {directory}")
    return "/".join(parts)


def _parts(path: str | None) -> list[str]:
    return [part for part in (path or "").split("/") if part not in ("", ".")]


def _checked_parts(output_file: str) -> list[str]:
    parts = _parts(output_file)
    if not parts or output_file.endswith("/"):
        raise _refused(output_file, "it names no file")
    if len(parts) > MAX_COMPONENTS or len(_bytes(output_file)) > MAX_PATH_BYTES:
        raise _refused(output_file, "it is too long")
    for part in parts:
        reason = _fault(part)
        if reason is not None:
            raise _refused(output_file, reason)
    return parts


def _fault(part: str) -> str | None:
    if part == "..":
        return "'..' may lead out of the output directory"
    if _REFUSED.search(part):
        return "it holds a character that no file name should have"
    if _RESERVED.match(part) or part[-1] in ". ":
        return f"{part!r} is a reserved name on Windows"
    return "it is too long" if len(_bytes(part)) > MAX_COMPONENT_BYTES else None


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")


def _refused(output_file: str, reason: str) -> UsageError:
    shown = output_file if len(output_file) <= 120 else f"{output_file[:120]}…"
    hint = "give --output-file a name such as cat.png, relative to --output"
    return UsageError(f"cannot write to --output-file {shown!r}: {reason}", hint)
