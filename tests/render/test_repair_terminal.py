"""The result of a repair on a terminal."""

from __future__ import annotations

from pathlib import Path

from convfault.render import terminal
from convfault.report import Report
from tests.render import mended
from tests.render.terminals import printed, squeezed


def shown(report: Report, width: int = 110) -> str:
    return squeezed(printed(lambda console: terminal.show(report, console), width))


def test_the_result_comes_before_what_was_found() -> None:
    text = shown(mended.whole())
    places = [text.index(words) for words in ("REPAIRED", "before after", "changed", "that were kept", "faults")]
    assert places == sorted(places)


def test_figures_changes_and_edits_are_told() -> None:
    text = shown(mended.whole())
    for words in (
        "top-1 disagreement 13.4 % 0 % 43 of 320 → 0 of 320",
        "file size 24.1 MB 96.0 MB 4.0 times",
        "✓ On 160 pictures that the repair did not look at",
        "weights of 94 layers int8, by channel → float32",
        "parameters 94 edits, such as: restore weights of inception_v3/conv2d_0/Conv2D",
        "hyperparameters restore padding of conv_5 Its edit does not fit the target. round 2 f2",
    ):
        assert words in text


def test_sizes_are_weighed_against_labels() -> None:
    text = shown(mended.labels())
    assert "9 layers restored 32.2 MB no label flips; off by 0.0213 ← chosen" in text
    assert "94 layers restored 95.3 MB" in text
    assert "file size against disagreement" not in shown(mended.whole())


def test_a_repair_that_fell_short_says_what_is_left() -> None:
    text = shown(mended.improved())
    assert text.startswith("≠ IMPROVED, NOT REPAIRED")
    assert "≠ On 64 pictures" in text
    assert "file that was written, and its patch repaired.tflite" in text
    assert "what is still off the target cannot be read" in shown(mended.worse())


def test_where_nothing_was_written_the_target_is_shown_as_it_came() -> None:
    text = shown(mended.failed())
    assert text.startswith("✕ NOT REPAIRED")
    assert "edits that were left out" in text
    assert "top-1 disagreement 13.4 % 43 of 320" in text
    assert "worst pictures" in text
    assert "convfault apply" not in text


def test_paths_and_the_command_are_whole_on_a_narrow_terminal() -> None:
    path = "a/rather/long/folder/that/does/not/fit/into/sixty/columns/repaired.tflite"
    report = mended.with_repaired(mended.whole(), path=path)
    lines = printed(lambda console: terminal.show(report, console, written=[Path("x.html")]), 60).splitlines()
    assert f"  {path}" in lines
    assert [line for line in lines if line.startswith("  convfault apply ") and line.endswith(path)]
    assert lines[-1] == "  x.html"


def test_many_rows_are_cut_and_said_to_be() -> None:
    changes = [{"place": "conv", "attribute": f"option {n}", "before": 0, "after": 1} for n in range(11)]
    assert "and 3 more: see --html or --json" in shown(mended.with_repaired(mended.whole(), changes=changes))
