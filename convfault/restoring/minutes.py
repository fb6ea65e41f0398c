"""The ``Minutes`` of a repair: what its report will say, taken while it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from convfault.investigation import Findings


class Minutes:
    """The first round's ``findings``, every attempt so far as a report has them, and ``notes``, a sentence each."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.attempts: list[Mapping[str, Any]] = []
        self.notes: list[str] = []

    @property
    def said(self) -> tuple[str, ...]:
        """The notes, each once."""
        return tuple(dict.fromkeys(self.notes))

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def attempt(self, attempts: Iterable[Mapping[str, Any]]) -> None:
        self.attempts += attempts

    def withdraw(self, reason: str, number: int | None = None) -> None:
        """What was accepted in a round (None: in any) came to nothing."""
        for place, item in enumerate(self.attempts):
            if item["accepted"] and number in {None, item["round"]}:
                self.attempts[place] = {**item, "accepted": False, "reason": reason}
