"""falq: paid generative-media calls made by agents, queued, limited, never paid twice."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from falq.api import run_fal_api_job

__all__ = ["__version__", "run_fal_api_job"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load what is asked for: ``import falq`` alone must cost nothing."""
    if name == "run_fal_api_job":
        return importlib.import_module("falq.api").run_fal_api_job
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
