"""Every exception that convfault raises on purpose.

::

    ConvfaultError                     exit code 3 unless a subclass says otherwise
    ├── UsageError                     exit code 2: what was asked for cannot be done
    │   ├── UnknownNameError           no such model, framework, tool, option ...; suggests the nearest
    │   ├── InputError                 a file or folder that is missing, truncated, or not what its name says
    │   │   ├── FormatError            a model file that cannot be read
    │   │   ├── DataError              pictures, labels or arrays that cannot be used
    │   │   └── ShapeError             data that does not fit the model's inputs, or the other way round
    │   ├── MissingPackageError        a framework or tool that is not installed
    │   ├── TrustError                 the file wants to execute code and ``--trust`` was not given
    │   ├── RouteError                 no chain of converters leads from source to target
    │   └── StorageError               the disk is full or the place cannot be written
    └── SubjectError                   a model or tool died, hung or ran out of memory in its own process

A ``SubjectError`` is *data* to the commands: a converter that crashes gives a comparison whose verdict is
``crash``. It leaves convfault as an error only when a file of the user's kills the runtime that reads it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class ConvfaultError(Exception):
    """Base of all; ``str()`` says what happened, the value, and what to do next."""

    exit_code = 3


class UsageError(ConvfaultError):
    """What was asked for cannot be done; the message says what to change."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that convfault does not know.

    ``kind`` is the noun ("model", "tool"), ``known`` the names that would have worked.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), hint: str = "") -> None:
        self.kind, self.name, self.known, self.hint = kind, name, tuple(known), hint
        super().__init__(kind, name, self.known, hint)

    def __str__(self) -> str:
        nearest = difflib.get_close_matches(self.name, self.known, n=1, cutoff=0.5)
        advice = f"; did you mean '{nearest[0]}'?" if nearest else f"; known: {', '.join(self.known) or 'none'}"
        return f"unknown {self.kind} '{self.name}'{advice}{' ' + self.hint if self.hint else ''}"


class InputError(UsageError):
    """A file or folder that is missing, truncated, or not what its name says."""


class FormatError(InputError):
    """A model file that its framework cannot read."""


class DataError(InputError):
    """Pictures, labels or arrays that cannot be used."""


class ShapeError(InputError):
    """Data that does not fit the model's inputs."""


class MissingPackageError(UsageError):
    """A package that is not installed; the message carries the line that installs it."""


class TrustError(UsageError):
    """The model file would execute code; ``--trust`` allows it."""


class RouteError(UsageError):
    """No chain of converters leads from the source's framework to the target's."""


class StorageError(UsageError):
    """The disk is full or the place cannot be written."""


class SubjectError(ConvfaultError):
    """A model or tool died, hung, ran out of memory or raised, in its own process.

    ``status`` is ``error``, ``crash``, ``timeout`` or ``memory``; ``stage`` says what it was doing.
    """

    exit_code = 2

    def __init__(self, message: str, status: str = "error", stage: str = "", log: str = "") -> None:
        self.message, self.status, self.stage, self.log = message, status, stage, log
        super().__init__(message, status, stage, log)

    def __str__(self) -> str:
        return self.message


def from_record(record: dict[str, Any]) -> ConvfaultError:
    """Rebuild a convfault exception that crossed a process boundary as ``to_record`` wrote it."""
    kind = globals().get(record["type"], UsageError)
    return kind(*record["arguments"])  # type: ignore[no-any-return]


def to_record(error: ConvfaultError) -> dict[str, Any]:
    """The JSON form of a convfault exception: its class and arguments.

    One that is not drawn above goes as the class above it that is, with its sentence.
    """
    kind = next(base for base in type(error).__mro__ if base.__module__ == __name__)
    arguments = list(error.args) if kind is type(error) else [str(error)]
    return {"type": kind.__name__, "arguments": arguments}
