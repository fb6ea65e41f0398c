"""Figures, names and outcomes in words."""

from __future__ import annotations

import pytest

from convfault.render import wording
from tests import samples


@pytest.mark.parametrize(
    ("rate", "said"),
    [(0.0, "0 %"), (0.134375, "13.4 %"), (0.5, "50 %"), (1.0, "100 %"), (0.0001, "0.01 %"), (0.99999, "99.9 %")],
)
def test_a_rate_is_never_rounded_to_nothing_or_all(rate: float, said: str) -> None:
    assert wording.percent(rate) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "–"), (0.04, "0.0 s"), (9.96, "10 s"), (99.4, "99 s"), (125.2, "2 min 05 s")]
)
def test_a_duration_has_the_unit_that_fits(seconds: float | None, said: str) -> None:
    assert wording.duration(seconds) == said


@pytest.mark.parametrize(
    ("bytes_", "said"),
    [(None, "–"), (999, "999 B"), (24_110_020, "24.1 MB"), (999_999, "1000.0 kB"), (2_500_000_000, "2.50 GB")],
)
def test_a_size_has_the_unit_that_fits(bytes_: int | None, said: str) -> None:
    assert wording.size(bytes_) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain ünïcode 猫", "plain ünïcode 猫"),
        ("two\nlines\tand a tab", "two\nlines   and a tab"),
        (r"C:\temp", r"C:\temp"),
        ("\x1b[31m\r\x00\x9b", r"\x1b[31m\r\x00\x9b"),
        ("\u202e\u2028\ufeff\ufffe\udc80", r"\u202e\u2028\ufeff\ufffe\udc80"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(text: str, said: str) -> None:
    assert wording.printable(text) == said


@pytest.mark.parametrize(
    ("hop", "said"),
    [
        ({"message": "no adapter", "log": "x\ny"}, "no adapter"),
        ({"message": None, "log": "x\nlast words\n\n"}, "last words"),
        ({"log": None}, "it left no message"),
    ],
)
def test_a_crash_has_words(hop: dict[str, str | None], said: str) -> None:
    assert wording.hop_message(hop) == said


def test_a_flip_within_the_tolerance_is_said_but_speaks_against_nothing() -> None:
    report = samples.differing().judged(1.0)
    assert wording.headline(report).endswith("on 320 pictures; 43 flips of top labels within the tolerance.")
    assert not any(figure.bad for figure in wording.figures(report.comparison))
