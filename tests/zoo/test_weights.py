"""Where weights come from: a file, an address, the frameworks' publications; and what is said when they cannot."""

from __future__ import annotations

import functools
import hashlib
import http.server
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from convfault.cache import Cache
from convfault.errors import FormatError, InputError, UsageError
from convfault.zoo import build, find

NOWHERE = "http://127.0.0.1:9/weights.pth"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the loopback address that serves it."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_weights_that_are_nowhere_are_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no weights at missing\.pth"):
        build("mobilenetv2", "torch", "missing.pth", Cache(tmp_path))


def test_a_state_dict_is_read_from_an_address(served: tuple[Path, str]) -> None:
    torch = pytest.importorskip("torch")
    from convfault.zoo import build_torch

    folder, address = served
    torch.save({"module.fc.weight": torch.ones(3, 2)}, folder / "toy.pth")
    assert build_torch.read_state(f"{address}/toy.pth")["fc.weight"].tolist() == [[1, 1], [1, 1], [1, 1]]


def test_a_hash_in_the_name_is_checked(served: tuple[Path, str]) -> None:
    torch = pytest.importorskip("torch")
    from convfault.zoo import build_torch

    folder, address = served
    torch.save({"fc.weight": torch.ones(3, 2)}, folder / "toy-01234567.pth")
    with pytest.raises(UsageError, match="hash"):
        build_torch.read_state(f"{address}/toy-01234567.pth")


def test_a_failed_download_is_one_sentence() -> None:
    pytest.importorskip("torch")
    from convfault.zoo import build_torch

    with pytest.raises(UsageError, match=r"cannot load http://127.0.0.1:9/weights.pth .*check the address") as caught:
        build_torch.read_state(NOWHERE)
    assert "\n" not in str(caught.value)


def test_a_pickle_that_would_execute_code_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from convfault.zoo import build_torch

    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harmed",)

    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"fc.weight": Harm()}))
    with pytest.raises(FormatError, match="cannot be read as a state dict"):
        build_torch.read_state(str(tmp_path / "weights.pth"))
    assert not (tmp_path / "harmed").exists()


def test_a_state_dict_of_something_else_is_refused() -> None:
    torch = pytest.importorskip("torch")
    from convfault.zoo import build_torch

    with pytest.raises(UsageError, match=r"no 'classifier.1.weight': is it a state dict of mobilenet_v2"):
        build_torch.from_state(find("mobilenetv2").description, {"x": torch.ones(2)}, "weights.pth")
    with pytest.raises(UsageError, match="does not fit mobilenet_v2"):
        build_torch.from_state(find("mobilenetv2").description, {"classifier.1.weight": torch.ones(2, 1280)}, "w.pth")


def test_a_file_that_holds_no_keras_weights_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    from convfault.zoo import build_keras

    path = tmp_path / "toy.weights.h5"
    path.write_text("nothing of the kind")
    with pytest.raises(FormatError, match="cannot be read as a file of Keras weights"):
        build_keras.from_file(find("mobilenetv2").description, path)


@pytest.mark.e2e
def test_torch_publications_come_through_torchvision(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from convfault.zoo import build_torch

    description = find("mobilenetv2").description
    module = build_torch.construct(description, 1000)
    folder, address = served
    torch.save(module.state_dict(), folder / "weights.pth")
    digest = hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()
    (folder / "weights.pth").rename(folder / f"mobilenet_v2-{digest[:8]}.pth")
    from torchvision.models import MobileNet_V2_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(MobileNet_V2_Weights.DEFAULT.value, "url", f"{address}/mobilenet_v2-{digest[:8]}.pth")
    loaded = build_torch.published(description)
    assert torch.equal(loaded.classifier[1].weight, module.classifier[1].weight)


@pytest.mark.e2e
def test_keras_publications_come_through_keras_applications(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are also an example of a file whose head tells the number of classes."""
    pytest.importorskip("keras")
    from keras.src.applications import mobilenet_v2
    from keras.src.utils import file_utils

    from convfault.zoo import build_keras

    description = find("mobilenetv2").description
    model = build_keras.construct(description, 1000)
    folder, address = served
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
    model.save_weights(folder / "own.weights.h5")
    (folder / "own.weights.h5").rename(folder / name.replace(".h5", ".weights.h5"))
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", f"{address}/")
    original = file_utils.get_file
    (tmp_path / "home").mkdir()  # get_file falls back to a folder shared between runs when it cannot write here

    def get_file(name: str, origin: str, **arguments: Any) -> str:
        suffix = ".weights.h5"  # Keras 3 writes no file of the publication's old kind
        place = {**arguments, "cache_dir": str(tmp_path / "home")}
        return str(original(name.replace(".h5", suffix), origin.replace(".h5", suffix), **place))

    monkeypatch.setattr(file_utils, "get_file", get_file)
    loaded = build_keras.construct(description, 1000, weights="imagenet")
    assert (loaded.layers[-1].kernel.numpy() == model.layers[-1].kernel.numpy()).all()
    from_file = build_keras.from_file(description, folder / name.replace(".h5", ".weights.h5"))
    assert from_file.output_shape == (None, 1000)


@pytest.mark.e2e
def test_an_address_builds_a_model_with_as_many_classes_as_its_head_has(
    served: tuple[Path, str], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    from convfault.zoo import build_torch

    folder, address = served
    module = build_torch.construct(find("mobilenetv2").description, 7)
    torch.save(module.state_dict(), folder / "seven.pth")
    model = build("mobilenet_v2", "torch", f"{address}/seven.pth", Cache(tmp_path / "cache"))
    assert model.metadata["classes"] == 7
    assert Path(model.path).name == "model.pt2"


@pytest.mark.e2e
def test_a_failed_download_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(UsageError, match="cannot load"):
        build("mobilenetv2", "torch", NOWHERE, cache)
    assert not list((cache.root / "models").iterdir())
