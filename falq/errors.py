"""Everything that falq raises on purpose, grouped by what the caller can do.

    FalqError                      exit
    ├── UsageError                  2   mend the call; nothing was sent
    │   ├── ArgumentsError              refused by the model's schema or no JSON object
    │   └── ConfigurationError          a variable, a file or a key of one
    ├── ModelError                  3   fal or the model refused or failed the job
    │   ├── ContentPolicyError          the model's safety check refused it
    │   └── JobCancelledError           somebody cancelled it
    ├── AccountError                4   mend the account
    │   ├── MissingKeyError
    │   ├── InvalidKeyError
    │   └── BalanceError
    ├── UnreachableError            5   try again later
    │   ├── NetworkError                fal
    │   ├── RedisUnavailableError       the queue
    │   └── JobTimeoutError             the job's own time ran out; it may still run at fal
    ├── UnknownOutcomeError         6   look it up; falq never sends it again by itself
    │   └── ResultEndpointError         sent and done, but fal's result endpoint refuses
    └── ArtifactError               7   the result is safe, a file of it is not
        ├── DownloadError
        └── OutputError                 the place where it should go

An error carries its fields through ``super().__init__`` so that it pickles, never prints
or logs, and never holds a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

ERROR_FIELDS = ("model_id", "request_id", "job_id", "detail", "retry_after_s")


class FalqError(Exception):
    """An error with a message for people and fields for programs.

    Args:
        message: Names the wrong value and what was expected.
        hint: What to do about it; the class has a default.
        fields: Any of ``ERROR_FIELDS``; ``retryable`` and ``may_be_billed`` override the class.
    """

    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = ""
    default_retryable: ClassVar[bool] = False
    default_may_be_billed: ClassVar[bool] = False

    def __init__(self, message: str, hint: str | None = None, **fields: Any) -> None:
        super().__init__(message, hint, fields)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.retryable: bool = fields.get("retryable", self.default_retryable)
        self.may_be_billed: bool = fields.get("may_be_billed", self.default_may_be_billed)
        for name in ERROR_FIELDS:
            setattr(self, name, fields.get(name))

    model_id: str | None
    request_id: str | None
    job_id: str | None
    detail: Any
    retry_after_s: float | None
    #: The whole outcome of the job that failed, where there is one.
    outcome: dict[str, Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the fields as they stand, those set after the raise included."""
        return _rebuild, (type(self), self.message, self.hint, self._fields())

    def __str__(self) -> str:
        return self.message

    def _fields(self) -> dict[str, Any]:
        known = {name: getattr(self, name) for name in ERROR_FIELDS}
        known |= {"retryable": self.retryable, "may_be_billed": self.may_be_billed}
        return {name: value for name, value in known.items() if value is not None}

    def about(self, **fields: Any) -> FalqError:
        """Fill in fields that are still empty and return the error itself."""
        for name, value in fields.items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        return self

    @property
    def filled_hint(self) -> str:
        """The hint with this error's own ids in it, so that its commands can be copied."""
        known = {"JOB": self.job_id, "MODEL_ID": self.model_id}
        return re.sub(r"\b(JOB|MODEL_ID)\b", lambda name: known[name[0]] or name[0], self.hint)

    def to_dict(self) -> dict[str, Any]:
        """Give the ``error`` object of a failed result (design 1.4), JSON-able."""
        shown: dict[str, Any] = {
            "type": type(self).__name__,
            "message": self.message,
            "hint": self.filled_hint,
            "model_id": self.model_id,
            "request_id": self.request_id,
            "job_id": self.job_id,
            "retryable": self.retryable,
            "may_be_billed": self.may_be_billed,
        }
        if self.detail is not None:
            shown["detail"] = self.detail
        return shown

    @staticmethod
    def from_dict(shown: dict[str, Any]) -> FalqError:
        """Rebuild an error that travelled through Redis; an unknown type is a plain FalqError."""
        kind = ERROR_TYPES.get(str(shown.get("type")), FalqError)
        fields = {k: v for k, v in shown.items() if k not in ("type", "message", "hint")}
        return kind(str(shown.get("message", "")), shown.get("hint"), **fields)


@contextmanager
def concerning(**known: Any) -> Iterator[None]:
    """Fill what is known here, such as ``model_id``, into the errors that pass through."""
    try:
        yield
    except FalqError as error:
        error.about(**known)
        raise


def _rebuild(kind: type[FalqError], message: str, hint: str, fields: dict[str, Any]) -> FalqError:
    return kind(message, hint, **fields)


class UsageError(FalqError):
    """The call itself is wrong; nothing was sent."""

    exit_code = 2


class ArgumentsError(UsageError):
    """The model's arguments are no JSON object or do not fit its schema."""


class ConfigurationError(UsageError):
    """A variable, a configuration file or a key of one has a value that cannot be used."""

    default_hint = "nothing was sent; mend the setting, or remove it to have its default"


class ModelError(FalqError):
    """Fal or the model refused or failed the job, in fal's own words."""

    exit_code = 3


class ContentPolicyError(ModelError):
    """The model's safety check refused the arguments or the result."""

    default_hint = "change the prompt or the input files; the same call will be refused again"


class JobCancelledError(ModelError):
    """The job was cancelled."""


class AccountError(FalqError):
    """The key or the balance behind it does not allow the call; nothing was charged."""

    exit_code = 4


class MissingKeyError(AccountError):
    """No key is set where one is needed."""

    default_hint = "export FAL_KEY=...  (keys: https://fal.ai/dashboard/keys)"


class InvalidKeyError(AccountError):
    """Fal does not accept the key."""

    default_hint = "check FAL_KEY: it has the form key_id:key_secret"


class BalanceError(AccountError):
    """The account is locked, most often for an exhausted balance."""

    default_hint = "top up at https://fal.ai/dashboard/billing, then repeat the call"


class UnreachableError(FalqError):
    """Something could not be reached or did not finish in time."""

    exit_code = 5
    default_retryable = True


class NetworkError(UnreachableError):
    """Fal could not be reached, or answers that it cannot serve right now."""

    default_hint = "falq doctor tells whether fal can be reached"


class RedisUnavailableError(UnreachableError):
    """Redis cannot be reached, refuses us, or is full."""

    default_hint = "falq doctor tells what is wrong"
    #: Redis answered with a refusal: what was asked for did not happen.
    refused: bool = False


class JobTimeoutError(UnreachableError):
    """The job's time ran out; what was sent may still run at fal."""

    default_retryable = False


class UnknownOutcomeError(FalqError):
    """The paid request was sent and what became of it is unknown; it is never sent again."""

    exit_code = 6
    default_may_be_billed = True


class ResultEndpointError(UnknownOutcomeError):
    """Fal took the request but its result endpoints refuse (RESULT_ENDPOINT_ONLY)."""


class ArtifactError(FalqError):
    """The result is there, but a file of it could not be saved."""

    exit_code = 7
    default_retryable = True
    default_may_be_billed = True
    default_hint = "falq result JOB tries again without a new call"


class DownloadError(ArtifactError):
    """A file could not be fetched, was refused, or is not what was announced."""


class OutputError(ArtifactError):
    """A file could not be written where it should go."""

    default_hint = "make room or choose another place: falq result JOB -o DIR, without a new call"


def _family(kind: type[FalqError]) -> dict[str, type[FalqError]]:
    found = {kind.__name__: kind}
    for child in kind.__subclasses__():
        found |= _family(child)
    return found


#: Type names as they stand in results and in Redis.
ERROR_TYPES = _family(FalqError)
