"""The causes of faults in a few plain words, as heads of rows; an analyzer's table tells more about each."""

from __future__ import annotations

from collections.abc import Mapping

from convfault.fault import Fault

VALUES = {"bias": "bias", "scale": "scale", "shift": "shift", "values": "constants"}

TITLES: Mapping[str, str] = {
    # parameters; {what} is what the values are
    "quantization_scale": "{what} with a wrong quantization scale",
    "quantization_zero_point": "{what} with a wrong zero point",
    "activation_clipped": "output cut off by its integers' range",
    "activation_overflow": "output too large for half precision",
    "rounding_missing": "output not rounded as in the source",
    "activation_scale": "output stored in too coarse steps",
    "batch_norm_epsilon": "batch norm folded in with another epsilon",
    "batch_norm_statistics": "batch norm with other statistics",
    "batch_norm_weights": "batch norm with another gamma or beta",
    "batch_norm_swapped": "parts of batch norm swapped",
    "batch_norm_missing": "batch norm not folded in",
    "zeroed": "{what} all zero",
    "added_values": "{what} added",
    "not_finite": "{what} NaN or infinite",
    "truncated": "{what} cut off",
    "channels_zeroed": "channels of {what} zero",
    "pruned": "{what} pruned",
    "values_zeroed": "single {what} zero",
    "clipped": "{what} clipped",
    "bit_flip": "bits of {what} flipped",
    "single_values": "single values of {what} differ",
    "scaled": "{what} times a number",
    "shifted": "{what} plus a number",
    "sign_flipped": "sign of {what} flipped",
    "signs_lost": "signs of {what} lost",
    "channel_scale": "one channel of {what} times a number",
    "channel_scales": "channels of {what} times other numbers",
    "channel_sign_flipped": "sign of single channels flipped",
    "transposed_spatial": "kernels' height and width swapped",
    "transposed_in_out": "{what} transposed (in and out)",
    "kernel_flipped": "kernels mirrored",
    "memory_order": "{what} in another order of memory",
    "flatten_order": "flattened in another order",
    "channels_reversed": "channels of {what} reversed",
    "channels_permuted": "channels of {what} permuted",
    "group_layout": "groups of {what} in another order",
    "rolled": "{what} moved by one place",
    "shuffled": "{what} in another order",
    "layers_swapped": "{what} of two layers swapped",
    "layer_duplicated": "{what} of another layer",
    "parameters_swapped": "two parameters swapped",
    "parameter_shape": "{what} of another shape",
    "unrelated": "{what} not the source's at all",
    "noise": "{what} differ without a pattern",
    # hyperparameters
    "asymmetric_padding": "padding on the other edge",
    "padding_axes": "axes of the padding exchanged",
    "padding": "another padding",
    "ceil_mode": "output size rounded the other way",
    "pad_value": "border of another value",
    "pad_mode": "border filled otherwise",
    "strides": "another stride",
    "dilation": "another dilation",
    "groups": "another number of groups",
    "window_size": "another window",
    "code_in_file": "code in a model file, which nobody may run",
    "divisor": "average divided by another number",
    "resize_scale": "resize by another factor",
    "count_include_pad": "padding counted in the average, or not",
    "clip_bounds": "activation cut off at other bounds",
    "slope": "another slope below zero",
    "hard_sigmoid_slope": "another slope of a hard sigmoid",
    "alpha": "another alpha",
    "softplus": "another softplus",
    "epsilon": "another epsilon",
    "resize_size": "resized to another size",
    "resize_method": "another interpolation",
    "align_corners": "resize: corners aligned, or not",
    "half_pixel": "resize: other coordinates",
    "nearest_rounding": "resize: other rounding",
    "cubic_coefficient": "resize: another cubic kernel",
    "antialias": "antialiasing",
    "exclude_outside": "resize: another reading beyond the edge",
    "axis": "along another axis",
    "keepdims": "reduced axes kept, or not",
    "order": "axes in another order",
    "slice_bounds": "another part cut out",
    "cast_dtype": "cast to another type",
    "repeats": "other repeats",
    "target_shape": "reshaped otherwise",
    # graph
    "missing_node": "node missing",
    "extra_node": "node too many",
    "misplaced_node": "node at another place",
    "duplicated_node": "node applied twice",
    "rewired": "connected to another node",
    "input_order": "inputs in another order",
    "changed_node": "node does something else",
    "replaced_nodes": "other nodes in place",
    "train_mode_dropout": "dropout as in training",
    "train_mode_batch_norm": "batch norm as in training",
    "unknown_operator_differs": "unknown operator answers otherwise",
    # input
    "channel_order": "colours in another order",
    "scale": "pictures in another unit",
    "mean": "another mean subtracted",
    "normalization": "another normalization",
    "double_normalization": "normalized twice",
    "missing_normalization": "not normalized",
    "transposed": "height and width exchanged",
    "layout": "memory layout misread",
    "mirrored": "picture mirrored or turned",
    # tool
    "option": "a converter's option",
    "hop": "a step of the conversion",
    "worse_hop": "a later step of the conversion",
    "resources": "out of time or memory",
    "tool_crash": "the tool crashed",
    "unsupported_type": "type of numbers not supported",
    "bad_file": "model file not readable for the tool",
    "bad_name": "name not allowed",
    "outside_file": "a reference that leads out of the model file",
    "bad_shape": "shapes do not fit",
    # runtime
    "kernel": "a runtime's kernel computes otherwise",
    "optimization": "a runtime's optimization changes the model",
}
"""Cause → its title; one without goes by its own words."""


def title(fault: Fault) -> str:
    """What is the matter, in a few words."""
    what = " and ".join(VALUES.get(name, name) for name in (fault.attribute or "values").split(", "))
    if fault.kind == "parameters" and fault.cause.endswith("_rounding"):
        return f"{what} rounded to {fault.cause.removesuffix('_rounding')}"
    text = TITLES.get(fault.cause)
    return fault.cause.replace("_", " ") if text is None else text.replace("{what}", what)
