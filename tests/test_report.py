"""What a report promises to programs that read it."""

from __future__ import annotations

import json
import string
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convfault import report as reports
from convfault.comparison import AGREE, CRASH, DIFFER, Comparison, OutputComparison, Tolerance, WorstPicture
from convfault.errors import InputError
from convfault.fault import KINDS, Fault
from convfault.report import Report
from tests import samples

SAMPLES = [samples.agreeing, samples.differing, samples.crashing, samples.broken, samples.hostile, samples.repaired]

texts = st.text(max_size=12)
names = st.text(string.ascii_letters, min_size=1, max_size=8)
rates = st.none() | st.floats(0, 1)
errors = st.none() | st.floats(0, 1e30)
counts = st.integers(0, 10**9)
shapes = st.lists(st.integers(0, 4096), max_size=4).map(tuple)
tops = st.lists(st.tuples(st.integers(0, 1000), st.none() | st.floats(-1e6, 1e6)), max_size=5).map(tuple)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
hashes = st.none() | st.text("0123456789abcdef", min_size=8, max_size=64)
tolerances = st.builds(Tolerance, st.floats(0, 1e30), st.sampled_from(["derived", "given"]), errors, errors, counts)
outputs = st.builds(
    OutputComparison,
    *(texts, texts, shapes, shapes, st.booleans()),
    *(errors, errors, rates, errors, counts, counts, counts),
    tolerances,
)
worst = st.builds(WorstPicture, texts, counts, errors, tops, tops, st.none() | st.integers(0, 1000))
histograms = st.just({}) | st.lists(st.floats(1e-9, 1e9), min_size=2, max_size=5).map(
    lambda edges: {
        "edges": tuple(sorted(edges)),
        "counts": (1.0,) * (len(edges) - 1),
        "zero": (2.0,),
        "unmatched": (0.0,),
    }
)
comparisons = st.builds(
    Comparison,
    verdict=st.sampled_from([AGREE, DIFFER, CRASH]),
    images=counts,
    top1_disagreement=rates,
    top5_disagreement=rates,
    kendall_tau=st.none() | st.floats(-1, 1),
    max_abs_error=errors,
    mean_abs_error=errors,
    cosine=st.none() | st.floats(-1, 1),
    nonfinite=counts,
    accuracy=st.fixed_dictionaries({"source": rates, "target": rates}),
    worst=st.lists(worst, max_size=2).map(tuple),
    outputs=st.lists(outputs, max_size=2).map(tuple),
    histogram=histograms,
    reasons=st.lists(texts, max_size=2).map(tuple),
)
sides = st.fixed_dictionaries(
    {
        "framework": names,
        "path": st.none() | texts,
        "sha256": hashes,
        "versions": st.dictionaries(names, texts, max_size=2),
    },
    optional={"name": texts, "size_bytes": counts, "preprocessing": st.none() | objects},
)
hops = st.fixed_dictionaries(
    {
        "from": names,
        "to": names,
        "tool": names,
        "tool_version": st.none() | texts,
        "options": objects,
        "seconds": errors,
        "status": st.sampled_from(["ok", "crash"]),
        "log": st.none() | texts,
    },
    optional={
        "cached": st.booleans(),
        "message": st.none() | texts,
        "ended": st.sampled_from(["ok", "error", "crash", "timeout", "memory"]),
    },
)
faults = st.builds(
    Fault,
    id=names,
    kind=st.sampled_from(KINDS),
    rank=st.integers(1, 100),
    cause=texts,
    explanation=texts,
    suggestion=texts,
    source_location=st.none() | texts,
    target_location=st.none() | texts,
    attribute=st.none() | texts,
    expected=values,
    actual=values,
    evidence=objects,
    effect=st.dictionaries(names, rates, max_size=2),
    confidence=st.floats(0, 1),
)
LATER = {"stage", "harmless"}
"""Keys that the first reports of this schema version did not have."""
any_report = st.builds(
    Report,
    command=names,
    convfault_version=texts,
    started=texts,
    source=sides,
    target=sides,
    comparison=comparisons,
    seconds=st.dictionaries(names, st.floats(0, 1e6), max_size=3),
    route=st.lists(hops, max_size=2).map(tuple),
    dataset=st.fixed_dictionaries(
        {"name": texts, "images": counts, "seed": st.none() | counts, "sha256": hashes},
        optional={"class_names": st.lists(texts, max_size=2)},
    ),
    attribution=st.none() | st.fixed_dictionaries({"blame": st.sampled_from(["conversion", "runtime", "import"])}),
    faults=st.lists(faults, max_size=2).map(tuple),
    repairs=st.just(()) | st.just((samples.repaired().repairs[0],)),
    repaired=st.just(None) | st.just(samples.repaired().repaired),
    assumptions=st.lists(texts, max_size=2).map(tuple),
    command_line=texts,
    environment=st.dictionaries(names, texts, max_size=2),
)


