"""convfault starts quickly and where nothing else is installed."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import convfault

FRAMEWORKS = ["torch", "torchvision", "tensorflow", "keras", "onnx", "onnxruntime", "tf2onnx", "onnx2torch", "tvm",
              "ai_edge_litert", "tflite", "onnxscript", "h5py"]  # fmt: skip

MODULES = [
    module.name
    for module in pkgutil.walk_packages(convfault.__path__, "convfault.")
    if module.name != "convfault.__main__"
]


@pytest.mark.parametrize("part", range(4))
def test_every_module_imports_where_no_framework_is_installed(part: int) -> None:
    script = (
        "import importlib, sys\n"
        f"for name in {FRAMEWORKS}: sys.modules[name] = None\n"
        "for name in sys.argv[1:]: importlib.import_module(name)"
    )
    found = subprocess.run([sys.executable, "-c", script, *MODULES[part::4]], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_the_public_names_stay() -> None:
    assert set(convfault.__all__) == {
        "Comparison", "Context", "ConvfaultError", "Model", "Order", "Preprocessing", "Report", "Request",
        "__version__", "apply", "diff", "judge", "localize", "repair",
    }  # fmt: skip
    assert all(getattr(convfault, name) is not None for name in convfault.__all__)


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        convfault.nonsense  # noqa: B018
