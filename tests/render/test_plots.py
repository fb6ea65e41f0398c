"""Plots that follow the page's colours and stand beside each other."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from convfault.comparison import Comparison
from convfault.render import plots
from tests import samples

DRAWN = [plots.histogram, plots.agreement, plots.accuracy]


@pytest.mark.parametrize("draw", DRAWN)
def test_a_plot_is_sound_without_colours_of_its_own_or_dates(draw: object) -> None:
    svg = draw(samples.differing().comparison)  # type: ignore[operator]
    ElementTree.fromstring(svg)
    assert not re.search(r"(fill|stroke): #", svg)
    assert "var(--" in svg
    assert "metadata" not in svg
    assert draw(samples.differing().comparison) == svg  # type: ignore[operator]


@pytest.mark.parametrize("draw", DRAWN)
def test_what_was_not_measured_is_not_drawn(draw: object) -> None:
    assert draw(Comparison.crash("it died")) == ""  # type: ignore[operator]


@pytest.mark.parametrize(
    "histogram",
    [
        {"edges": (), "counts": (), "zero": (320.0,), "unmatched": (0.0,)},
        {"edges": (1e-9, 1e-8), "counts": (0.0,), "zero": (0.0,), "unmatched": (9.0,)},
        {"edges": (1e308, None), "counts": (4.0,)},
    ],
)
def test_pictures_without_a_place_on_the_axis_are_not_drawn(histogram: dict[str, tuple[float, ...]]) -> None:
    assert plots.histogram(replace(samples.differing().comparison, histogram=histogram)) == ""


@pytest.mark.parametrize(("tolerance", "beyond"), [(1e-30, 320), (1e30, 0)])
def test_any_tolerance_has_a_place(tolerance: float, beyond: int) -> None:
    svg = ElementTree.fromstring(plots.histogram(samples.differing().comparison.judged(tolerance)))
    title, *words = (element for element in svg.iter() if element.tag.endswith(("}title", "}text")))
    assert f"about {beyond} of 320 pictures lie beyond the tolerance of {tolerance}" in str(title.text)
    (label,) = (word for word in words if word.text == f"tolerance {tolerance}")
    assert 0 < float(label.attrib["x"]) < float(svg.attrib["viewBox"].split()[2])


def test_a_tolerance_of_zero_is_said_but_has_no_line() -> None:
    svg = plots.histogram(samples.differing().comparison.judged(0.0))
    assert "about 320 of 320 pictures lie beyond the tolerance of 0." in svg
    assert ">tolerance 0<" not in svg


def test_settings_of_matplotlib_stay_as_they_were() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.accuracy(samples.agreeing().comparison)
    assert dict(matplotlib.rcParams) == before


def test_a_single_bin_is_a_histogram() -> None:
    one = {"edges": (1e-7, 1e-6), "counts": (320.0,)}
    svg = plots.histogram(replace(samples.agreeing().comparison, histogram=one))
    assert "about 0 of 320 pictures lie beyond" in svg