@given(any_report)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_report_fits_the_schema_and_reads_back_as_it_was(report: Report) -> None:
    record = json.loads(json.dumps(report.to_record(), allow_nan=False))
    assert reports.invalid(record) is None
    assert Report.from_record(record) == report


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(reports.schema())


@pytest.mark.parametrize("make", SAMPLES)
def test_a_written_report_reads_back(make: Any, tmp_path: Path) -> None:
    report = make()
    report.write(tmp_path / "report.json")
    assert Report.read(tmp_path / "report.json").to_record() == report.to_record()


@pytest.mark.parametrize(
    ("definition", "noun"),
    [
        ("comparison", Comparison),
        ("output", OutputComparison),
        ("worst", WorstPicture),
        ("tolerance", Tolerance),
        ("fault", Fault),
    ],
)
def test_the_schema_knows_every_key_of(definition: str, noun: Any) -> None:
    described = reports.schema()["$defs"][definition]
    assert set(described["properties"]) == {field.name for field in fields(noun)}
    assert set(described["properties"]) - set(described["required"]) <= LATER


def test_every_key_of_a_report_is_described() -> None:
    assert set(samples.repaired().to_record()) == set(reports.schema()["properties"])


def test_keys_of_a_later_convfault_are_left_out() -> None:
    record = samples.repaired().to_record()
    record |= {"novelty": 1, "thumbnails": "no bytes"}
    record["faults"][0]["novelty"] = 1
    assert reports.invalid(record) is None
    assert Report.from_record(record) == Report.from_record(samples.repaired().to_record())


def _without(key: str) -> Any:
    return lambda record: record.pop(key)


def _with(**values: Any) -> Any:
    return lambda record: record.update(values)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without("route"), "'route' is a required property at $"),
        (_with(seconds=[]), "$.seconds"),
        (_with(source={}), "$.source"),
        (_with(schema_version=2), "schema version 1 (it says 2)"),
        (_without("schema_version"), "schema version 1 (it says None)"),
        (lambda record: record["comparison"].update(verdict="maybe"), "$.comparison.verdict"),
        (lambda record: record["comparison"].update(top1_disagreement=13.4), "$.comparison.top1_disagreement"),
        (lambda record: record["comparison"].update(histogram={"edges": [1]}), "$.comparison.histogram"),
        (lambda record: record["comparison"]["outputs"][0]["tolerance"].update(value=-1), "tolerance.value"),
        (lambda record: record["comparison"]["worst"][0].update(source_top=[[1]]), "source_top"),
    ],
)
def test_a_damaged_report_is_refused_in_a_sentence(damage: Any, said: str, tmp_path: Path) -> None:
    record = samples.differing().to_record()
    damage(record)
    _refused(tmp_path, json.dumps(record), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not a JSON report"),
        ("{", "not a JSON report"),
        ("[" * 100_000, "not a JSON report"),
        ("[]", "it says None"),
        ('{"schema_version": NaN}', "NaN is no JSON number"),
        (b"\xff\xfe\x00", "not a JSON report"),
        (json.dumps({"schema_version": "x" * 5000 + "\n"}), "it says xxx"),
    ],
)
def test_what_is_no_report_is_refused_in_a_sentence(content: str | bytes, said: str, tmp_path: Path) -> None:
    _refused(tmp_path, content, said)


def _refused(folder: Path, content: str | bytes, said: str) -> None:
    path = folder / "report.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        Report.read(path)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))


def test_a_missing_report_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the report .*: No such file"):
        Report.read(tmp_path / "absent.json")


def test_values_that_json_lacks_stay_visible_in_a_fault() -> None:
    numpy = pytest.importorskip("numpy")
    fault = replace(
        samples.fault(),
        expected=numpy.array([1.5, float("inf")]),
        actual=(float("nan"), numpy.float32(2)),
        evidence={"shape": (1, 2), 3: -float("inf"), "place": Path("model.onnx")},
        effect={"max_abs_error_after": float("nan")},
    )
    record = json.loads(json.dumps(fault.to_record(), allow_nan=False))
    assert record["expected"] == [1.5, "Infinity"]
    assert record["actual"] == ["NaN", 2.0]
    assert record["evidence"] == {"shape": [1, 2], "3": "-Infinity", "place": "model.onnx"}
    assert record["effect"] == {"max_abs_error_after": None}


@pytest.mark.parametrize(
    ("make", "code"),
    [(samples.agreeing, 0), (samples.differing, 1), (samples.crashing, 1), (samples.repaired, 0)],
)
def test_the_exit_code_follows_the_verdict(make: Any, code: int) -> None:
    assert make().exit_code == code


def test_another_tolerance_changes_the_verdict_and_nothing_else() -> None:
    report = samples.differing()
    judged = report.judged(1.0)
    assert (report.exit_code, judged.exit_code) == (1, 0)
    assert judged.comparison.max_abs_error == report.comparison.max_abs_error
    assert judged.judged(0.1).exit_code == 1
