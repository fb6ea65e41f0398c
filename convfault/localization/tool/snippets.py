"""Python lines that convert or run a model with the tool alone: what a reproducer's script is put together from.

``{source}`` and ``{target}`` are file names, ``{options}`` keyword arguments (each with a comma behind it), and
``OPTIONS`` in the scripts their dictionary.
"""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLE = """program = torch.export.load("{source}")
values = {{node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}}
inputs = tuple(
    torch.randn([side if isinstance(side, int) else 2 for side in values[name].shape]).to(values[name].dtype)
    for name in program.graph_signature.user_inputs
)
module = program.module()
"""
TFLITE = """for name in ("optimizations",):
    if OPTIONS.get(name):
        converter.optimizations = [getattr(tf.lite.Optimize, item) for item in OPTIONS[name]]
if OPTIONS.get("supported_types"):
    converter.target_spec.supported_types = [getattr(tf, item) for item in OPTIONS["supported_types"]]
if OPTIONS.get("supported_ops"):
    converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, item) for item in OPTIONS["supported_ops"]]
open("{target}", "wb").write(converter.convert())
"""
FROZEN = """graph = tf.compat.v1.GraphDef()
graph.ParseFromString(open("{source}", "rb").read())
read = {{name.lstrip("^").split(":")[0] for node in graph.node for name in node.input}}
starts = [node.name for node in graph.node if node.op == "Placeholder"]
ends = [node.name for node in graph.node if node.name not in read and node.op not in ("Placeholder", "Const", "NoOp")]
"""
COMMAND = """subprocess.run([sys.executable, "-m", "tf2onnx.convert", {flags}, "--output", "{target}"], check=True)
"""

DECLARED = """import torch

try:
    import {name}
except RuntimeError:  # torchvision's compiled operators do not fit this torch: declare those that its import looks for
    library = torch.library.Library("torchvision", "DEF")
    [library.define(f"{{{{name}}}}(Tensor dets, Tensor scores, float iou) -> Tensor") for name in ("nms", "qnms")]
    import {name}

"""
CONVERT: Mapping[tuple[str, str], str] = {
    ("onnx2torch", "onnx"): DECLARED.format(name="onnx2torch") + 'onnx2torch.convert("{source}", **OPTIONS)\n',
    ("torch_onnx", "pt2"): "import torch\n\n"
    + 'program = torch.export.load("{source}")\n'
    + 'torch.onnx.export(program, (), "{target}", dynamo=True, opset_version=OPTIONS.get("opset"), '
    + 'optimize=OPTIONS.get("optimize", True))\n',
    ("torch_onnx_torchscript", "pt2"): "import torch\n\n"
    + EXAMPLE
    + 'torch.onnx.export(module, inputs, "{target}", dynamo=False, opset_version=OPTIONS.get("opset"))\n',
    ("litert-torch", "pt2"): "import litert_torch\nimport torch\n\n"
    + EXAMPLE
    + 'litert_torch.convert(module, inputs).export("{target}")\n',
    ("nobuco", "pt2"): DECLARED.format(name="nobuco") + EXAMPLE + "nobuco.pytorch_to_keras(module, args=inputs)\n",
    ("tflite_converter", "keras"): "import keras\nimport tensorflow as tf\n\n"
    + 'converter = tf.lite.TFLiteConverter.from_keras_model(keras.saving.load_model("{source}"))\n'
    + TFLITE,
    ("tflite_converter", "saved_model"): "import tensorflow as tf\n\n"
    + 'converter = tf.lite.TFLiteConverter.from_saved_model("{source}")\n'
    + TFLITE,
    ("tflite_converter", "frozen_graph"): "import tensorflow as tf\n\n"
    + FROZEN
    + 'converter = tf.compat.v1.lite.TFLiteConverter.from_frozen_graph("{source}", starts, ends)\n'
    + TFLITE,
    ("tf2onnx", "saved_model"): "import subprocess\nimport sys\n\n"
    + COMMAND.replace("{flags}", '"--saved-model", "{source}"'),
    ("tf2onnx", "tflite"): "import subprocess\nimport sys\n\n" + COMMAND.replace("{flags}", '"--tflite", "{source}"'),
    ("tf2onnx", "frozen_graph"): "import subprocess\nimport sys\n\nimport tensorflow as tf\n\n"
    + FROZEN
    + 'names = [",".join(f"{{name}}:0" for name in side) for side in (starts, ends)]\n'
    + COMMAND.replace("{flags}", '"--graphdef", "{source}", "--inputs", names[0], "--outputs", names[1]'),
    ("tf2onnx", "keras"): "import keras\nimport tensorflow as tf\nimport tf2onnx\n\n"
    + 'model = keras.saving.load_model("{source}")\n'
    + "signature = [tf.TensorSpec(item.shape, item.dtype, name=item.name) for item in model.inputs]\n"
    + 'tf2onnx.convert.from_keras(model, signature, opset=OPTIONS.get("opset"), output_path="{target}")\n',
    ("onnx2tf", "onnx"): 'import onnx2tf\n\nonnx2tf.convert(input_onnx_file_path="{source}", '
    + 'output_folder_path="{target}", **OPTIONS)\n',
    ("onnx2keras", "onnx"): "import onnx\nfrom onnx2keras import onnx_to_keras\n\n"
    + 'model = onnx.load("{source}")\n'
    + "weights = {{item.name for item in model.graph.initializer}}\n"
    + "names = [item.name for item in model.graph.input if item.name not in weights]\n"
    + "onnx_to_keras(model, names, **OPTIONS)\n",
    ("tflite2onnx", "tflite"): 'import tflite2onnx\n\ntflite2onnx.convert("{source}", "{target}")\n',
    ("keras_export", "keras"): 'import keras\n\nkeras.saving.load_model("{source}").export("{target}")\n',
}
"""By tool and format of the source."""

RUN: Mapping[str, str] = {
    "onnx": """def run_onnx(path, arrays):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = [item.name for item in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays)))[0]
""",
    "tflite": """def run_tflite(path, arrays):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    for detail, array in zip(interpreter.get_input_details(), arrays):
        interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), arrays):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
""",
    "keras": """def run_keras(path, arrays):
    import keras

    answer = keras.saving.load_model(path)(arrays if len(arrays) > 1 else arrays[0], training=False)
    return np.asarray(answer[0] if isinstance(answer, (list, tuple)) else answer)
""",
    "saved_model": """def run_saved_model(path, arrays):
    import tensorflow as tf

    function = tf.saved_model.load(path).signatures["serving_default"]
    names = list(function.structured_input_signature[1])
    return next(iter(function(**dict(zip(names, map(tf.constant, arrays)))).values())).numpy()
""",
    "pt2": """def run_pt2(path, arrays):
    import torch

    answer = torch.export.load(path).module()(*map(torch.from_numpy, arrays))
    return (answer[0] if isinstance(answer, (list, tuple)) else answer).detach().numpy()
""",
}
"""By format: a function from a path and the arrays, in the model's order, to the first output."""
