"""The reproducer: its script fails, or errs, as the conversion did, with the converter alone."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.converters import CONVERTERS
from convfault.errors import UsageError
from convfault.localization.suspect import Suspect
from convfault.localization.tool import crash, reproducer, snippets
from convfault.localization.tool.crash import Failure
from convfault.localization.tool.exhibit import Exhibit, Values
from convfault.localization.tool.shrink import Shrunk
from convfault.model import Model
from tests import tiny
from tests.localization.test_crash import chain, record

SOURCES = {
    "onnx": (tiny.onnx_model, ".onnx"),
    "pt2": (tiny.torch_model, ".pt2"),
    "keras": (tiny.keras_model, ".keras"),
    "saved_model": (tiny.saved_model, ""),
    "frozen_graph": (tiny.frozen_graph, ".pb"),
    "tflite": (tiny.tflite_model, ".tflite"),
}
HERE = [
    (item.tool, format_, item.target)
    for item in CONVERTERS.values()
    for format_ in item.formats
    if item.environment is None and (item.tool, format_) in snippets.CONVERT
]
"""What can be run in convfault's own environment: tool, format of the source, framework of the target."""
NCHW = ("onnx", "pt2")


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "reproduce.py"], cwd=folder, capture_output=True, text=True)


def printed(found: subprocess.CompletedProcess[str]) -> float:
    """The largest error that a script printed."""
    assert found.returncode == 0, found.stderr
    return float(found.stdout.split("largest error:")[1].split()[0])


def exhibit(folder: Path, tool: str, format_: str, target: str, **options: Any) -> Exhibit:
    """The tiny network and its answers to two pictures; the conversion itself is left to the script."""
    make, _ = SOURCES[format_]
    model = Model(str(make(folder)), format_)
    pictures = tiny.pictures(2, layout="NCHW" if format_ in NCHW else "NHWC")
    pictures = pictures[:1] if format_ == "tflite" else pictures
    network = tiny.keras_network()
    wanted = np.asarray(network(pictures.transpose(0, 2, 3, 1) if format_ in NCHW else pictures, training=False))
    converter = next(c for c in CONVERTERS.values() if (c.tool, c.target) == (tool, target) and format_ in c.formats)
    made = Model(str(folder / "nothing.bin"), converter.target_format)
    Path(made.path).write_bytes(b"as it was written")
    values = Values((pictures,), wanted, made, ((0, (0, 1, 2, 3)),), 0.0, 1e-6, axes=(0, 1))
    hop = {"from": converter.source, "to": target, "tool": tool, "tool_version": "1.0", "options": options}
    return Exhibit(model, hop, Suspect("tool", "hop", "They differ.", "Try another one."), values)


def test_the_script_of_a_crash_fails_in_the_same_way_without_convfault(tmp_path: Path) -> None:
    suspect = crash.explain(Failure(record()))
    shown = Exhibit(chain(tmp_path, "ReduceMean-18"), record(versions={"torch": "2.13.0"}), suspect)
    folder = tmp_path / "reproducer"
    files = reproducer.write(folder, replace(shown, shrunk=Shrunk(shown.model, (("ReduceMean", "pool"),), 13, 1)))
    assert {path.name for path in files} == {"model.onnx", "reproduce.py", "issue.md"}
    script = (folder / "reproduce.py").read_text()
    assert "convfault" not in script
    found = run(folder)
    assert found.returncode != 0
    assert "operation_type='ReduceMean', version=18" in found.stderr
    issue = (folder / "issue.md").read_text()
    assert "onnx2torch 1.5.15: ReduceMean-18" in issue
    assert "torch 2.13.0" in issue
    assert "smallest: 1 of 13 nodes, ReduceMean" in issue
    assert "Put `reproduce.py` and what is attached into one folder: `model.onnx`." in issue


def test_the_log_in_an_issue_is_the_tool_s_own(tmp_path: Path) -> None:
    log = """Traceback (most recent call last):
  File "/home/me/lib/convfault/converters/base.py", line 154, in run
    facts = function(source)
            ^^^^^^^^
  File "/home/me/lib/site-packages/onnx2torch/converter.py", line 104, in convert
    converter = get_converter(
NotImplementedError: no converter
"""
    shown = Exhibit(chain(tmp_path, "sound"), record(log=log), crash.explain(Failure(record())))
    reproducer.write(tmp_path / "reproducer", shown)
    issue = (tmp_path / "reproducer" / "issue.md").read_text()
    assert 'File "onnx2torch/converter.py", line 104, in convert\n    converter = get_converter(\nNotImpl' in issue
    assert "/home/me" not in issue


