"""How long work tells that it goes on."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of phases by name; several may go on at once. ``total`` None: nobody knows how much there is."""

    def start(self, phase: str, total: int | None) -> None: ...

    def update(self, phase: str, done: int) -> None: ...

    def finish(self, phase: str) -> None: ...


class Silent:
    """Tells nobody."""

    def start(self, phase: str, total: int | None) -> None:
        pass

    def update(self, phase: str, done: int) -> None:
        pass

    def finish(self, phase: str) -> None:
        pass
