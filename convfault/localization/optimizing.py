"""Whether a runtime's own optimization of the graph changes what it answers, and which one does.

A runtime rewrites the graph before it runs it: it fuses operators and drops what it takes for no-ops. Watching every
layer keeps it from that. So a model that answers otherwise when nobody watches is optimized wrongly. onnxruntime can
leave its optimizers out one by one, which tells the guilty one, and can write down what it made of the graph, which
tells the nodes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convfault.localization.case import Subject
from convfault.relax.graph import Array

LEVELS = ("ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
OPTIMIZERS = (
    "Pad_Fusion", "ConvBNFusion", "ConvMulFusion", "ConvAddFusion", "MatMulAddFusion", "MatmulBNFusion",
    "ConstantFolding", "CommonSubexpressionElimination", "TransposeOptimizer", "ReshapeFusion", "GemmSumFusion",
    "GemmTransposeFusion", "DivMulFusion", "FuseReluClip", "NotWhereFusion", "EliminateIdentity", "EliminateSlice",
    "EliminateDropout", "NoopElimination", "CastElimination", "CastChainElimination", "ExpandElimination",
    "UnsqueezeElimination", "PreShapeNodeElimination", "ShapeToInitializer", "ConstantSharing", "ClipQuantRewrite",
    "DoubleQDQPairsRemover", "QDQPropagationTransformer", "EnsureUniqueDQForNodeUnit", "QDQSelectorActionTransformer",
    "QDQFinalCleanupTransformer", "ConvActivationFusion", "ConvAddActivationFusion", "GemmActivationFusion",
    "MatMulActivationFusion", "MatMulScaleFusion", "MatmulTransposeFusion", "GeluFusionL1", "GeluFusionL2",
    "BiasGeluFusion", "FastGeluFusion", "QuickGeluFusion", "LayerNormFusionL1", "LayerNormFusionL2",
    "SimplifiedLayerNormFusion", "SkipLayerNormFusion", "AttentionFusion", "EmbedLayerNormFusion",
    "GatherToSplitFusion", "GatherToSliceFusion", "DynamicQuantizeMatMulFusion", "MatMulIntegerToFloatFusion",
    "BiasSoftmaxFusion", "NchwcTransformer", "NhwcTransformer", "Level1_RuleBasedTransformer",
    "Level2_RuleBasedTransformer",
)  # fmt: skip
"""Names by which onnxruntime can be told to leave an optimizer out; those that a release lacks do nothing."""


@dataclass(frozen=True)
class Optimization:
    """The level from which on the answers are others, the optimizer that is guilty ("" where it is not one alone), and
    the names of the nodes that it does away with."""

    level: str
    name: str = ""
    nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"optimizer {self.name}" if self.name else f"optimizations of {self.level}"


def guilty(subject: Subject, row: int, expected: Sequence[Array], limit: float) -> Optimization | None:
    """What changes the answers of an ONNX model to picture number ``row`` from the ``expected`` ones, native layout.

    None for another format, where the plain graph answers otherwise, too, or where onnxruntime fails.
    """
    if subject.model.format != "onnx":
        return None
    given = {name: np.ascontiguousarray(values[row : row + 1]) for name, values in subject.inputs.items()}
    trial = Trial(subject.model.path, given, expected, limit)
    try:
        if not trial.agrees("ORT_DISABLE_ALL"):
            return None
        level = next((each for each in LEVELS if not trial.agrees(each)), None)
        if level is None:
            return None
        name = next((each for each in OPTIMIZERS if trial.agrees(level, each)), "")
        return Optimization(level, name, trial.removed(level, name) if name else ())
    except Exception:  # whatever the runtime raises: then the levels are all that is known
        return None


@dataclass(frozen=True)
class Trial:
    """Runs of one model on one picture, with more or fewer optimizations."""

    path: str
    given: Mapping[str, Array]
    expected: Sequence[Array]
    limit: float

    def agrees(self, level: str, without: str = "") -> bool:
        """Whether the answers are the expected ones."""
        found = self._session(level, without).run(None, dict(self.given))
        pairs = zip(found, self.expected, strict=True)
        return all(a.shape == b.shape and float(np.abs(a - b).max(initial=0.0)) <= self.limit for a, b in pairs)

    def removed(self, level: str, name: str) -> tuple[str, ...]:
        """Nodes that are there without the optimizer and gone with it."""
        with tempfile.TemporaryDirectory() as folder:
            names = [self._written(level, without, Path(folder)) for without in ("", name)]
        return tuple(item for item in names[1] if item not in set(names[0]))

    def _written(self, level: str, without: str, folder: Path) -> list[str]:
        import onnx

        place = folder / f"without {without}.onnx"
        self._session(level, without, str(place))
        return [node.name for node in onnx.load(place, load_external_data=False).graph.node if node.name]

    def _session(self, level: str, without: str, place: str = "") -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.log_severity_level = 4
        if place:
            options.optimized_model_filepath = place
        left_out: Iterable[str] = [without] if without else []
        return onnxruntime.InferenceSession(
            self.path, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(left_out)
        )
