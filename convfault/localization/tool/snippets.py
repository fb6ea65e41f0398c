"""Python lines that convert or run a model with the tool alone: what a reproducer's script is put together from.

``{source}`` and ``{target}`` are file names; ``OPTIONS`` in the scripts are the tool's options that were given. All
other braces are doubled. Each converts as convfault's own converter of that tool does.
"""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLE = """program = torch.export.load("{source}")
values = {{node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}}
inputs = tuple(
    torch.randn([side if isinstance(side, int) else {batch} for side in values[name].shape]).to(values[name].dtype)
    for name in program.graph_signature.user_inputs
)
"""
MODULE = "module = program.module()\n"

TFLITE = """converter.optimizations = [getattr(tf.lite.Optimize, name) for name in OPTIONS.get("optimizations", [])]
converter.target_spec.supported_types = [getattr(tf, name) for name in OPTIONS.get("supported_types", [])]
operators = OPTIONS.get("supported_ops", ["TFLITE_BUILTINS"])
converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, name) for name in operators]
converter.inference_input_type = getattr(tf, OPTIONS.get("inference_input_type", "float32"))
converter.inference_output_type = getattr(tf, OPTIONS.get("inference_output_type", "float32"))
for name in ("allow_custom_ops", "experimental_new_converter", "experimental_new_quantizer", "unfold_batchmatmul"):
    if name in OPTIONS:
        setattr(converter, name, OPTIONS[name])
converter._experimental_disable_per_channel = OPTIONS.get("disable_per_channel", False)
if OPTIONS.get("representative_dataset"):
    data = np.load("inputs.npz")
    converter.representative_dataset = lambda: [[data[name] for name in data.files if name.startswith("input_")]]
open("{target}", "wb").write(converter.convert())
"""
FROZEN = """graph = tf.compat.v1.GraphDef()
graph.ParseFromString(open("{source}", "rb").read())
read = {{name.lstrip("^").split(":")[0] for node in graph.node for name in node.input}}
quiet = ("Placeholder", "Const", "NoOp", "Assert")
starts = [node.name + ":0" for node in graph.node if node.op == "Placeholder"]
ends = [node.name + ":0" for node in graph.node if node.name not in read and node.op not in quiet]
"""
COMMAND = """flags = ["--opset", str(OPTIONS["opset"])] if OPTIONS.get("opset") else []
flags += ["--target", ",".join(OPTIONS["target"])] if OPTIONS.get("target") else []
flags += ["--dequantize"] if OPTIONS.get("dequantize") else []
flags += ["--inputs-as-nchw", ",".join(starts)] if OPTIONS.get("inputs_as_nchw") else []
flags += ["--outputs-as-nchw", ",".join(ends)] if OPTIONS.get("outputs_as_nchw") else []
command = [sys.executable, "-m", "tf2onnx.convert", {kind}, "--output", "{target}", *flags]
subprocess.run(command, check=True)
"""

DECLARED = """try:
    import {name}
except RuntimeError:  # torchvision's compiled operators do not fit this torch: declare those that its import looks for
    library = torch.library.Library("torchvision", "DEF")
    [library.define(f"{{{{name}}}}(Tensor dets, Tensor scores, float iou) -> Tensor") for name in ("nms", "qnms")]
    import {name}
"""


def _pt2(batch: int) -> str:
    return "import torch\n\n" + EXAMPLE.replace("{batch}", str(batch))


