"""A local fal for demos, trials and tests: nothing here reaches fal.ai or costs money.

Importing this package is cheap: the server and its libraries load when a name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from falq.sandbox.catalogue import default_models
    from falq.sandbox.running import RunningSandbox, running_sandbox, serve
    from falq.sandbox.server import Sandbox
    from falq.sandbox.synthetic import hostile_catalogue, synthetic_catalogue

__all__ = [
    "RunningSandbox",
    "Sandbox",
    "default_models",
    "hostile_catalogue",
    "running_sandbox",
    "serve",
    "synthetic_catalogue",
]

_HOMES = {
    "RunningSandbox": "running",
    "Sandbox": "server",
    "default_models": "catalogue",
    "hostile_catalogue": "synthetic",
    "running_sandbox": "running",
    "serve": "running",
    "synthetic_catalogue": "synthetic",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
