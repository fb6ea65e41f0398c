"""What a writer did to a native file, and why it would not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from convfault.errors import UsageError


@dataclass(frozen=True)
class Change:
    """One change of a native file: ``place`` is the operator or tensor by its native name, ``attribute`` what of it.

    ``before`` and ``after`` are short descriptions; ``before`` is empty for what was added, ``after`` for what is gone.
    """

    place: str
    attribute: str
    before: str
    after: str

    def to_record(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.place}: {self.attribute}: {self.before or 'none'} -> {self.after or 'none'}"


class EditRefusedError(UsageError):
    """The format cannot hold an edit; ``edit`` describes it, ``reason`` says why in one sentence."""

    def __init__(self, edit: str, reason: str) -> None:
        self.edit, self.reason = edit, reason
        super().__init__(edit, reason)

    def __str__(self) -> str:
        return f"the edit of {self.edit} cannot be written: {self.reason}"


class Refusal(Exception):  # noqa: N818 - a no with its reason, which the writer makes an error that names the edit
    """Raised inside a writer over one layer."""
