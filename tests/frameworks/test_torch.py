from __future__ import annotations

import io
import json
import logging
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.errors import FormatError, InputError, TrustError, UnknownNameError
from convfault.frameworks.base import Perturbation
from convfault.frameworks.torch import TORCH
from convfault.model import Model, Signature, TensorSpec
from tests import tiny


class Mark:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """A copy of an archive with changed entries."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def edited(source: Path, target: Path, edit: Callable[[dict[str, Any]], None]) -> Model:
    """A copy of an exported program whose JSON is changed by ``edit``."""

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        program = json.loads(content)
        edit(program)
        return json.dumps(program).encode()

    return Model.from_path(str(rewritten(source, target, change)))


def exported(module: Any, path: Path, *shape: int) -> Model:
    import torch

    torch.export.save(torch.export.export(module.eval(), (torch.zeros(*shape),)), path)
    return Model.from_path(str(path))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the current one, with a module of its own name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("network", "broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "network.py").write_text(
        "from torch import nn\n"
        "from tests import tiny\n"
        "def make():\n    return tiny.torch_module().train()\n"
        "def number():\n    return 3\n"
        "def needs(argument):\n    return argument\n"
        "def silent():\n    return nn.ReLU()\n"
    )
    return tmp_path


def test_every_module_gives_what_a_hook_sees(tiny_torch: Path) -> None:
    import torch

    module, seen = tiny.torch_module(), {}
    for name, leaf in module.named_modules():
        leaf.register_forward_hook(lambda _m, _i, value, name=name: seen.update({name: value.clone()}))
    pictures = tiny.pictures(3, layout="NCHW")
    with torch.inference_mode():
        module(torch.from_numpy(pictures))
    with TORCH.open(Model.from_path(str(tiny_torch))) as session:
        names = [spec.name for spec in session.tensors()]
        assert names[:3] == ["features.0.0", "features.0.1", "features.0.2"]
        assert names[-3:] == ["mean", "classifier", "softmax"]
        trace = session.run({"x": pictures}, names)
    for name in set(names) & set(seen):
        np.testing.assert_allclose(trace.tensors[name], seen[name], rtol=1e-4, atol=1e-5)


def test_sums_in_a_block_keep_their_node_names_and_repeated_modules_are_counted(tmp_path: Path) -> None:
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.relu = nn.Linear(4, 4), nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.relu(x + self.relu(self.dense(x)))

    model = exported(nn.Sequential(Block(), Block()), tmp_path / "blocks.pt2", 2, 4)
    with TORCH.open(model) as session:
        names = [spec.name for spec in session.tensors()]
        assert names == ["0.dense", "0.relu", "add", "0.relu@1", "1.dense", "1.relu", "add_1", "1.relu@1"]
        assert session.signature.outputs[0].name == "1.relu@1"
        name = session.signature.inputs[0].name
        values = session.run({name: np.ones((3, 4), np.float32)}, names).tensors
    np.testing.assert_array_equal(np.maximum(values["add"], 0), values["0.relu@1"])


def test_in_place_operators_do_not_change_what_was_captured(tmp_path: Path) -> None:
    import torch
    from torch import nn

    linear = nn.Linear(4, 4)
    torch.nn.init.constant_(linear.bias, -1)  # else one draw in some hundred gives the in-place operator nothing to do
    model = exported(nn.Sequential(linear, nn.ReLU(inplace=True)), tmp_path / "inplace.pt2", 2, 4)
    with TORCH.open(model) as session:
        name = session.signature.inputs[0].name
        values = session.run({name: np.eye(4, dtype=np.float32)}, ["0", "1"]).tensors
    assert values["0"].min() < 0
    np.testing.assert_array_equal(np.maximum(values["0"], 0), values["1"])


def test_batches_outside_of_what_was_exported_run(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "bounded.pt2"
    shapes = {"x": {0: torch.export.Dim("batch", min=2, max=5)}}
    program = torch.export.export(tiny.torch_module(), (torch.zeros(3, 3, 16, 16),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    pictures = tiny.pictures(12, layout="NCHW")
    with torch.inference_mode():
        expected = tiny.torch_module()(torch.from_numpy(pictures))
    with TORCH.open(Model.from_path(str(path))) as session:
        for count in (1, 2, 5, 6, 12):
            trace = session.run({"x": pictures[:count]}, ["mean"])
            np.testing.assert_allclose(trace.output(), expected[:count], atol=1e-5)
            assert len(trace.tensors["mean"]) == count


def test_function_with_weights_answers_like_the_module(project: Path) -> None:
    import torch

    state = {name: torch.from_numpy(value) for name, value in tiny.torch_state().items()}
    state["classifier.bias"] = state["classifier.bias"] + torch.arange(10)
    torch.save(state, project / "weights.pt")
    model = Model.from_path("network:make", str(project / "weights.pt"))
    signature = TORCH.signature(model)
    assert signature.inputs == (TensorSpec("x", (None, 3, None, None), "float32"),)
    assert signature.outputs == (TensorSpec("output", (None, 10), "float32"),)
    module = tiny.torch_module()
    module.load_state_dict(state)
    pictures = tiny.pictures(3, layout="NCHW")
    with TORCH.open(model) as session, torch.inference_mode():
        output = session.run({"x": pictures}).output()
        np.testing.assert_allclose(output, module(torch.from_numpy(pictures)), atol=1e-6)


def test_function_captures_leaves_and_takes_a_given_signature(project: Path) -> None:
    given = Signature(
        (TensorSpec("image", (None, 3, 16, 16), "float32"),), (TensorSpec("odds", (None, 10), "float32"),)
    )
    with TORCH.open(Model.from_path("network:make").with_signature(given)) as session:
        assert session.signature == given
        assert session.tensors()[0] == TensorSpec("features.0.0", (None, 16, 16, 16), "float32")
        names = [spec.name for spec in session.tensors()]
        trace = session.run({"image": tiny.pictures(2, layout="NCHW")}, names)
    assert trace.outputs == ("odds",)
    assert trace.tensors["features.2.1"].shape == (2, 64, 7, 7)


def test_function_is_perturbed_too(project: Path) -> None:
    feeds = {"x": tiny.pictures(3, layout="NCHW")}
    answers = []
    for change in (None, Perturbation()):
        with TORCH.open(Model.from_path("network:make"), change) as session:
            answers.append(session.run(feeds).output())
    assert 1e-7 < np.abs(answers[0] - answers[1]).max() < 1e-3


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("absent:make", InputError, "no module named 'absent'"),
        ("network:mak", UnknownNameError, "did you mean 'make'"),
        ("network:number", FormatError, "gives a int, not an nn.Module"),
        ("network:needs", InputError, "cannot be called without arguments"),
        ("network:silent", FormatError, "without convolutions"),
    ],
)
def test_function_that_gives_no_module_is_one_sentence(project: Path, path: str, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        TORCH.signature(Model.from_path(path))


def test_weights_that_do_not_fit_are_one_sentence(project: Path) -> None:
    import torch

    state = {name: torch.from_numpy(value) for name, value in tiny.torch_state().items()}
    state["surplus"] = state.pop("classifier.bias")
    state["classifier.weight"] = torch.zeros(9, 64)
    torch.save(state, project / "weights.pt")
    words = "they lack classifier.bias, have surplus too many, have another shape for classifier.weight"
    with pytest.raises(FormatError, match=words):
        TORCH.signature(Model.from_path("network:make", str(project / "weights.pt")))


def test_weights_that_are_a_pickle_of_code_need_trust(project: Path) -> None:
    mark = project / "mark"
    import torch

    torch.save({"classifier.bias": Mark(mark)}, project / "weights.pt")
    with pytest.raises(TrustError, match="--trust"):
        TORCH.signature(Model.from_path("network:make", str(project / "weights.pt")))
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 nonsense"])
def test_weights_that_are_none_are_one_sentence(project: Path, content: bytes) -> None:
    (project / "weights.pt").write_bytes(content)
    with pytest.raises(FormatError, match="cannot be read as torch weights"):
        TORCH.signature(Model.from_path("network:make", str(project / "weights.pt")))


def test_pickle_in_an_archive_needs_trust(tmp_path: Path, tiny_torch: Path, caplog: pytest.LogCaptureFixture) -> None:
    import torch

    caplog.set_level(logging.ERROR, logger="torch._export.serde.serialize")  # whose warning is itself malformed

    mark, held = tmp_path / "mark", io.BytesIO()
    torch.save(((Mark(mark),), {}), held)
    place = rewritten(
        tiny_torch,
        tmp_path / "pickle.pt2",
        lambda name, content: held.getvalue() if "sample_inputs" in name else content,
    )
    with pytest.raises(TrustError, match="pickle that is more than tensors"):
        TORCH.signature(Model.from_path(str(place)))
    assert not mark.exists()
    TORCH.signature(Model.from_path(str(place), trusted=True))
    assert mark.exists()


def test_pickled_weights_that_are_tensors_need_no_trust(tmp_path: Path, tiny_torch: Path) -> None:
    import torch

    held = io.BytesIO()
    torch.save(torch.nn.Parameter(torch.from_numpy(tiny.torch_state()["classifier.bias"])), held)
    with zipfile.ZipFile(tiny_torch) as archive:
        listing = next(name for name in archive.namelist() if name.endswith("model_weights_config.json"))
        place = json.loads(archive.read(listing))["config"]["classifier.bias"]["path_name"]

    def change(name: str, content: bytes) -> bytes:
        if name == listing:
            config = json.loads(content)
            config["config"]["classifier.bias"]["use_pickle"] = True
            return json.dumps(config).encode()
        return held.getvalue() if name.endswith(f"/{place}") else content

    model = Model.from_path(str(rewritten(tiny_torch, tmp_path / "pickled.pt2", change)))
    assert TORCH.signature(model).outputs[0].name == "softmax"


def test_object_among_the_constants_needs_trust(tmp_path: Path, tiny_torch: Path) -> None:
    mark = tmp_path / "mark"

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("model_constants_config.json"):
            return content
        entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        return json.dumps({"config": {"object": entry}}).encode()

    path = rewritten(tiny_torch, tmp_path / "object.pt2", change)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(
            f"{archive.namelist()[0].partition('/')[0]}/data/constants/opaque_obj_0", pickle.dumps(Mark(mark))
        )
    with pytest.raises(TrustError):
        TORCH.signature(Model.from_path(str(path)))
    assert not mark.exists()


def _call_anything(program: dict[str, Any]) -> None:
    program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"


def _load_a_library(program: dict[str, Any]) -> None:
    program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.load_library"


def _read_a_file(program: dict[str, Any]) -> None:
    program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"


def _guard_with_code(program: dict[str, Any]) -> None:
    program["guards_code"] = ["__import__('os').system('true') == 0"]


def _size_with_code(program: dict[str, Any]) -> None:
    value = program["graph_module"]["graph"]["tensor_values"]["conv2d"]
    value["sizes"][0]["as_expr"]["expr_str"] = "Max(\"__import__('os').system('true')\", 1)"


def _argument_with_code(program: dict[str, Any]) -> None:
    program["graph_module"]["graph"]["nodes"][0]["inputs"][0]["name"] = "input=print(1), other"


def _parameter_with_code(program: dict[str, Any]) -> None:
    inputs = program["graph_module"]["signature"]["input_specs"]
    parameter = next(item["parameter"] for item in inputs if "parameter" in item)
    parameter["parameter_name"] = 'stem" if print(1) else "stem'


@pytest.mark.parametrize(
    "edit",
    [
        _call_anything,
        _load_a_library,
        _read_a_file,
        _guard_with_code,
        _size_with_code,
        _argument_with_code,
        _parameter_with_code,
    ],
)
def test_program_that_would_execute_its_text_needs_trust(
    tmp_path: Path, tiny_torch: Path, edit: Callable[[dict[str, Any]], None]
) -> None:
    with pytest.raises(TrustError, match="--trust"):
        TORCH.signature(edited(tiny_torch, tmp_path / "hostile.pt2", edit))


@pytest.mark.parametrize("name", ["block-0", "my block", "a/b:c+d"])
def test_a_module_whose_name_is_no_identifier_needs_no_trust(tmp_path: Path, name: str) -> None:
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleDict({name: torch.nn.Conv2d(3, 2, 1)})

        def forward(self, x: Any) -> Any:
            return self.parts[name](x)

    model = exported(Network(), tmp_path / "named.pt2", 1, 3, 4, 4)
    with TORCH.open(model) as session:
        assert session.run({"x": tiny.pictures(1, layout="NCHW")[:, :, :4, :4]}).output().shape == (1, 2, 4, 4)


def test_program_rewritten_without_a_change_is_sound(tmp_path: Path, tiny_torch: Path) -> None:
    assert TORCH.signature(edited(tiny_torch, tmp_path / "same.pt2", lambda program: None)).inputs[0].name == "x"


def test_guards_of_a_real_export_are_accepted(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "auto.pt2"
    automatic = {"x": {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}}
    program = torch.export.export(tiny.torch_module(), (torch.zeros(2, 3, 16, 16),), dynamic_shapes=automatic)
    torch.export.save(program, path)
    with TORCH.open(Model.from_path(str(path))) as session:
        assert session.signature.inputs[0].shape == (None, 3, None, None)
        assert session.run({"x": tiny.pictures(1, layout="NCHW")}).output().shape == (1, 10)


def test_archive_that_lacks_its_weights_is_one_sentence(tmp_path: Path, tiny_torch: Path) -> None:
    path = tmp_path / "empty.pt2"
    with zipfile.ZipFile(tiny_torch) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if "weight_" not in name:
                new.writestr(name, old.read(name))
    with pytest.raises(FormatError, match=r"empty\.pt2"):
        TORCH.signature(Model.from_path(str(path)))


def test_compiled_library_in_an_archive_needs_trust(tmp_path: Path, tiny_torch: Path) -> None:
    path = rewritten(tiny_torch, tmp_path / "compiled.pt2", lambda name, content: content)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/data/aotinductor/model/library.so", b"\x7fELF")
    with pytest.raises(TrustError):
        TORCH.signature(Model.from_path(str(path)))
