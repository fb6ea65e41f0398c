"""The causes that the hyperparameters analyzer can name, and what the report says about each."""

from __future__ import annotations

from collections.abc import Mapping

from convfault.localization.cause import Cause


def _plain(what: str, arises: str, example: str) -> Cause:
    return Cause(f"{what} differs.", arises, example, f"Set {what[0].lower()}{what[1:]} as the source has it.")


_PADDING = "Pad explicitly as the source does: an operator of its own in front (tf.pad, ZeroPad2d, Pad) always can."
CAUSES: Mapping[str, Cause] = {
    "asymmetric_padding": Cause(
        "As much padding in all, on the other edge: the window looks at the picture one pixel further up or down.",
        "TF's SAME pads the bottom and the right first, torch pads all edges alike and leaves the bottom unread at "
        "stride 2.",
        "Stride 2, kernel 3, an even size: SAME is (0, 1), padding=1 amounts to (1, 0).",
        _PADDING,
    ),
    "padding_missing": Cause(
        "The target does not pad (VALID) where the source does (SAME, padding=n).",
        "A padding attribute or a padding operator in front was not taken over.",
        "onnxmltools: pads missing on two convolutions.",
        _PADDING,
    ),
    "padding_added": Cause(
        "The target pads (SAME) where the source does not (VALID, padding=0).",
        "A default of the target's framework, or padding applied twice.",
        "An explicit Pad operator kept in front of a convolution that pads as well.",
        "Set the target's padding to none (VALID, padding=0).",
    ),
    "padding_axes": Cause(
        "Height and width, or begins and ends, of the padding are exchanged.",
        "ONNX lists all begins, then all ends; torch's pad starts with the last axis; TF gives pairs.",
        "pads=[1, 0, 1, 0] read as ((1, 0), (1, 0)).",
        _PADDING,
    ),
    "padding": _plain(
        "The padding", "An attribute was read or computed wrongly.", "Padding for another kernel size or dilation."
    ),
    "ceil_mode": Cause(
        "The output is rounded up where the source rounds down, or the other way round: a window more or less at the "
        "bottom and the right.",
        "ceil_mode is missing in TF and TFLite and must be turned into padding.",
        "onnx2tf: 8x10 becomes 7x10.",
        "Set ceil_mode as in the source, or pad the bottom and the right with what does not count.",
    ),
    "pad_value": Cause(
        "A maximum is taken over a border of another value than minus infinity, or a sum over one that is not zero.",
        "Padding became an operator of its own with the value 0, which wins over negative numbers.",
        "onnx-to-keras #31: MaxPool padded with 0.",
        "Pad with the lowest float (-inf), or let the pooling pad.",
    ),
    "pad_mode": Cause(
        "The border is filled otherwise: constant, reflected or replicated.",
        "padding_mode was not taken over.",
        "Conv2d(padding_mode='reflect') converted as zero padding.",
        "Pad with an operator of its own in the source's mode, then convolve without padding.",
    ),
    "strides": _plain("The stride", "Strides lost, or exchanged with the dilation.", "(2, 1) read as (2, 2)."),
    "dilation": _plain("The dilation", "Dilation lost or folded away.", "nobuco: dilated max pools run undilated."),
    "groups": Cause(
        "The number of groups differs: other channels are convolved with each other.",
        "A grouped or depthwise convolution was written as a whole one or with other groups.",
        "groups=32 of ResNeXt dropped.",
        "Set the source's groups, with weights to match.",
    ),
    "window_size": _plain("The window's size", "Global pooling was given a size.", "7x7 written for any input."),
    "count_include_pad": Cause(
        "The average counts the padding on one side and leaves it out on the other: borders differ.",
        "torch and ONNX can count the padding; TF and TFLite with SAME never do.",
        "onnx2keras: AveragePool with count_include_pad=1 became padding='same' (InceptionV3).",
        "Pad with zeros in an operator of its own before an unpadded average; or scale the borders.",
    ),
    "divisor": Cause(
        "The sum over each window of an average is divided by another number than its pixels.",
        "torch can set the divisor (divisor_override); hardly any other format can, and converters drop it.",
        "torch.onnx: AvgPool2d(2, divisor_override=1) becomes AveragePool, four times too small.",
        "Multiply behind the average by the window's pixels over the divisor.",
    ),
    "clip_bounds": Cause(
        "The activation is cut off at other bounds (ReLU, ReLU6, hardtanh).",
        "The upper bound was lost, or a default taken, as Clip's bounds moved from attributes to inputs.",
        "ReLU6 converted as ReLU.",
        "Give the activation the source's bounds.",
    ),
    "slope": _plain("The slope below zero", "Defaults differ: 0.01 in torch, 0.3 in Keras, 0.2 in TF.", "LeakyReLU."),
    "hard_sigmoid_slope": Cause(
        "A hard sigmoid is steeper or flatter.",
        "Frameworks mean different functions by the name: x/6 + 1/2 in torch and Keras 3, x/5 + 1/2 in Keras 2 and by "
        "ONNX' default.",
        "torch's hardsigmoid as HardSigmoid without its alpha.",
        "Set the slope (ONNX: alpha) as the source has it, or write it out as a product, a sum and a clip.",
    ),
    "alpha": _plain("The coefficient alpha", "A default was taken.", "ELU(0.5) as ELU(1)."),
    "softplus": _plain("The softplus' beta or threshold", "Only torch has them.", "Softplus(beta=2)."),
    "epsilon": Cause(
        "The constant that is added to the variance differs.",
        "Defaults differ: 1e-5 in torch and ONNX, 1e-3 in Keras and TF.",
        "A network rebuilt with the target's default: small variances are off most.",
        "Set the source's epsilon.",
    ),
    "resize_size": _plain("The size that is resized to", "scale_factor was turned into a size.", "floor(15 * 1.7)."),
    "resize_scale": Cause(
        "Pixels are placed by the factor on one side, by the sizes (a rounded factor) on the other.",
        "A broken scale_factor was turned into a size: floor(24 * 1.7) = 40 is a factor of 1.667.",
        "tf.image.resize has sizes only; ONNX and torch use the factor that was given.",
        "Convert with recompute_scale_factor=True or a size in the source, or resize by an explicit product.",
    ),
    "resize_method": _plain("The interpolation", "A mode was not supported.", "Bicubic run as bilinear."),
    "align_corners": Cause(
        "Resizing maps the corner pixels' centres onto each other on one side only.",
        "align_corners was dropped or is fixed in the target's operator.",
        "torch's Upsample(align_corners=True) through an operator without it.",
        "Resize with align_corners as the source does, or by a product with the interpolation's weights.",
    ),
    "half_pixel": Cause(
        "Resizing takes pixels' centres (half_pixel) on one side and their corners (asymmetric) on the other.",
        "coordinate_transformation_mode was not taken over.",
        "onnx2torch runs asymmetric bilinear resizing with half-pixel centres.",
        "Choose the source's coordinates (half_pixel_centers in TF, coordinate_transformation_mode in ONNX).",
    ),
    "nearest_rounding": Cause(
        "Resizing to the nearest pixel rounds ties, or all places, another way.",
        "nearest_mode was not taken over: torch's nearest is floor, ONNX's default is round_prefer_floor.",
        "onnx2torch with scale 0.6.",
        "Choose the source's rounding (nearest_mode), or gather the pixels by index.",
    ),
    "cubic_coefficient": Cause(
        "The cubic kernel has another coefficient.",
        "-0.5 in TF and PIL, -0.75 in torch and ONNX's default.",
        "Keras' bicubic upsampling through an operator with -0.75.",
        "Set cubic_coeff_a, or resize by a product with the interpolation's weights.",
    ),
    "antialias": _plain("Antialiasing", "The attribute is ignored by the target.", "tvm drops it."),
    "exclude_outside": Cause(
        "Where the kernel reaches beyond the edge, it reads the edge again, or leaves out what is not there.",
        "exclude_outside was ignored: torch's antialiased resizes leave out, ONNX's default reads the edge again.",
        "An antialiased Resize with ONNX's default, taken for torch's.",
        "Set exclude_outside as the source has it, or resize by a product with the interpolation's weights.",
    ),
    "axis": Cause(
        "The operator works along another axis.",
        "Axes were not moved along with the layout, or negative ones were counted in another rank.",
        "Softmax over axis 1 of NHWC.",
        "Set the axis for the target's layout.",
    ),
    "keepdims": _plain("Whether reduced axes are kept", "Defaults differ: ONNX keeps them, TF doesn't.", "Mean."),
    "order": _plain("The order of the axes", "A permutation composed or inverted wrongly.", "NCHW to NHWC twice."),
    "slice_bounds": Cause(
        "Another part is cut out.",
        "Ends (exclusive), sizes and negative indices are read differently, or axes were not moved with the layout.",
        "x[:, 1:] as x[:, :1].",
        "Set the source's begin, end and step.",
    ),
    "cast_dtype": _plain("The type that is cast to", "A type was not supported.", "int64 as int32, float32 as half."),
    "repeats": _plain("The number of repeats", "Axes were not moved along with the layout.", "tile."),
    "target_shape": Cause(
        "The values are laid out in another shape.",
        "A computed or symbolic size was fixed, or flattening starts at another axis.",
        "-1 resolved for another batch size.",
        "Set the source's shape.",
    ),
}  # fmt: skip
"""An attribute that has none of its own goes by its name, with ``OTHER``."""

OTHER = Cause(
    "An attribute of the operator differs.",
    "The converter did not take it over, or the target's default is another.",
    "An attribute that the target's operator lacks.",
    "Set the attribute as the source has it.",
)
