"""The heat map as a picture."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from convfault.comparison import DIFFER
from convfault.matrix.cells import Matrix
from convfault.render import matrix_palette, matrix_plots
from tests import matrix_samples

SAMPLES = [matrix_samples.full, matrix_samples.own, matrix_samples.empty, matrix_samples.hostile]
SPACE = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("make", SAMPLES)
def test_the_drawing_is_sound_alone_and_the_same_each_time(make: Any) -> None:
    svg = matrix_plots.heatmap_svg(make())
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SPACE}svg"
    assert root.get("width")
    assert root.get("height")
    assert not re.search(r"#0a[0-9a-f]{2}a0", svg), "every colour has given way to a variable"
    assert not re.search(r"<script|onload|@import|url\((?!#)", re.sub(r"<text.*?</text>", "", svg, flags=re.DOTALL))
    assert svg == matrix_plots.heatmap_svg(make())


def test_every_square_has_its_figure() -> None:
    root = ElementTree.fromstring(matrix_plots.heatmap_svg(matrix_samples.full()))
    texts = [text.text for text in root.iter(f"{SPACE}text")]
    for words, times in (("≠ 92 %", 1), ("✕ crash", 6), ("✕ memory", 1), ("! defect", 1), ("– no route", 3)):
        assert texts.count(words) == times
    assert texts.count("✓ 0 %") == 22
    title = root.find(f"{SPACE}title")
    assert title is not None
    assert str(title.text).startswith("Heat map of conversions: 3 models, 36 pairs")


def test_the_legend_says_what_colours_crosses_and_hatches_mean() -> None:
    texts = said(matrix_samples.full())
    assert {"top-1 disagreement of the best route, up to", "every route fails", "no route is known"} <= texts
    assert {"0", "16", "100", "%", "2/3: routes that agree, of those tried"} <= texts


def test_the_legend_of_models_without_classes_speaks_of_errors() -> None:
    texts = said(matrix_samples.own())
    assert {"largest error of the best route", "✓ within the tolerance", "≠ beyond"} <= texts
    assert not any("top-1" in text for text in texts)


def said(matrix: Matrix) -> set[str]:
    root = ElementTree.fromstring(matrix_plots.heatmap_svg(matrix))
    return {str(text.text) for text in root.iter(f"{SPACE}text")}


def test_two_files_of_one_name_have_titles_of_their_own() -> None:
    assert {"a/model.onnx", "b/model.onnx"} <= said(matrix_samples.namesakes())


def test_it_follows_light_and_dark() -> None:
    svg = matrix_plots.heatmap_svg(matrix_samples.full())
    assert "prefers-color-scheme: dark" in svg
    assert "var(--shade10)" in svg


def test_names_are_neither_markup_nor_formulas() -> None:
    matrix = matrix_samples.hostile()
    svg = matrix_plots.heatmap_svg(matrix)
    assert "<script" not in svg
    assert r"bold red]\x1b[31m\x00\u202e\udc80" in svg
    named = [replace(o, cell=replace(o.cell, model="$\\frac{1$ <b>")) for o in matrix.outcomes]
    assert "$\\frac{1$ &lt;b&gt;" in matrix_plots.heatmap_svg(matrix.with_outcomes(named))


def test_the_picture_is_a_png_in_the_colours_of_the_shades() -> None:
    content = matrix_plots.heatmap_png(matrix_samples.full())
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    assert picture.width > 1200
    colours = {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in picture.getcolors(1 << 24)}  # type: ignore[misc, union-attr]
    palette = matrix_palette.palette()
    assert {palette["shade0"], palette["shade10"], palette["paper"]} <= colours
    assert content == matrix_plots.heatmap_png(matrix_samples.full())


@pytest.mark.parametrize(
    ("rate", "step"), [(0.0, 0), (1e-6, 1), (0.01, 1), (0.0101, 2), (0.04, 2), (0.09, 3), (0.64, 8), (1.0, 10)]
)
def test_small_shares_are_told_apart(rate: float, step: int) -> None:
    assert matrix_palette.step(rate) == step
    assert rate <= matrix_palette.bound(step) + 1e-9


def test_a_model_without_classes_is_all_or_nothing() -> None:
    for outcome in matrix_samples.own().outcomes:
        assert matrix_palette.shade(outcome) == (matrix_palette.STEPS if outcome.status == DIFFER else 0)


@pytest.mark.parametrize("dark", [False, True])
def test_what_is_written_on_a_shade_can_be_read(dark: bool) -> None:
    palette = matrix_palette.palette(dark)
    for number in range(matrix_palette.STEPS + 1):
        assert matrix_palette.contrast(palette[f"shade{number}"], palette[f"on{number}"]) >= 4.5
    assert matrix_palette.contrast(palette["paper"], palette["ink"]) >= 7


@pytest.mark.parametrize("dark", [False, True])
def test_shades_go_one_way_in_lightness_so_that_no_hue_need_be_seen(dark: bool) -> None:
    palette = matrix_palette.palette(dark)
    from_paper = [
        matrix_palette.contrast(palette["paper"], palette[f"shade{number}"])
        for number in range(matrix_palette.STEPS + 1)
    ]
    assert all(one < other for one, other in pairwise(from_paper))
