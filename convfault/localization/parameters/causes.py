"""The causes that the parameters analyzer can name, and what the report says about each."""

from __future__ import annotations

from collections.abc import Mapping

from convfault.localization.cause import Cause

_FROM_SOURCE = "Give the target's tensor the source's values again"
_REPORT = "and report the tensor to the converter's authors."


def _rounding(title: str, off: str, example: str, option: str) -> Cause:
    return Cause(
        f"Values that are the source's rounded to {title}: off by up to {off}.",
        "The converter was told to make the model smaller, or a model so made was turned back into floats.",
        example,
        f"{option}, or keep these layers in float32 where their effect is large.",
    )


_INT8 = _rounding(
    "8-bit integers with a scale",
    "half a step, 0.4 % of a channel's largest value",
    "TFLite with optimizations=[Optimize.DEFAULT] stores weights of 1,024 elements and more as int8; tf2onnx turns "
    "them back into floats without a word (tensorflow-onnx #2394).",
    "Convert without optimizations (quantization)",
)
_HALF = _rounding(
    "half precision",
    "0.05 % (float16) or 0.4 % (bfloat16) of each value",
    "TFLite with supported_types=[float16]; a checkpoint saved in bfloat16.",
    "Convert without half precision",
)

CAUSES: Mapping[str, Cause] = {
    **{f"{title}_rounding": _INT8 for title in ("int2", "int4", "int8", "int16", "int32", "uint2", "uint4", "uint8")},
    "uint16_rounding": _INT8,
    **{f"{title}_rounding": _HALF for title in ("float16", "bfloat16")},
    "quantization_scale": Cause(
        "Values on an integer lattice whose step is wrong: the source's times a factor, in all or some channels.",
        "Scales were written for another axis or order of channels, or computed from other values than were stored.",
        "Per-channel scales taken as one scale for the tensor.",
        "Store the scale again: the largest absolute value of the source's channel divided by 127.",
    ),
    "quantization_zero_point": Cause(
        "Values on an integer lattice that are all shifted by a number of steps.",
        "The zero point was left out, or a signed tensor was read as unsigned.",
        "int8 values read as uint8 are shifted by 128 steps.",
        "Store the zero point again.",
    ),
    "activation_clipped": Cause(
        "Outputs cut off at the ends of the range that their integers can hold.",
        "The quantizer measured the range on other pictures, on too few, or with another preprocessing than is used.",
        "A representative data set of pictures from 0 to 1 for a model that is fed with 0 to 255.",
        "Quantize again with pictures, and a preprocessing, like those in use; or keep these layers in float32.",
    ),
    "activation_overflow": Cause(
        "Outputs beyond 65,504, the largest number of half precision, which are infinite in the target.",
        "Everything was converted to half precision; sums over many terms and pictures from 0 to 255 grow large.",
        "A variance, a sum of squares or unscaled logits in float16.",
        "Keep these layers in float32 (a block list of the converter), or scale the values down.",
    ),
    "activation_scale": Cause(
        "Outputs that use only a few of the integers that they are stored in: the step is too coarse.",
        "One value far out in calibration, or values of another layer or preprocessing, set the range.",
        "One picture of noise in the representative data set.",
        "Quantize again with typical pictures, or with a calibration that leaves out what is far out (percentile).",
    ),
    "rounding_missing": Cause(
        "Outputs in float that the source stores as integers.",
        "The converter took the stored numbers for what they stand for, and left the rounding of the outputs out.",
        "tf2onnx with --dequantize from a TFLite model in int8.",
        "Convert the float model that the source was quantized from; or accept that the target is the more exact one.",
    ),
    "batch_norm_epsilon": Cause(
        "Weights of every channel a little too large or too small, those of small variance most.",
        "Batch normalization was folded into the weights with another epsilon than the source's.",
        "torch's default is 1e-5 and Keras' 1e-3: a layer rebuilt with the default.",
        "Set the epsilon of the source, or fold again with it.",
    ),
    "batch_norm_statistics": Cause(
        "Channels scaled and shifted differently: another mean or variance was used.",
        "Statistics of another checkpoint, of the last batch (training mode), initial ones, or none.",
        "A model exported in training mode normalizes by the batch at hand.",
        "Export in inference mode, from the checkpoint that the source uses, and convert again.",
    ),
    "batch_norm_weights": Cause(
        "Channels scaled or shifted differently: another gamma or beta was used.",
        "The converter left gamma or beta out (scale=False, center=False, affine=False), or took another layer's.",
        "A fusion of Gemm and batch normalization that forgets beta (onnxscript #3027).",
        _FROM_SOURCE + ", " + _REPORT,
    ),
    "batch_norm_swapped": Cause(
        "The parts of batch normalization are in each other's places.",
        "Frameworks list them in different orders: Keras gamma, beta, mean, variance.",
        "set_weights with the mean and the variance exchanged.",
        "Put the parts in the order that the target's framework documents.",
    ),
    "batch_norm_missing": Cause(
        "The weights are those before batch normalization was folded in.",
        "The converter dropped the operator, or folded it into a copy that nobody reads.",
        "A fusion that matches the convolution and forgets to multiply its weights.",
        _FROM_SOURCE + ", " + _REPORT,
    ),
    "bias_missing": Cause(
        "The target's layer has no bias and the source's has.",
        "A bias that is an operator of its own in the source was not recognized.",
        "BiasAdd behind a transposed convolution.",
        "Give the target's operator the source's bias.",
    ),
    "scale_missing": Cause(
        "The target's layer has no scale and the source's has.",
        "A product with a constant was not recognized.",
        "Layer scale left out.",
        "Give the target's operator the source's scale.",
    ),
    "zeroed": Cause(
        "All values are zero.",
        "The tensor was created and never filled.",
        "Weights of a layer whose name was not found in the checkpoint.",
        _FROM_SOURCE + ", " + _REPORT,
    ),
    "added_values": Cause(
        "The source's values are zero, or there are none, and the target's are not.",
        "Another layer's bias was attached, or something was folded in that does not belong there.",
        "A bias added twice.",
        _FROM_SOURCE + ".",
    ),
    "not_finite": Cause(
        "NaN or infinite values that the source has not.",
        "A division by zero in folding, an overflow of float16, a damaged file.",
        "A negative variance under a square root.",
        _FROM_SOURCE + "; if it comes from float16, keep the layer in float32.",
    ),
    "truncated": Cause(
        "The last channels (or rows) are zero.",
        "The buffer was cut off, or filled from a shorter one.",
        "Padding of channels to a multiple of four over the real ones.",
        _FROM_SOURCE + ", " + _REPORT,
    ),
    "channels_zeroed": Cause(
        "Whole channels are zero.",
        "Structured pruning, or channels that were lost in a split.",
        "A converter that takes small batch-norm scales for dead channels.",
        _FROM_SOURCE + ".",
    ),
    "pruned": Cause(
        "The smallest values are zero.",
        "Pruning by magnitude in an optimization step.",
        "tfmot's prune_low_magnitude left on.",
        "Convert without pruning.",
    ),
    "values_zeroed": Cause(
        "Single values are zero, large ones among them.",
        "Random pruning, dropout of weights, a sparse format read wrongly.",
        "A sparse tensor whose index was read in another order.",
        _FROM_SOURCE + ".",
    ),
    "clipped": Cause(
        "Values beyond a bound are cut off at it.",
        "A quantization range or a float16 limit that is too narrow.",
        "Scales by percentile calibration.",
        _FROM_SOURCE + ", or widen the range.",
    ),
    "bit_flip": Cause(
        "Values differ in one bit each.",
        "A damaged file or memory.",
        "An incomplete download.",
        "Make the file again.",
    ),
    "single_values": Cause(
        "Few values of a tensor differ.",
        "A damaged file, or an edit by hand.",
        "A buffer overwritten at its start.",
        _FROM_SOURCE + ".",
    ),
    "scaled": Cause(
        "All values are the source's times one number.",
        "A factor (of preprocessing, of attention, of quantization) was folded in twice, or not at all.",
        "1/255 folded into the first layer while the pictures are scaled as well.",
        _FROM_SOURCE + ".",
    ),
    "shifted": Cause(
        "All values are the source's plus one number.",
        "A zero point or a mean was subtracted once too often.",
        "uint8 weights read without their zero point.",
        _FROM_SOURCE + ".",
    ),
    "sign_flipped": Cause(
        "All values have the opposite sign.",
        "A subtraction was turned into an addition.",
        "x - mean written as x + mean.",
        _FROM_SOURCE + ".",
    ),
    "signs_lost": Cause(
        "All values are positive.",
        "Signed values read as unsigned, or an absolute value too many.",
        "A sign bit masked out.",
        _FROM_SOURCE + ".",
    ),
    "channel_scale": Cause(
        "Single channels are the source's times a number.",
        "One entry of a scale is wrong.",
        "One per-channel quantization scale out of order.",
        _FROM_SOURCE + ".",
    ),
    "channel_scales": Cause(
        "Every channel is the source's times another number.",
        "A scale by channel was folded in that does not belong there, or was left out.",
        "Cross-layer equalization whose other half was lost.",
        _FROM_SOURCE + ".",
    ),
    "channel_sign_flipped": Cause(
        "Single channels have the opposite sign.",
        "A negative scale was taken for its absolute value.",
        "A negative gamma of batch normalization.",
        _FROM_SOURCE + ".",
    ),
    "transposed_spatial": Cause(
        "The kernels' height and width are swapped.",
        "A layout permutation with the two spatial axes the wrong way round.",
        "OIHW turned into HWIO by reversing all axes, which gives WHIO.",
        "Transpose the kernels by (1, 0, 2, 3), " + _REPORT,
    ),
    "transposed_in_out": Cause(
        "Input and output channels of the weights are swapped.",
        "One framework multiplies by the matrix, the other by its transpose.",
        "torch.nn.Linear keeps (out, in), Keras' Dense (in, out); invisible in a square matrix.",
        "Transpose the matrix, " + _REPORT,
    ),
    "kernel_flipped": Cause(
        "The kernels are mirrored.",
        "Mathematical convolution turns the kernel, deep-learning frameworks correlate.",
        "Theano kernels in TensorFlow; a transposed convolution rewritten as a convolution.",
        "Flip the kernels, " + _REPORT,
    ),
    "memory_order": Cause(
        "The values were written in the order of memory of a transposed array.",
        "A non-contiguous array was serialized with its storage order instead of its own.",
        "litert-torch with a transposed or strided constant.",
        "Make the tensor contiguous before conversion.",
    ),
    "flatten_order": Cause(
        "The rows of a dense layer are in the order of a picture that was flattened in the other layout.",
        "Flatten in NCHW runs over (C, H, W), in NHWC over (H, W, C).",
        "torch to Keras: classifier weights copied without reordering.",
        "Reorder the rows, or transpose the picture before it is flattened.",
    ),
    "channels_reversed": Cause(
        "The channels are in reverse order.",
        "The colour channels of the first layer were exchanged (RGB, BGR), or an axis was read backwards.",
        "Caffe weights in a model for RGB pictures.",
        "Reverse the channels of the weights, or of the pictures, not both.",
    ),
    "channels_permuted": Cause(
        "The channels are in another order.",
        "A shuffle or a concatenation was merged into the weights, or a list of tensors was sorted by name.",
        "'conv_10' sorted before 'conv_2'.",
        "Put the channels in the source's order.",
    ),
    "group_layout": Cause(
        "The channels are interleaved as for grouped convolutions of another convention.",
        "(groups, channels) read as (channels, groups), depthwise multipliers among them.",
        "A depthwise kernel (H, W, C, M) reshaped without a transpose.",
        "Reorder the channels by group, " + _REPORT,
    ),
    "rolled": Cause(
        "The values are moved by one place.",
        "An offset in a buffer or an index that starts at one.",
        "1,001 classes with a background class against 1,000.",
        _FROM_SOURCE + ".",
    ),
    "shuffled": Cause(
        "The values are all there, in another order.",
        "An axis permutation that was not recognized, or rows of a sparse tensor out of order.",
        "A reshape where a transpose was needed.",
        _FROM_SOURCE + ", " + _REPORT,
    ),
    "layers_swapped": Cause(
        "Two layers have each other's values.",
        "Tensors are matched by position or by sorted name, not by identity.",
        "Two branches of equal shape exchanged.",
        "Exchange the tensors, " + _REPORT,
    ),
    "layer_duplicated": Cause(
        "The values are those of another layer, which has them too.",
        "Equal shapes were taken for equal tensors, or a shared constant was edited in place.",
        "tf2onnx #1384: a kernel shared by two convolutions reshaped twice.",
        _FROM_SOURCE + ", " + _REPORT,
    ),
    "parameters_swapped": Cause(
        "Two parameters of the layer have each other's values.",
        "They have one shape, and the converter lists them in another order.",
        "Scale and shift exchanged.",
        "Exchange the tensors.",
    ),
    "parameter_shape": Cause(
        "The tensors have different shapes.",
        "A channel was added or lost, or an axis permuted.",
        "A bias of the wrong length after folding (pytorch #166797).",
        _FROM_SOURCE + " where the shape allows it.",
    ),
    "unrelated": Cause(
        "The values have nothing to do with the source's.",
        "The weights were not loaded: initial values, or those of another checkpoint.",
        "load_weights with by_name=True and a layer renamed.",
        "Load the source's weights, then convert again.",
    ),
    "noise": Cause(
        "The values differ without a pattern.",
        "Another checkpoint, training that went on, or arithmetic in less precision.",
        "Weights exported after one epoch more.",
        _FROM_SOURCE + ".",
    ),
}
