"""One page that needs nothing else and that no name of a model can take over."""

from __future__ import annotations

import base64
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from convfault.render import html
from convfault.report import Report
from tests import samples
from tests.render import localized, mended

SAMPLES = [
    *(samples.agreeing, samples.differing, samples.crashing, samples.broken, samples.hostile, samples.repaired),
    *localized.ALL,
    *mended.ALL,
]
VOID = {"meta", "img", "br", "hr", "link", "input", "wbr"}
CELLS = {"td", "th", "dt", "dd"}
"""Elements whose texts stand apart though nothing stands between them."""


class Page(HTMLParser):
    """Every element with its attributes, every text; fails on an end tag that closes nothing."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self.text += " " if tag in CELLS else ""

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += data

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.mark.parametrize("make", SAMPLES)
def test_the_page_is_sound_and_needs_nothing_else(make: Any) -> None:
    text = html.page(make())
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert all(source.startswith("data:image/") for source in page.attributes("src"))
    assert all(target.startswith("#") for name in ("href", "xlink:href") for target in page.attributes(name))
    assert not re.search(r"url\((?!#)|@import", text)
    assert max(Counter(page.attributes("id")).values(), default=1) == 1
    assert set(page.attributes("aria-labelledby")) <= set(page.attributes("id"))


@pytest.mark.parametrize("make", SAMPLES)
def test_the_page_is_the_same_each_time(make: Any) -> None:
    assert html.page(make()) == html.page(make())


@pytest.mark.parametrize("make", SAMPLES)
def test_every_picture_has_words_for_it(make: Any) -> None:
    page = Page(html.page(make()))
    assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img")
    assert all(attributes.get("aria-labelledby") for tag, attributes in page.elements if tag == "svg")


def test_names_cannot_become_markup() -> None:
    text = html.page(samples.hostile())
    page = Page(text)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert {attributes["src"][:22] for tag, attributes in page.elements if tag == "img"} == {"data:image/png;base64,"}
    assert "<script" not in text
    assert 'a<script>alert(1)</script>"><img src=x onerror=alert(2)>' in page.text
    assert r"[bold red]b[/bold red]\x1b[31m\x00\u202e\udc80" in page.text
    text.encode()


def test_scripts_would_not_run_if_there_were_any() -> None:
    policies = Page(html.page(samples.agreeing())).attributes("content")
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in policies


def test_a_difference_shows_figures_plots_and_pictures() -> None:
    page = Page(html.page(samples.differing()))
    for words in (
        "DIFFER inceptionv3: tf → tflite The target gives another top label on 43 of 320 pictures.",
        "top-1 disagreement 13.4 % 43 of 320",
        "output 'predictions' is off by up to 0.213",
        "about 320 of 320 pictures lie beyond the tolerance of 1.8e-05",
        "class_00/0000.png off by 0.213 · true label class 0 ≠ flipped",
        "The tolerance is derived",
        "preprocessing: scale 1/255, no mean",
        "convfault diff --src tf --dst tflite --model inceptionv3 --html report.html",
        "tensorflow 2.21.0",
    ):
        assert words in page.words
    assert [tag for tag, _ in page.elements].count("svg") == 3
    embedded = [base64.b64decode(source.split(",")[1]) for source in page.attributes("src")]
    assert embedded == [samples.thumbnail(number) for number in range(6)]


def test_an_agreement_has_no_reasons() -> None:
    page = Page(html.page(samples.agreeing()))
    assert "AGREE" in page.words
    assert "Why" not in page.words
    assert "flipped" not in page.words


def test_a_crash_shows_the_hop_and_its_log() -> None:
    page = Page(html.page(samples.crashing()))
    assert "onnx2torch says No Adapter to version 17 for ReduceMean" in page.words
    assert "✕ crashed · 34 s" in page.words
    assert "target torch torch 2.13.0 never made" in page.words
    assert "INFO tool: line 0 of what" in page.words
    assert not [tag for tag, _ in page.elements if tag in {"svg", "img", "table"}]


def test_a_route_that_breaks_early_shows_what_was_not_tried() -> None:
    report = samples.crashing()
    first = {**report.route[0], "status": "crash", "message": "out of memory"}
    page = Page(html.page(replace(report, route=(first,))))
    assert "intermediate onnx never made not tried target torch" in page.words


def test_models_converted_elsewhere_have_no_tool() -> None:
    assert "converted elsewhere" in Page(html.page(replace(samples.differing(), route=()))).words


def test_faults_edits_and_the_mended_file_are_shown() -> None:
    page = Page(html.page(samples.repaired()))
    for words in (
        "REPAIRED inceptionv3: tf → tflite",
        "top-1 disagreement 13.4 % → 0 % 43 of 320 → 0 of 320",
        "1 · parameters int8-rounding",
        "as the target is 13.4 % of labels flip",
        "undone alone 1 % of labels flip; off by 0.02",
        "left out hyperparameters set the padding of conv2d_7 to [0, 1, 0, 1] f2 The answers agree without it.",
        "The repaired file answers as the source does.",
    ):
        assert words in page.words


@pytest.mark.parametrize("make", SAMPLES)
def test_a_report_read_back_from_json_still_makes_a_page(make: Any) -> None:
    report = Report.from_record(make().to_record())
    assert "<img" not in html.page(report)


def test_values_that_are_no_numbers_are_said() -> None:
    page = Page(html.page(samples.broken()))
    assert "Beside these: 3 pictures without any error, 41 pictures NaN or infinite on one side only." in page.words
    assert "max abs error not finite" in page.words