CONVERT: Mapping[tuple[str, str], str] = {
    ("onnx2torch", "onnx"): "import torch\n\n"
    + DECLARED.format(name="onnx2torch")
    + '\nmodule = onnx2torch.convert("{source}", **OPTIONS).eval()\n',
    ("torch_onnx", "pt2"): "import torch\n\n"
    + 'program = torch.export.load("{source}")\n'
    + 'options = {{"opset_version": OPTIONS.get("opset"), "optimize": OPTIONS.get("optimize", True)}}\n'
    + 'options["keep_initializers_as_inputs"] = OPTIONS.get("keep_initializers_as_inputs", False)\n'
    + 'torch.onnx.export(program, (), "{target}", dynamo=True, external_data=False, **options)\n',
    ("torch_onnx_torchscript", "pt2"): "import types\n\n"
    + _pt2(2)
    + MODULE
    + "module.train = types.MethodType(lambda self, mode=True: self, module)  # torch forbids what the exporter calls\n"
    + 'options = {{"opset_version" if name == "opset" else name: value for name, value in OPTIONS.items()}}\n'
    + 'torch.onnx.export(module, inputs, "{target}", dynamo=False, **options)\n',
    ("litert-torch", "pt2"): "import litert_torch\n"
    + _pt2(1)
    + MODULE
    + 'if OPTIONS.get("channels_last"):\n'
    + "    pictures = [place for place, tensor in enumerate(inputs) if tensor.ndim == 4]\n"
    + "    inputs = tuple(tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor for tensor in inputs)\n"
    + "    module = litert_torch.to_channel_last_io(module, args=pictures)\n"
    + 'litert_torch.convert(module, inputs).export("{target}")\n',
    ("nobuco", "pt2"): _pt2(1)
    + "\nfrom torch_replay import replayable  # the program's operators as the functions of torch that nobuco knows\n\n"
    + "module = replayable(program)\n"
    + DECLARED.format(name="nobuco")
    + "\norder = nobuco.ChannelOrder.TENSORFLOW\n"
    + 'if not OPTIONS.get("channels_last", True):\n'
    + "    order = nobuco.ChannelOrder.PYTORCH\n"
    + "free = {{tensor: (None, *tensor.shape[1:]) for tensor in inputs}}\n"
    + "network = nobuco.pytorch_to_keras(\n"
    + "    module,\n"
    + "    args=list(inputs),\n"
    + '    input_shapes=free if OPTIONS.get("free_batch", FREE_BATCH) else None,\n'
    + "    inputs_channel_order=order,\n"
    + "    outputs_channel_order=order,\n"
    + '    trace_shape=OPTIONS.get("trace_shape", False),\n'
    + ")\n",
    ("tflite_converter", "keras"): "import keras\nimport tensorflow as tf\n\n"
    + 'converter = tf.lite.TFLiteConverter.from_keras_model(keras.saving.load_model("{source}"))\n'
    + TFLITE,
    ("tflite_converter", "saved_model"): "import tensorflow as tf\n\n"
    + 'converter = tf.lite.TFLiteConverter.from_saved_model("{source}")\n'
    + TFLITE,
    ("tflite_converter", "frozen_graph"): "import tensorflow as tf\n\n"
    + FROZEN
    + 'wrapped = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(graph, name=""), [])\n'
    + "element = wrapped.graph.as_graph_element\n"
    + "function = wrapped.prune([element(name) for name in starts], [element(name) for name in ends])\n"
    + "converter = tf.lite.TFLiteConverter.from_concrete_functions([function], function)\n"
    + TFLITE,
    ("tf2onnx", "saved_model"): "import subprocess\nimport sys\n\n"
    + "from tf2onnx import tf_loader\n\n"
    + '_, starts, ends = tf_loader.from_saved_model("{source}", None, None)\n'
    + COMMAND.replace("{kind}", '"--saved-model", "{source}"'),
    ("tf2onnx", "tflite"): "import subprocess\nimport sys\n\n"
    + "from ai_edge_litert.interpreter import Interpreter\n\n"
    + 'interpreter = Interpreter("{source}")\n'
    + 'starts = [item["name"] for item in interpreter.get_input_details()]\n'
    + 'ends = [item["name"] for item in interpreter.get_output_details()]\n'
    + COMMAND.replace("{kind}", '"--tflite", "{source}"'),
    ("tf2onnx", "frozen_graph"): "import subprocess\nimport sys\n\nimport tensorflow as tf\n\n"
    + FROZEN
    + COMMAND.replace("{kind}", '"--graphdef", "{source}", "--inputs", ",".join(starts), "--outputs", ",".join(ends)'),
    ("tf2onnx", "keras"): "import keras\nimport tensorflow as tf\nimport tf2onnx\n\n"
    + 'model = keras.saving.load_model("{source}")\n'
    + "signature = [tf.TensorSpec(item.shape, item.dtype, name=item.name) for item in model.inputs]\n"
    + 'options = {{name: OPTIONS[name] for name in ("opset", "target") if OPTIONS.get(name)}}\n'
    + 'if OPTIONS.get("inputs_as_nchw"):\n'
    + '    options["inputs_as_nchw"] = [item.name for item in model.inputs]\n'
    + 'if OPTIONS.get("outputs_as_nchw"):\n'
    + '    options["outputs_as_nchw"] = list(model.output_names)\n'
    + 'tf2onnx.convert.from_keras(model, signature, output_path="{target}", **options)\n',
    ("onnx2tf", "onnx"): "import glob\nimport shutil\n\nimport onnx2tf\n\n"
    + "onnx2tf.convert(\n"
    + '    input_onnx_file_path="{source}", output_folder_path="made", non_verbose=True, **WANTED, **OPTIONS\n'
    + ")\n",
    ("onnx2keras", "onnx"): "import onnx\nfrom onnx2keras import onnx_to_keras\n\n"
    + 'model = onnx.load("{source}")\n'
    + "weights = {{item.name for item in model.graph.initializer}}\n"
    + "names = [item.name for item in model.graph.input if item.name not in weights]\n"
    + "network = onnx_to_keras(model, names, verbose=False, **OPTIONS)\n",
    ("tflite2onnx", "tflite"): 'import tflite2onnx\n\ntflite2onnx.convert("{source}", "{target}")\n',
    ("keras_export", "keras"): 'import keras\n\nkeras.saving.load_model("{source}").export("{target}")\n',
}
"""By tool and format of the source."""

BEFORE: Mapping[tuple[str, str], str] = {
    ("onnx2tf", "tf"): 'WANTED = {{"output_signaturedefs": True}}\n',
    ("onnx2tf", "keras"): 'WANTED = {{"output_keras_v3": True}}\n',
    ("onnx2tf", "tflite"): "WANTED = {{}}\n",
    ("nobuco", "tf"): "FREE_BATCH = True\n",
    ("nobuco", "keras"): "FREE_BATCH = False\n",
}
"""By tool and framework of the target: what stands before the conversion."""

