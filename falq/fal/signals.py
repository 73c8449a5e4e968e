"""Answers of fal that steer the pipeline; users never see their names.

Each is a kind of an error that users may see, so that one which is not handled still has
the right exit code.
"""

from __future__ import annotations

from falq.errors import ModelError, NetworkError, ResultEndpointError


class StillRunningError(NetworkError):
    """The result was asked for before the request ended; ask again later."""


class EndpointRefusedError(ResultEndpointError):
    """HTTP 405: fal has the request but this endpoint of it refuses."""


class RequestNotFoundError(ModelError):
    """Fal knows no such request, or no longer."""

    default_hint = "fal keeps results for about an hour; see https://fal.ai/dashboard/requests"
