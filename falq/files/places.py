"""The places of a job's files, and what is put there beside downloads; everything blocks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from falq.files.artifacts import SavedFile
from falq.files.content import settle
from falq.files.names import NamePlan
from falq.files.output import OutputDirectory, hashed, open_regular
from falq.files.sidecar import MAX_SIDECAR_BYTES, read_sidecar, sidecar_name
from falq.files.spec import OutputSpec

#: Opens the directory that files are saved to.
Opening = Callable[[], OutputDirectory]


@dataclass(frozen=True)
class Places:
    """The output directory, and the one below it that ``-O`` may name."""

    root: OutputDirectory
    files: OutputDirectory

    def close(self) -> None:
        """Close both; safe to repeat."""
        self.files.close()
        self.root.close()


def open_places(opening: Opening, output: OutputSpec) -> Places:
    """Open the output directory and create those below it that ``-O`` names.

    Raises:
        OutputError: One is no plain directory; what ``opening`` raises comes through.
    """
    folder = root = opening()
    try:
        for part in (output.output_file or "").split("/")[:-1]:
            inner = folder.below(part)
            if folder is not root:
                folder.close()
            folder = inner
    except BaseException:
        folder.close()
        root.close()
        raise
    return Places(root, folder)


def is_there(saved: SavedFile) -> bool:
    """Tell whether a saved file is where it was put, as a regular file with the same bytes."""
    file = open_regular(None, saved.path)
    if file is None:
        return False
    with file:
        same_size = os.fstat(file.fileno()).st_size == saved.bytes
        return same_size and hashed(file) == (saved.bytes, saved.sha256)


def copy_file(
    folder: OutputDirectory, saved: SavedFile, plan: NamePlan, label: str
) -> SavedFile | None:
    """Copy a saved file from where it is; None when it is not there as it was.

    Raises:
        OutputError: Disk trouble, or no name is free.
    """
    part = folder.copy(saved.path, label)
    if part is None:
        return None
    try:
        if (part.bytes, part.sha256) != (saved.bytes, saved.sha256):
            return None
        suffix = saved.path.rpartition(".")[2]
        extension = settle(part.head, saved.content_type, suffix).extension
        name = folder.keep(part, plan.candidates(extension))
    finally:
        part.discard()
    return replace(saved, path=f"{folder.path}/{name}")


def own_files(folder: OutputDirectory, job_id: str, stems: tuple[str, ...]) -> list[SavedFile]:
    """Give the files that sidecars of a job tell of, under names that it may have."""
    return list(_told(folder, job_id, stems))


def _told(folder: OutputDirectory, job_id: str, stems: tuple[str, ...]) -> Iterator[SavedFile]:
    for name in folder.names():
        if not (name.startswith(stems) and name.endswith(".json")):
            continue
        shown = read_sidecar(folder.read(name, MAX_SIDECAR_BYTES))
        if shown is not None and shown["job_id"] == job_id:
            path = f"{folder.path}/{name[: -len('.json')]}"
            with contextlib.suppress(KeyError, TypeError):
                yield SavedFile.from_dict({**shown, "path": path})


def is_anothers(folder: OutputDirectory, job_id: str, name: str) -> bool:
    """Tell whether a file is there whose sidecar names another job."""
    shown = read_sidecar(folder.read(sidecar_name(name), MAX_SIDECAR_BYTES))
    return shown is not None and shown["job_id"] != job_id and folder.has(name)


def put_sidecar(folder: OutputDirectory, name: str, text: bytes, label: str) -> None:
    """Save a sidecar, unless it is there; one of other bytes or of another job gives way.

    Raises:
        OutputError: Disk trouble, or something else has the name.
    """

    def facts(told: bytes | None) -> tuple[str, str] | None:
        shown = read_sidecar(told)
        return (shown["job_id"], shown["sha256"]) if shown is not None else None

    ours = facts(text)

    def outdated(taken: str) -> bool:
        return facts(folder.read(taken, MAX_SIDECAR_BYTES)) not in (None, ours)

    if facts(folder.read(name, MAX_SIDECAR_BYTES)) != ours:
        folder.save(text, label, [name], outdated)


def put_log(
    places: Places, folder: str | None, text: bytes, names: Iterator[str], label: str
) -> str:
    """Save a log beside the files, or in a folder of the output directory; give its path.

    Raises:
        OutputError: Disk trouble, or no name is free.
    """
    if folder is None:
        return f"{places.files.path}/{places.files.save(text, label, names).name}"
    with places.root.below(folder) as below:
        return f"{below.path}/{below.save(text, label, names).name}"