BEHIND: Mapping[tuple[str, str], str] = {
    ("onnx2tf", "tf"): 'shutil.copytree("made", "{target}", dirs_exist_ok=True)\n',
    ("onnx2tf", "keras"): 'shutil.copy(glob.glob("made/*_float32_v3.keras")[0], "{target}")\n',
    ("onnx2tf", "tflite"): 'shutil.copy(glob.glob("made/*_float32.tflite")[0], "{target}")\n',
    ("nobuco", "tf"): 'network.export("{target}")\n',
    ("nobuco", "keras"): 'network.save("{target}", save_format="keras")\n',
    ("onnx2keras", "tf"): 'network.export("{target}")\n',
    ("onnx2keras", "keras"): 'network.save("{target}")\n',
}
"""By tool and framework of the target: what stands behind the conversion."""

IN_MEMORY: Mapping[str, str] = {"onnx2torch": "module"}
"""Tools whose result is run as it is: the name of a format in ``RUN``, and of the variable that holds it."""

BESIDE: Mapping[str, str] = {"nobuco": "convfault.converters.torch_replay"}
"""Modules, by tool, whose files lie beside the script: they know nothing of convfault."""

RUN: Mapping[str, str] = {
    "onnx": """def run_onnx(path, arrays):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return session.run(None, {item.name: array for item, array in zip(session.get_inputs(), arrays)})
""",
    "tflite": """def run_tflite(path, arrays):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite.python.interpreter import Interpreter

    interpreter = Interpreter(path)
    for item, array in zip(interpreter.get_input_details(), arrays):
        interpreter.resize_tensor_input(item["index"], array.shape)
    interpreter.allocate_tensors()
    for item, array in zip(interpreter.get_input_details(), arrays):
        scale, zero = item["quantization"]
        if scale:
            limits = np.iinfo(item["dtype"])
            array = np.clip(np.rint(array / scale) + zero, limits.min, limits.max)
        interpreter.set_tensor(item["index"], array.astype(item["dtype"]))
    interpreter.invoke()
    answers = []
    for item in interpreter.get_output_details():
        scale, zero = item["quantization"]
        values = interpreter.get_tensor(item["index"])
        answers.append((values.astype(np.float32) - zero) * scale if scale else values)
    return answers
""",
    "keras": """def run_keras(path, arrays):
    try:
        import keras

        network = keras.saving.load_model(path)
    except Exception:  # a file of Keras 2
        import tf_keras

        network = tf_keras.models.load_model(path)
    answer = network(arrays if len(arrays) > 1 else arrays[0], training=False)
    return [np.asarray(values) for values in (answer if isinstance(answer, (list, tuple)) else [answer])]
""",
    "saved_model": """def run_saved_model(path, arrays):
    import tensorflow as tf

    function = tf.saved_model.load(path).signatures["serving_default"]
    names = [item.name.split(":")[0] for item in function.inputs if item.dtype != tf.resource]
    keys = list(function.structured_input_signature[1])
    names = names if set(names) == set(keys) else keys
    answer = function(**{name: tf.constant(array) for name, array in zip(names, arrays)})
    return [values.numpy() for values in tf.nest.flatten(answer)]
""",
    "frozen_graph": """def run_frozen_graph(path, arrays):
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(open(path, "rb").read())
    read = {name.lstrip("^").split(":")[0] for node in graph.node for name in node.input}
    quiet = ("Placeholder", "Const", "NoOp", "Assert")
    wrapped = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(graph, name=""), [])
    operations = [wrapped.graph.get_operation_by_name(node.name) for node in graph.node]
    starts = [item.outputs[0] for item in operations if item.type == "Placeholder"]
    ends = [item for item in operations if item.name not in read and item.type not in quiet]
    function = wrapped.prune(starts, [tensor for item in ends for tensor in item.outputs])
    return [values.numpy() for values in function(*map(tf.constant, arrays))]
""",
    "pt2": """def run_pt2(path, arrays):
    import torch

    answer = torch.export.load(path).module()(*map(torch.from_numpy, arrays))
    return [values.detach().numpy() for values in (answer if isinstance(answer, (list, tuple)) else [answer])]
""",
    "module": """def run_module(module, arrays):
    answer = module(*map(torch.from_numpy, arrays))
    return [values.detach().numpy() for values in (answer if isinstance(answer, (list, tuple)) else [answer])]
""",
}
"""By format: a function from a path and the arrays, in the model's order, to the outputs, in the model's order."""


def conversion(tool: str, source_format: str, target: str) -> str | None:
    """The lines that convert by this tool from a format to a framework; None where none are known.

    They have ``{source}`` and ``{target}`` in them, for ``str.format``.
    """
    lines = CONVERT.get((tool, source_format))
    if lines is None:
        return None
    return BEFORE.get((tool, target), "") + lines + BEHIND.get((tool, target), "")