@pytest.mark.e2e
@pytest.mark.parametrize(("tool", "format_", "target"), HERE)
def test_every_script_that_can_be_run_here_converts_and_shows_no_error_of_a_sound_model(
    tmp_path: Path, tool: str, format_: str, target: str
) -> None:
    folder = tmp_path / "reproducer"
    reproducer.write(folder, exhibit(tmp_path, tool, format_, target))
    assert "convfault" not in (folder / "reproduce.py").read_text()
    assert printed(run(folder)) < 1e-5


@pytest.mark.e2e
@pytest.mark.parametrize(
    "options",
    [
        {"optimizations": ["DEFAULT"]},
        {"optimizations": ["DEFAULT"], "supported_types": ["float16"]},
        {"optimizations": ["DEFAULT"], "supported_ops": ["TFLITE_BUILTINS_INT8"], "representative_dataset": 8}
        | {"inference_input_type": "int8", "inference_output_type": "int8"},
    ],
)
def test_a_script_gives_the_tool_the_options_that_the_conversion_had(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = tmp_path / "reproducer"
    reproducer.write(folder, exhibit(tmp_path, "tflite_converter", "keras", "tflite", **options))
    assert 1e-5 < printed(run(folder)) < 0.5


@pytest.mark.parametrize("key", [(*key, to) for key in snippets.CONVERT for to in reproducer.WRITES])
def test_every_script_is_python_and_its_tool_known(key: tuple[str, str, str]) -> None:
    tool, format_, target = key
    known = [c for c in CONVERTERS.values() if (c.tool, c.target) == (tool, target) and format_ in c.formats]
    if not known:
        assert any(c.tool == tool and format_ in c.formats for c in CONVERTERS.values())
        return
    lines = snippets.conversion(tool, format_, target)
    assert lines is not None
    compile("OPTIONS = {}\n" + lines.format(source="a", target="b"), "reproduce.py", "exec")


@pytest.mark.parametrize("tool", sorted({tool for tool, _ in snippets.CONVERT} - set(snippets.IN_MEMORY)))
def test_every_script_writes_its_target(tool: str) -> None:
    for converter in CONVERTERS.values():
        for format_ in converter.formats:
            lines = snippets.conversion(tool, format_, converter.target) if converter.tool == tool else None
            assert lines is None or "{target}" in lines


def test_every_format_has_lines_that_run_it() -> None:
    formats = {c.target_format for c in CONVERTERS.values()} | {format_ for _, format_ in snippets.CONVERT}
    assert formats <= set(snippets.RUN)
    for lines in snippets.RUN.values():
        compile(lines, "reproduce.py", "exec")


def test_a_turned_input_and_output_are_turned_in_the_script(tmp_path: Path) -> None:
    shown = exhibit(tmp_path, "onnx2tf", "onnx", "tf")
    assert shown.values is not None
    values = replace(shown.values, feed=((0, (0, 2, 3, 1)),), axes=(0, 3, 1, 2), output=1, limit=4.7e-05)
    reproducer.write(tmp_path / "reproducer", replace(shown, values=values))
    script = (tmp_path / "reproducer" / "reproduce.py").read_text()
    assert "[arrays[0].transpose(0, 2, 3, 1)])[1].transpose(0, 3, 1, 2)" in script
    compile(script, "reproduce.py", "exec")


def test_the_smaller_exhibit_is_written_where_there_is_one(tmp_path: Path) -> None:
    whole = exhibit(tmp_path, "tflite_converter", "keras", "tflite")
    small = replace(whole, shrunk=Shrunk(whole.model, (("Conv2D", "stem"),), 9, 1), whole=whole.model)
    reproducer.write(tmp_path / "small", replace(whole, smaller=lambda folder: small))
    reproducer.write(tmp_path / "whole", replace(whole, smaller=lambda folder: None))
    issue = (tmp_path / "small" / "issue.md").read_text()
    assert re.search(r"\(smallest: 1 of 9 nodes, Conv2D; [\d.]+ kB of [\d.]+ kB\): `stem`\.", issue)
    assert "tflite_converter 1.0: Conv2D: wrong values" in issue
    assert "The attached model is the whole one" in (tmp_path / "whole" / "issue.md").read_text()


def test_what_a_script_needs_beside_it_is_there_and_knows_nothing_of_convfault(tmp_path: Path) -> None:
    files = reproducer.write(tmp_path / "reproducer", exhibit(tmp_path, "nobuco", "pt2", "keras"))
    beside = next(path for path in files if path.name == "torch_replay.py")
    assert "convfault" not in beside.read_text()


def test_a_tool_without_a_script_is_refused_in_a_sentence(tmp_path: Path) -> None:
    shown = Exhibit(Model("m.onnx", "onnx"), record(tool="unheard-of"), crash.explain(Failure(record())))
    with pytest.raises(UsageError, match="no script is known"):
        reproducer.write(tmp_path, shown)
