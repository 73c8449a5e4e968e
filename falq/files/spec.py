"""Where a caller wants its files; travels to the worker as JSON. Pure and light to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from falq.files.names import inside


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What is saved where.

    Attributes:
        directory: Absolute path of ``--output``.
        output_file: ``-O``; :meth:`resolved` makes it relative to the directory.
        auto_filename: Name files ``{request_id}_{timestamp}.{ext}``.
        sidecar: Write ``<file>.json`` beside each artifact.
        save_logs: Write the model's logs to ``{directory}/logs/``.
        save_logs_inline: Write them beside the first file.
    """

    directory: str
    output_file: str | None = None
    auto_filename: bool = False
    sidecar: bool = True
    save_logs: bool = False
    save_logs_inline: bool = False

    def resolved(self, cwd: str | None = None) -> Self:
        """Give the same with ``output_file`` relative to the directory.

        Args:
            cwd: The caller's own directory: ``-o out -O out/cat.png`` means ``out/cat.png``.

        Raises:
            UsageError: It leads outside, or is no name for a file.
        """
        if self.output_file is None:
            return self
        return replace(self, output_file=inside(self.directory, self.output_file, cwd))

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, shown: Mapping[str, Any]) -> Self:
        """Rebuild what travelled through Redis, with ``output_file`` checked once more.

        Raises:
            UsageError: Somebody made it lead outside the directory.
        """
        known = cls.__dataclass_fields__
        return cls(**{name: value for name, value in shown.items() if name in known}).resolved()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Read it from the options of a job; a job of a stock tool has none.

        Raises:
            UsageError: Somebody made it lead outside its directory.
        """
        return cls.from_dict(options.get("output") or {"directory": "."})
