"""Whatever a converter does is a result, kept when it would happen again, and never an exception of ours."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from convfault.cache import Cache
from convfault.converters.conversion import HopResult, short_message
from convfault.converters.convert import Conversion, Limits, convert
from convfault.errors import MissingPackageError, RouteError, StorageError, TrustError, UnknownNameError, UsageError
from convfault.model import Model
from convfault.preprocessing import Preprocessing
from tests.converters.fakes import converter, route


@pytest.fixture(autouse=True)
def _fakes_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.fixture
def source(tmp_path: Path) -> Model:
    path = tmp_path / "source.onnx"
    path.write_bytes(b"\x08\x07 a model")
    return Model.from_path(str(path)).with_preprocessing(Preprocessing(layout="NHWC"))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def copying(**changes: Any) -> Any:
    return converter("copies", "onnx", "onnx", **changes)


def calls(source: Model) -> int:
    path = Path(source.path).parent / "calls.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_hop_writes_a_model_with_the_source_s_picture_in_its_own_layout(source: Model, cache: Cache) -> None:
    conversion = convert(route(copying()), source, {}, cache)
    assert conversion.status == "ok"
    assert conversion.message == ""
    target = conversion.target
    assert target is not None
    assert target.format == "onnx"
    assert target.preprocessing == Preprocessing(layout="NCHW")
    assert Path(target.path).read_bytes() == b"\x08\x071"
    (record,) = conversion.to_records()
    assert record["notes"] == ["it was copied"]
    assert {"from", "to", "tool", "tool_version", "options", "seconds", "status", "log", "cached", "path"} <= set(
        record
    )
    folder = Path(target.path).parent
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "log.txt", "hop.json"}
    assert json.loads(json.dumps(record)) == record


def test_a_converter_that_says_nothing_keeps_or_sets_the_layout_it_declares(source: Model, cache: Cache) -> None:
    calibration = {"batches": {}, "preprocessing": {}, "key": "k"}
    fixed = converter("measures", "onnx", "onnx", layout="NCHW", calibration_option="strength")
    kept = converter("measures", "onnx", "onnx", calibration_option="strength")
    for chosen, layout in ((fixed, "NCHW"), (kept, "NHWC")):
        target = convert(route(chosen), source, {}, cache, calibration=calibration).target
        assert target is not None
        assert target.preprocessing == Preprocessing(layout=layout)


def test_a_second_run_converts_nothing(source: Model, cache: Cache) -> None:
    first = convert(route(copying(), copying()), source, {}, cache)
    second = convert(route(copying(), copying()), source, {}, cache)
    assert [hop.cached for hop in first.hops] == [False, False]
    assert [hop.cached for hop in second.hops] == [True, True]
    assert [hop.path for hop in second.hops] == [hop.path for hop in first.hops]
    assert len({hop.path for hop in second.hops}) == 2
    assert calls(source) == 1


def test_a_result_names_the_options_that_are_not_the_default(source: Model, cache: Cache) -> None:
    for strength, expected in ((1, {}), (2, {"strength": 2})):
        (hop,) = convert(route(copying(), strength=strength), source, {}, cache).hops
        assert hop.options == expected
        assert hop.all_options == {"strength": strength}


def test_other_options_other_content_and_other_code_convert_again(source: Model, cache: Cache) -> None:
    convert(route(copying()), source, {}, cache)
    assert not convert(route(copying(), strength=2), source, {}, cache).hops[0].cached
    assert not convert(route(copying()), source, {"copies": {"strength": 3}}, cache).hops[0].cached
    assert convert(route(copying(), strength=1), source, {}, cache).hops[0].cached
    assert not convert(route(copying(companions=("scipy",))), source, {}, cache).hops[0].cached
    Path(source.path).write_bytes(b"\x08\x07 another model")
    assert not convert(route(copying()), Model.from_path(source.path), {}, cache).hops[0].cached


@pytest.mark.parametrize(
    ("does", "status", "message"),
    [
        ("aborts", "crash", "SIGABRT"),
        ("exits", "crash", "exit code 7 (giving up)"),
        ("raises", "error", "NotImplementedError: cannot convert: Swish of opset 99"),
        ("writes_nothing", "error", "ended without an error but wrote nothing"),
        ("writes_an_empty_file", "error", "what it wrote is no pt2: model.pt2 is empty"),
        ("writes_garbage", "error", "what it wrote is no pt2: model.pt2 is named like pt2"),
    ],
)
def test_what_a_tool_does_wrong_is_a_result_that_is_kept(
    does: str, status: str, message: str, source: Model, cache: Cache
) -> None:
    conversion = convert(route(converter(does), converter("copies", "torch", "onnx")), source, {}, cache)
    (hop,) = conversion.hops
    assert conversion.target is None
    assert (hop.status, conversion.status) == (status, status)
    assert message in hop.message
    assert "\n" not in hop.message
    assert hop.path is None
    assert f"{does} {hop.tool_version} (onnx to torch): " in conversion.message
    (again,) = convert(route(converter(does)), source, {}, cache).hops
    assert again.cached
    assert (again.status, again.message, again.log) == (hop.status, hop.message, hop.log)


def test_the_log_of_a_crash_is_kept(source: Model, cache: Cache) -> None:
    (hop,) = convert(route(converter("aborts")), source, {}, cache).hops
    assert "about to fall" in hop.log


@pytest.mark.parametrize(
    ("does", "limits", "status"),
    [
        ("sleeps", Limits(seconds=2), "timeout"),
        ("grows", Limits(megabytes=300), "memory"),
        ("runs_out_of_memory", Limits(), "memory"),
    ],
)
def test_what_time_or_memory_decided_is_not_kept(
    does: str, limits: Limits, status: str, source: Model, cache: Cache
) -> None:
    for _ in range(2):
        (hop,) = convert(route(converter(does)), source, {}, cache, limits=limits).hops
        assert (hop.status, hop.cached) == (status, False)
    assert not list((cache.root / "conversions").iterdir())


def test_an_earlier_hop_is_kept_when_a_later_one_fails(source: Model, cache: Cache) -> None:
    conversion = convert(route(copying(), converter("raises")), source, {}, cache)
    assert [hop.status for hop in conversion.hops] == ["ok", "error"]
    assert Path(str(conversion.hops[0].path)).is_file()
    assert len(conversion.models) == 2


def test_our_own_errors_and_a_full_disk_are_raised_and_nothing_is_kept(source: Model, cache: Cache) -> None:
    with pytest.raises(TrustError, match="Lambda"):
        convert(route(converter("distrusts")), source, {}, cache)
    with pytest.raises(StorageError, match="no space left"):
        convert(route(converter("fills_the_disk")), source, {}, cache)
    assert not list((cache.root / "conversions").iterdir())


def test_a_missing_package_says_how_to_install_it(source: Model, cache: Cache) -> None:
    with pytest.raises(MissingPackageError, match=r'pip install "convfault\[onnx\]"'):
        convert(route(copying(package="nowhere-to-be-found", extra="onnx")), source, {}, cache)


def test_a_source_that_the_first_tool_cannot_read_is_refused(source: Model, cache: Cache) -> None:
    with pytest.raises(RouteError, match=r"starts from torch, but .* is onnx"):
        convert(route(converter("copies", "torch", "onnx")), source, {}, cache)
    with pytest.raises(RouteError, match=r"copies reads keras_h5, but .* is onnx"):
        convert(route(copying(formats=("keras_h5",))), source, {}, cache)


def test_unknown_options_are_refused_before_anything_runs(source: Model, cache: Cache) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'strength'"):
        convert(route(copying(), strenght=2), source, {}, cache)
    with pytest.raises(UsageError, match="no hop of the route"):
        convert(route(copying()), source, {"tf2onnx": {"opset": 17}}, cache)
    assert calls(source) == 0


def test_a_tool_that_measures_gets_pictures_and_their_content_counts(source: Model, cache: Cache) -> None:
    measuring = route(converter("measures", "onnx", "onnx", calibration_option="strength"))
    with pytest.raises(UsageError, match=r"measures.strength needs pictures"):
        convert(measuring, source, {}, cache)
    calibration = {"batches": {}, "preprocessing": {}, "key": "a"}
    target = convert(measuring, source, {}, cache, calibration=calibration).target
    assert target is not None
    assert b'"layout": "NHWC"' in Path(target.path).read_bytes()
    assert convert(measuring, source, {}, cache, calibration=calibration).hops[0].cached
    assert not convert(measuring, source, {}, cache, calibration={**calibration, "key": "b"}).hops[0].cached


def test_data_do_not_count_for_a_tool_that_measures_nothing(source: Model, cache: Cache) -> None:
    convert(route(copying()), source, {}, cache)
    calibration = {"batches": {}, "preprocessing": {}, "key": "a"}
    assert convert(route(copying()), source, {}, cache, calibration=calibration).hops[0].cached


def test_every_hop_is_announced(source: Model, cache: Cache) -> None:
    events: list[dict[str, Any]] = []
    convert(route(copying(), converter("raises")), source, {}, cache, on_event=events.append)
    assert [(event["event"], event["index"], event["tool"]) for event in events] == [
        ("hop", 0, "copies"),
        ("hop_done", 0, "copies"),
        ("hop", 1, "raises"),
        ("hop_done", 1, "raises"),
    ]
    assert [event["status"] for event in events if event["event"] == "hop_done"] == ["ok", "error"]


def test_two_that_want_the_same_hop_at_once_make_it_once(source: Model, cache: Cache) -> None:
    found: list[Conversion] = []
    threads = [
        threading.Thread(target=lambda: found.append(convert(route(copying()), source, {}, cache))) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(conversion.hops[0].cached for conversion in found) == [False, True]
    assert calls(source) == 1


def test_a_result_reads_back_as_it_was_written() -> None:
    hop = HopResult("a", "b", "t", "1", {"t": "1"}, {"x": [1]}, "ok", "m", "l", 1.5, 20, {"notes": ["n"]}, True, "/p")
    assert HopResult.from_record(json.loads(json.dumps(hop.to_record()))) == hop


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ValueError: no", "ValueError: no"),
        ("\x1b[31mKeyError: 'axes'\x1b[0m\n at 3", "KeyError: 'axes'"),
        ("X: failed:\n\n because of Y", "X: failed: because of Y"),
        ("E: Failed.\nadvice\n## Exception summary\n\n<class 'K'>: why\nmore", "<class 'K'>: why"),
        (
            "ConverterError: <unknown>:0: note: see\n<unknown>:0: error: failed op: CustomOp\n",
            "ConverterError: failed op: CustomOp",
        ),
        ("", "no message"),
    ],
)
def test_the_line_that_a_person_needs_is_chosen(text: str, expected: str) -> None:
    assert short_message(text) == expected


def test_of_a_message_by_keras_the_reason_is_kept() -> None:
    text = 'ValueError: Exception encountered when calling layer "mul_2" (type X).\n\nDimensions must be equal.\n\nMore'
    assert short_message(text) == 'ValueError: Dimensions must be equal. (in layer "mul_2" (type X))'


def test_a_long_message_is_cut() -> None:
    assert len(short_message("x" * 5000)) == 400


def test_a_kill_from_outside_is_not_kept(source: Model, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    killer: list[int] = []

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "hop":
            threading.Timer(1.5, lambda: [os.kill(pid, 9) for pid in _children()]).start()
            killer.append(1)

    (hop,) = convert(route(converter("sleeps")), source, {}, cache, on_event=note).hops
    assert killer
    assert hop.status == "crash"
    assert "SIGKILL" in hop.message
    assert not list((cache.root / "conversions").iterdir())


def _children() -> list[int]:
    children = []
    for task in Path("/proc/self/task").iterdir():
        children += [int(pid) for pid in (task / "children").read_text().split()]
    return children
