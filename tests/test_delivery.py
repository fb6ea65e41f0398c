"""The files that a command writes lead to what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from convfault import delivery
from convfault.flags import Outputs
from convfault.matrix.selection import Work
from tests import matrix_samples
from tests.render.test_html import Page


@pytest.mark.parametrize(("pages", "suffix"), [(True, ".html"), (False, ".json")])
@pytest.mark.parametrize("command", ["matrix", "regression"])
def test_a_page_links_to_the_pages_of_cells_only_where_they_were_written(
    command: str, pages: bool, suffix: str, tmp_path: Path
) -> None:
    work = Work(tmp_path / "results", pages=pages)
    outputs = Outputs(html=tmp_path / "matrix.html", quiet=True)
    if command == "matrix":
        delivery.matrix(matrix_samples.full(), work, outputs, None, None)
    else:
        delivery.regression(matrix_samples.regressed(), work, outputs, None, None)
    links = Page((tmp_path / "matrix.html").read_text()).attributes("href")
    reports = [link for link in links if link.startswith("./results/reports/")]
    assert reports
    assert {Path(link).suffix for link in reports} == {suffix}
