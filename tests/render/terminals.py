"""What a summary looks like on terminals of many kinds."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console


def printed(
    show: Callable[..., None], width: int = 100, encoding: str = "utf-8", colours: bool = False, **more: Any
) -> str:
    """What ``show(console, **more)`` writes; ``colours``: as on a terminal that has them."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    colour_system = "truecolor" if colours else None
    show(Console(file=file, width=width, force_terminal=colours, color_system=colour_system), **more)  # type: ignore[arg-type]
    file.flush()
    return raw.getvalue().decode(encoding)


def squeezed(text: str) -> str:
    return " ".join(text.split())
