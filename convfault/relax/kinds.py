"""The kinds of layers: what each computes, its hyperparameters and parameters.

====================== ============================================================================================
kind                   meaning; hyperparameters; parameters
====================== ============================================================================================
input                  a model input; ``permutation`` (absent: none): canonical input = native input transposed by it
constant               ``values``
opaque                 an operator that no importer knows; ``operator``, ``output``
convolution            ``strides``, ``padding`` ((top, bottom), (left, right)), ``dilation``, ``groups``;
                       ``weights`` (H, W, C / groups, filters), ``bias`` (filters)
transposed_convolution the same, ``padding`` being what is cut off the result's edges (less than 0: added);
                       ``weights`` (H, W, filters / groups, C), ``bias``
dense                  ``weights`` (in, out), ``bias`` (out), on the last axis
matmul                 product of two layers
affine                 ``scale``, ``shift``, each (C) on the last axis or a scalar
batch_norm             before normalization only: ``epsilon``; inputs: value, gamma, beta, mean, variance
normalize              (x - mean) / sqrt(variance + epsilon) over ``axes``, of each of ``groups`` groups of channels
                       (absent: one); ``epsilon``
local_response         x / (``bias`` + ``alpha`` * mean of x² over ``size`` neighbours along ``axis``) ** ``beta``, with
                       zeros as neighbours beyond the edges, ``padding`` of them
clip                   ``minimum``, ``maximum`` (relu: 0, inf; relu6: 0, 6)
leaky_relu             ``slope``; prelu: ``slopes`` as a parameter
elu                    ``alpha``
cumsum                 ``axis`` (None: of all values in a row), ``exclusive``, ``reverse``
topk, sort, argsort    ``axis``; of a topk ``output``: 0 its values, 1 their places
softplus               ``beta``, ``threshold`` (inf: none that float32 can tell)
max_pool               ``size``, ``strides``, ``padding``, ``dilation``
adaptive_average_pool  ``size`` of the result
average_pool           the same and ``count_padding``: whether the padding counts in the divisor; ``divisor``
                       (absent: the pixels counted), ``uncounted``: padding at each edge that does not count (absent:
                       none)
mean, sum, max, min,   ``axes``, ``keepdims``
prod, variance
argmax, argmin         ``axis``, ``keepdims``
softmax, log_softmax   ``axis``
reshape                its shape is the layer's
transpose              ``order``
concat                 ``axis``
slice                  ``begin``, ``end``, ``strides`` of all axes
pad                    ``padding`` of all axes, ``mode``, ``value``
resize                 ``size``, ``method``, ``coordinates``, ``rounding``, ``cubic_alpha``; ``scales`` (absent: as
                       the sizes tell), ``antialias`` (absent: not),
                       ``exclude_outside`` (absent: as is usual, only with ``antialias``)
cast                   ``to``
take                   ``axis``; inputs: values, indices
tile                   ``repeats``
broadcast              its shape is the layer's
====================== ============================================================================================

The others have neither: elementwise functions of one layer, and of two or three that broadcast.
"""

from __future__ import annotations

UNARY = frozenset(
    {
        "abs", "ceil", "cos", "erf", "exp", "floor", "gelu", "gelu_tanh", "hard_swish", "log", "logical_not",
        "negative", "round", "rsqrt", "selu", "sigmoid", "sign", "sin", "sqrt", "square", "swish", "tanh",
    }
)  # fmt: skip
"""Elementwise functions of one layer without hyperparameters."""

POINTWISE = UNARY | {"cast", "clip", "elu", "leaky_relu", "softplus"}
"""Elementwise functions of one layer that treat every element alike."""

COMMUTATIVE = frozenset({"add", "multiply", "maximum", "minimum", "equal", "not_equal", "logical_and", "logical_or"})
"""Functions of two layers whose order does not matter."""

BINARY = COMMUTATIVE | {"subtract", "divide", "floor_divide", "power", "greater", "greater_equal", "less", "less_equal"}
"""Elementwise functions of two layers that broadcast."""

REDUCTIONS = frozenset({"mean", "sum", "max", "min", "prod", "variance"})
WINDOWED = frozenset({"convolution", "transposed_convolution", "max_pool", "average_pool"})
LINEAR = frozenset({"convolution", "transposed_convolution", "dense"})
"""Kinds with ``weights`` and ``bias`` whose last output axis is the filters'."""
