"""One page for a matrix: it needs nothing else, and no name of a model or tool can take it over."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from convfault.matrix.cells import DEFECT, Matrix
from convfault.matrix.regress import compare
from convfault.render import matrix_html
from convfault.render.matrix_html import Reports
from tests import matrix_samples
from tests.render.test_html import Page

PAGES = [
    lambda: matrix_html.page(matrix_samples.full()),
    lambda: matrix_html.page(matrix_samples.agreeing()),
    lambda: matrix_html.page(matrix_samples.own()),
    lambda: matrix_html.page(matrix_samples.empty()),
    lambda: matrix_html.page(matrix_samples.hostile()),
    lambda: matrix_html.regression_page(matrix_samples.regressed()),
]


def page(matrix: Matrix, **more: Any) -> Page:
    return Page(matrix_html.page(matrix, **more))


def links(found: Page) -> list[str]:
    return found.attributes("href")


@pytest.mark.parametrize("make", PAGES)
def test_the_page_is_sound_and_needs_nothing_else(make: Any) -> None:
    text = make()
    found = Page(text)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form", "img"}
    assert not re.search(r"url\((?!#)|@import", text)
    assert max(Counter(found.attributes("id")).values(), default=1) == 1
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in found.attributes("content")
    assert make() == text
    text.encode()


@pytest.mark.parametrize("make", PAGES)
def test_links_lead_to_the_page_itself_or_to_files_beside_it(make: Any) -> None:
    found = Page(make())
    inner = {link[1:] for link in links(found) if link.startswith("#")}
    assert inner <= set(found.attributes("id"))
    assert all(re.match(r"\./[^:]*$", link) for link in links(found) if not link.startswith("#"))


def test_every_square_leads_to_its_pair_and_can_be_heard() -> None:
    found = page(matrix_samples.full())
    squares = [attributes for tag, attributes in found.elements if tag == "a" and "aria-label" in attributes]
    assert len(squares) == 36
    assert squares[0]["aria-label"] == (
        "torch → keras: the best route agrees, 0 % of the top labels differ; 1 of 2 routes agrees"
    )
    assert len({square["href"] for square in squares}) == 36
    assert len([1 for tag, attributes in found.elements if tag == "article" and "id" in attributes]) == 36


def test_colours_crosses_and_hatches_stand_for_what_happened() -> None:
    classes = Counter(page(matrix_samples.full()).attributes("class"))
    legend = 1
    assert classes["shade0"] == 22 + legend
    assert classes["shade10"] == 1 + legend
    assert classes["shade2"] == 2 + legend
    assert (classes["crossed"], classes["hatched"], classes["untried"]) == (8, 3, 12)


def test_the_tiles_count_pairs_and_cells() -> None:
    words = page(matrix_samples.full()).words
    assert "pairs with a route that agrees 22 of 36" in words
    assert "cells that failed 20 1 defect, 13 crash, 3 timeout, 3 memory" in words
    assert "wall time 34 min 12 s cells: 36 min 32 s" in words
    assert "from an earlier run 21 of 63 cells" in words
    assert "wall time" not in page(matrix_samples.own()).words


def test_failures_are_grouped_by_cause() -> None:
    words = page(matrix_samples.full()).words
    assert "9 ✕ crash load onnx2keras: Lambda layer cannot be read back (load) 0.0.25 mobilenetv2, incep" in words


def test_the_best_route_of_each_pair_is_recommended() -> None:
    words = page(matrix_samples.full()).words
    assert "torch → tf torch>onnx:torch.onnx[opset=13]>tf:onnx2tf ✓ 0 % 9.0 MB 26 s" in words
    assert "torch → keras defect of convfault: AssertionError: the layouts of 'conv2d_5' disagree ! defect" in words


def test_routes_are_ranked_with_their_figures_versions_and_words() -> None:
    words = page(matrix_samples.full()).words
    assert "top 1 48 % top 5 72 % max abs error 0.16 tolerance 1.8e-05 Kendall's tau 0.4720 pictures 50" in words
    assert "✕ timeout · convert torch>onnx:torch.onnx>tf:onnx2tf" in words
    assert "onnx2tf: no end after 1800 s" in words
    assert "tflite>onnx:tf2onnx>torch:onnx2torch" in words


def test_models_without_classes_have_no_labels() -> None:
    words = page(matrix_samples.own()).words
    assert "top 1" not in words.replace("top-1", "")
    assert "max abs error not finite" in words
    assert "models/super resolution.keras" in words


@pytest.mark.parametrize(
    ("reports", "link"),
    [
        (Reports(), "./reports/KEY.html"),
        (Reports(pages=False), "./reports/KEY.json"),
        (Reports("../out put"), "./../out%20put/reports/KEY.html"),
    ],
)
def test_a_cell_leads_to_its_own_report(reports: Reports, link: str) -> None:
    matrix = matrix_samples.agreeing()
    key = matrix.outcomes[0].cell.key
    assert link.replace("KEY", key) in links(page(matrix, reports=reports))


def test_a_cell_without_a_report_has_no_link() -> None:
    matrix = matrix_samples.agreeing()
    bare = matrix.with_outcomes(replace(outcome, report="") for outcome in matrix.outcomes)
    assert all(link.startswith("#") for link in links(page(bare)))


def test_names_cannot_become_markup() -> None:
    text = matrix_html.page(matrix_samples.hostile())
    found = Page(text)
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert "<script" not in text
    assert r"onerror=alert(2)>[bold red]b[/bold red]\x1b[31m\x00\u202e\udc80" in found.text


def test_what_it_rests_on_is_told() -> None:
    words = page(matrix_samples.full()).words
    for told in (
        "convfault matrix --html matrix.html",
        "onnx2tf 1.29.24",
        "name fractals",
        "seed 0",
        "weights calibrated",
    ):
        assert told in words


def test_a_regression_comes_before_the_matrix() -> None:
    words = Page(matrix_html.regression_page(matrix_samples.regressed())).words
    assert "Against the baseline of 2026-01-05T10:30:00+00:00" in words
    assert "✕ newly crashing mobilenetv2 torch>keras:nobuco agree before, now crash" in words
    assert words.index("newly crashing mobilenetv2") < words.index("Heat map")


def test_without_changes_there_is_no_regression() -> None:
    full = matrix_samples.full()
    sound = full.with_outcomes(outcome for outcome in full.outcomes if outcome.status != DEFECT)
    words = Page(matrix_html.regression_page(compare(sound, sound))).words
    assert "NO REGRESSION" in words
    assert "Nothing has changed." in words


@pytest.mark.parametrize("make", [matrix_samples.full, matrix_samples.own, matrix_samples.empty])
def test_a_matrix_read_back_from_json_makes_the_same_page(make: Any) -> None:
    assert matrix_html.page(Matrix.from_record(make().to_record())) == matrix_html.page(make())
