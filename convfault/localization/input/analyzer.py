"""Is the difference explained by how the target is fed, or by how its classes are numbered?

What it finds: a target that wants its pictures otherwise than the source (channel order, scale, mean and deviation,
normalization twice or not at all, height and width exchanged, a layout read as the other one, mirrored pictures, inputs
in another order), or that is fed otherwise; classes that are shifted, permuted, or more; scores in another unit.
How it arises: the target comes from another code base, a converter put a normalization into the model or left it out,
or the model that the weights come from has a background class.
Example: a network whose weights come from Caffe wants blue, green, red; fed with red, green, blue it still answers
plausibly, with a few labels wrong.
How it is repaired: feed the target as it wants (the report gives the preprocessing), or put the step into the model.

The first layers with weights are evaluated on one picture on both sides. Where their values agree the input is ruled
out. Else a small linear system gives what has to be done to the channels, for each way to turn the picture.
"""

from __future__ import annotations

from collections.abc import Mapping

from convfault.localization.case import Case
from convfault.localization.input import labels, misfeeding
from convfault.localization.suspect import Suspect

CAUSES: Mapping[str, Mapping[str, str]] = {
    "channel_order": {
        "finds": "the target takes the colours in another order (blue, green, red)",
        "arises": "weights from Caffe or OpenCV's pictures, or a converter that reversed the first kernel",
        "example": "keras.applications' ResNet50 wants BGR, torchvision's RGB",
        "repair": "feed the colours in the target's order, or reverse the first kernel's input channels",
    },
    "scale": {
        "finds": "the target's pictures are in another unit",
        "arises": "one side rescales its pixels inside the model, the other outside",
        "example": "pixels 0 to 255 fed to a model that wants 0 to 1",
        "repair": "feed the pictures in the target's unit",
    },
    "mean": {
        "finds": "another mean is subtracted",
        "arises": "means of another data set, or in the order of the other channels",
        "example": "Caffe's means in the order RGB for a BGR picture",
        "repair": "subtract the mean that the target wants",
    },
    "normalization": {
        "finds": "another mean and another scale",
        "arises": "the target follows another code base's conventions",
        "example": "-1 to 1 (TensorFlow) against ImageNet's mean and deviation (torchvision)",
        "repair": "use the preprocessing that the report gives for the target",
    },
    "double_normalization": {
        "finds": "the target normalizes pictures that are normalized already",
        "arises": "a converter or an export put the normalization into the model",
        "example": "an export with Rescaling inside, fed with rescaled pictures",
        "repair": "feed the target raw pixels, or take the layers out of it",
    },
    "missing_normalization": {
        "finds": "the source normalizes inside the model, the target does not",
        "arises": "the preprocessing layers were left out of the conversion",
        "example": "a Keras application with Rescaling, exported without it",
        "repair": "normalize the pictures before the target",
    },
    "transposed": {
        "finds": "height and width are exchanged",
        "arises": "a transpose by the wrong order of axes",
        "example": "(0, 3, 2, 1) instead of (0, 3, 1, 2)",
        "repair": "transpose the pictures, or mend the transpose",
    },
    "layout": {
        "finds": "the memory of one layout (NHWC, NCHW) is read as the other",
        "arises": "a reshape where a transpose belongs",
        "example": "reshape(N, 3, H, W) of a picture (N, H, W, 3)",
        "repair": "transpose instead of reshaping",
    },
    "mirrored": {
        "finds": "the picture is turned or mirrored",
        "arises": "another origin of the coordinates",
        "example": "a BMP reader that starts at the bottom",
        "repair": "turn the picture back",
    },
    "input_order": {
        "finds": "inputs of equal shape are exchanged",
        "arises": "a converter orders them by name or keeps no order",
        "example": "TFLiteConverter on models with several inputs",
        "repair": "feed the inputs by the names that the report gives",
    },
    "preprocessing": {
        "finds": "the two sides are fed with different pictures, and the target is right on the source's",
        "arises": "another size, crop or resize filter",
        "example": "bilinear against bicubic, a centre crop against stretching",
        "repair": "use the source's preprocessing for the target",
    },
    "label_offset": {
        "finds": "the classes are shifted by a constant, or there is one more",
        "arises": "a background class in one of the two code bases",
        "example": "1,001 classes of TensorFlow's Inception against ImageNet's 1,000",
        "repair": "shift the labels, or cut the class off",
    },
    "permuted_labels": {
        "finds": "the classes are in another order",
        "arises": "folders sorted as text (1, 10, 2) on one side and by number on the other",
        "example": "WordNet ids against alphabetic names",
        "repair": "put the last layer's columns into the source's order",
    },
    "output_scale": {
        "finds": "scores in another unit",
        "arises": "quantized outputs read without their scale",
        "example": "0 to 255 instead of 0 to 1",
        "repair": "divide the scores",
    },
}


def examine(case: Case) -> list[Suspect]:
    """Suspects of kind ``input``; none where the first layers' values and the order of the classes agree."""
    return [*misfeeding.examine(case), *labels.examine(case)]
