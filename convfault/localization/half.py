"""Which of a file's roundings to half precision its runtime really does.

A runtime without kernels for half precision computes in single precision, between casts, and leaves out casts that
cancel each other: onnxruntime on most processors then rounds nothing but the weights, and at most what the model is
given and answers. The graph follows the run, not the letter of the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from convfault.localization.case import Subject
from convfault.relax.graph import Array, Graph, Layer
from convfault.relax.rounding import HALF

UNLIKE = 1e3
"""Weighs an answer that only one side has as infinite or NaN."""


def as_run(subject: Subject, answers: Sequence[Array]) -> Subject:
    """The subject with those roundings in its graph that bring it nearest to the ``answers``; few rather than many.

    These are the native runtime's, in the graph's order and layout, while nobody looks at its layers: one that is
    looked at is rounded.
    """
    if not any(_is_half(layer) for layer in subject.graph):
        return subject
    variants = [replace(subject, graph=graph) for graph in _variants(subject.graph)]
    errors = [_error(variant, answers) for variant in variants]
    return variants[int(np.argmin(errors))]


def _variants(graph: Graph) -> Iterator[Graph]:
    """No rounding, those of the answers, those of the pictures, too, and all."""
    yield _keeping(graph, ())
    yield _keeping(graph, graph.outputs)
    yield _keeping(graph, (*graph.inputs, *graph.outputs))
    yield graph


def _keeping(graph: Graph, kept: Collection[str]) -> Graph:
    return replace(
        graph,
        layers=tuple(
            replace(layer, rounding=None) if _is_half(layer) and layer.id not in kept else layer for layer in graph
        ),
    )


def _is_half(layer: Layer) -> bool:
    return layer.rounding is not None and layer.rounding.dtype == HALF


def _error(subject: Subject, answers: Sequence[Array]) -> float:
    """How far the graph's answers are from the native ones, relative to their size; being finite or not comes first."""
    total = 0.0
    for name, native in zip(subject.graph.outputs, answers, strict=False):
        found = subject.values.get(name)
        if found is None or found.shape != native.shape:
            return np.inf
        both = np.isfinite(found) & np.isfinite(native)
        size = float(np.abs(native[both]).max(initial=0.0)) or 1.0
        total += UNLIKE * float(np.mean(np.isfinite(found) != np.isfinite(native)))
        total += float(np.abs(found[both].astype(np.float64) - native[both]).sum()) / size / max(native.size, 1)
    return total
