"""Exported programs: a stem, what shows a bug, and a head; lively weights and statistics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE, CHANNELS, WIDE, CLASSES = 24, 8, 16, 10


def network(folder: Path, name: str, middle: Callable[[], Any]) -> Path:
    """Convolution → batch norm → relu → ``middle`` → 1x1 convolution → relu → mean → linear, with a free batch."""
    import torch
    from torch import nn

    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3, padding=1, bias=False),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
        middle(),
        nn.Conv2d(CHANNELS, WIDE, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(WIDE, CLASSES),
    ).eval()
    _enliven(module)
    example = (torch.zeros(2, 3, SIZE, SIZE),)
    program = torch.export.export(module, example, dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    path = folder / f"{name}.pt2"
    torch.export.save(program, path)
    return path


def _enliven(module: Any) -> None:
    """Weights and statistics that let every channel matter."""
    import torch
    from torch import nn

    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(0.3 * torch.randn(part.num_features))
            part.running_var.copy_(0.5 + 0.5 * torch.rand(part.num_features))
            part.weight.data.copy_(1 + torch.rand(part.num_features))
            part.bias.data.copy_(1 + torch.randn(part.num_features))
        elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fan = part.weight[0].numel()
            part.weight.data.copy_(torch.randn(part.weight.shape) * (2 / fan) ** 0.5)
            if part.bias is not None:
                part.bias.data.copy_(0.3 * torch.randn(part.bias.shape))


def average(**settings: Any) -> Callable[[], Any]:
    def make() -> Any:
        from torch import nn

        return nn.AvgPool2d(**settings)

    return make


def dilated_max() -> Any:
    from torch import nn

    return nn.MaxPool2d(3, stride=1, dilation=2)


def upsampled(**settings: Any) -> Callable[[], Any]:
    def make() -> Any:
        from torch import nn

        return nn.Upsample(**settings)

    return make


def resized(**settings: Any) -> Callable[[], Any]:
    """``interpolate`` with settings that ``nn.Upsample`` lacks."""

    def make() -> Any:
        import torch
        from torch import nn

        class Resized(nn.Module):
            def forward(self, x: Any) -> Any:
                return torch.nn.functional.interpolate(x, **settings)

        return Resized()

    return make


def transposed() -> Any:
    from torch import nn

    return nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, stride=2, padding=1, output_padding=1)


def shufflenet(folder: Path) -> Path:
    """torchvision's smallest ShuffleNetV2 with random weights, as the older exporter writes it at opset 13."""
    from convfault.native.torchvision_operators import ensure

    ensure()
    import torch
    import torchvision

    torch.manual_seed(3)
    module = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=CLASSES).eval()
    _enliven(module)
    path = folder / "shufflenet.onnx"
    torch.onnx.export(module, (torch.zeros(1, 3, 64, 64),), path, dynamo=False, opset_version=13)
    return path
