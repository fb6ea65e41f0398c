"""torch → Keras by nobuco, which runs the module once and translates each call that it sees.

nobuco knows the functions of ``torch`` that a module's code calls; an exported program, which calls the operators below
them, is replayed by such functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter, Option
from convfault.model import Model


def options_with(free_batch: bool) -> dict[str, Option]:
    """The tool's options, that of the batch with this default."""
    free = "leave the batch free instead of one; Keras cannot read every such file back (torch.flatten before a Linear)"
    return {
        "channels_last": Option("give the input the layout of Keras, NHWC, instead of torch's", True, kind="flag"),
        "trace_shape": Option("translate computations with sizes too", False, kind="flag"),
        "free_batch": Option(free, free_batch, kind="flag"),
    }


CONVERTER = Converter(
    tool="nobuco",
    source="torch",
    target="keras",
    formats=("pt2", "torch_function"),
    target_format="keras",
    filename="model.keras",
    package="nobuco",
    convert="convfault.converters.keras_from_torch:convert",
    companions=("torch", "tensorflow", "keras"),
    options=options_with(free_batch=False),
    environment="nobuco",
    memory_factor=30.0,
)


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Translate; the input becomes NHWC and the batch 1, as nobuco does by itself, unless the options say otherwise."""
    network = keras_network(source, options)
    network.save(target, save_format="keras")
    return facts(options)


def facts(options: Mapping[str, Any]) -> dict[str, Any]:
    """The layout that the input has now, and what became of the batch."""
    notes = [] if options["free_batch"] else ["nobuco fixed the batch at 1; free_batch=true leaves it free"]
    return {"layout": "NHWC" if options["channels_last"] else "NCHW", "notes": notes}


def keras_network(source: Model, options: Mapping[str, Any]) -> Any:
    """The ``keras.Model`` (Keras 2) that nobuco makes of the source."""
    from convfault.native.torchvision_operators import ensure

    ensure()
    module, inputs = _replayable(source)
    import nobuco  # only now: its import changes functions of torch that the reading of the program needs
    from nobuco import ChannelOrder

    order = ChannelOrder.TENSORFLOW if options["channels_last"] else ChannelOrder.PYTORCH
    free = {tensor: (None, *tensor.shape[1:]) for tensor in inputs} if options["free_batch"] else None
    return nobuco.pytorch_to_keras(
        module,
        args=list(inputs),
        input_shapes=free,
        inputs_channel_order=order,
        outputs_channel_order=order,
        trace_shape=options["trace_shape"],
    )


def _replayable(source: Model) -> tuple[Any, tuple[Any, ...]]:
    """A module whose code calls functions of ``torch``, and inputs of one picture to run it on."""
    from convfault.converters.torch_replay import replayable
    from convfault.converters.torch_source import example, example_of, exported_program, module

    if source.format == "torch_function":
        return module(source), tuple(tensor[:1] for tensor in example(source))
    program = exported_program(source)
    return replayable(program), example_of(program, batch=1)
