"""The colours of a heat map: even steps to the eye, in light and dark, also for those who do not see all colours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

from convfault.comparison import AGREE
from convfault.matrix.cells import CellOutcome

STEPS = 10
"""How many shades there are beside the one for no disagreement at all."""
LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "ink": "#14181f",
    "soft": "#566070",
    "line": "#dde1e8",
    "cross": "#c9a3b4",
}
DARK: Mapping[str, str] = {
    "paper": "#191e25",
    "ink": "#e8ebf0",
    "soft": "#9aa5b4",
    "line": "#2e3641",
    "cross": "#7a4560",
}
PAGE = {"paper", "ink", "soft", "line"}
"""The colours that pages have of their own."""
RANGES = {False: (0.98, 0.24), True: (0.2, 0.94)}
"""Which part of matplotlib's *magma* is used in light and in dark: away from the page's own colour as it gets worse."""


def step(rate: float) -> int:
    """The shade of a share of labels, 0 to ``STEPS``: by its root, so that small shares are told apart, too."""
    return min(STEPS, math.ceil(round(STEPS * math.sqrt(max(rate, 0.0)), 9)))


def bound(number: int) -> float:
    """The largest share of labels that has this shade."""
    return (number / STEPS) ** 2


def shade(outcome: CellOutcome) -> int:
    """The shade of a cell that answered; a model without classes has the first or the last one."""
    if outcome.top1_disagreement is None:
        return 0 if outcome.status == AGREE else STEPS
    return step(outcome.top1_disagreement)


@cache
def palette(dark: bool = False) -> dict[str, str]:
    """Name → colour as ``#rrggbb``: the page's own, ``shade0`` … and ``on0`` … for what is written on them.

    *magma* is perceptually uniform and monotone in lightness (S. van der Walt and N. Smith, matplotlib 1.5).
    """
    import matplotlib
    from matplotlib.colors import to_hex

    found, (first, last) = dict(DARK if dark else LIGHT), RANGES[dark]
    for number in range(STEPS + 1):
        colour = to_hex(matplotlib.colormaps["magma"](first + (last - first) * number / STEPS))
        found |= {
            f"shade{number}": colour,
            f"on{number}": max("#000000", "#ffffff", key=lambda ink: contrast(colour, ink)),
        }
    return found


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminance, 1 to 21 (WCAG 2.2, contrast ratio)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2)."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def style(selector: str = ":root", *, whole: bool = True) -> str:
    """Rules of a style sheet that set the colours as variables, for light and dark.

    ``whole``: those of a picture that stands for itself; else without the ones that a page has of its own.
    """
    light, dark = (_variables(palette(dark), whole) for dark in (False, True))
    return f"{selector} {{ {light} }}\n@media (prefers-color-scheme: dark) {{ {selector} {{ {dark} }} }}"


def _variables(colours: Mapping[str, str], whole: bool) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items() if whole or name not in PAGE)
