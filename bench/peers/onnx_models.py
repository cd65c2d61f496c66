"""The networks that are raced against onnxruntime, as ONNX models, with weights in safetensors.

EfficientNet-Lite0 with the weights it is given, ResNet-50 with random ones (speed does not depend
on them, and batch norms keep activations in range), batch norms as nodes of their own.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Tensors = dict[str, NDArray[np.float32]]


def read_safetensors(path: Path) -> Tensors:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, one in header.items():
        first, last = (8 + size + offset for offset in one["data_offsets"])
        tensors[name] = np.frombuffer(data[first:last], np.float32).reshape(one["shape"])
    return tensors


def write_safetensors(path: Path, tensors: Tensors) -> None:
    header, offset = {}, 0
    for name, values in tensors.items():
        span = [offset, offset + values.nbytes]
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": span}
        offset = span[1]
    text = json.dumps(header).encode()
    body = b"".join(values.tobytes() for values in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


class Graph:
    """Nodes are appended; the last one's output is what the next reads."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.nodes: list[Any] = []
        self.last = "x"

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        self.last = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [self.last], **attributes))
        return self.last

    def conv(self, name: str, source: str, stride: int, pads: list[int], groups: int = 1) -> str:
        parts = [source, name + ".weight"]
        if name + ".bias" in self.tensors:
            parts.append(name + ".bias")
        return self.node("Conv", parts, strides=[stride] * 2, pads=pads, group=groups)

    def relu6(self, source: str) -> str:
        self.tensors |= {"zero": np.float32(0).reshape(()), "six": np.float32(6).reshape(())}
        return self.node("Clip", [source, "zero", "six"])

    def model(self) -> bytes:
        self.node("GlobalAveragePool", [self.last])
        self.node("Flatten", [self.last])
        used = {name for node in self.nodes for name in node.input}
        shape = ["n", 3, 224, 224]
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(v, k) for k, v in self.tensors.items() if k in used],
        )
        opset = [helper.make_opsetid("", 17)]
        return bytes(
            helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
        )


def same_pads(size: int, kernel: int, stride: int) -> list[int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return [total // 2, total // 2, total - total // 2, total - total // 2]


def efficientnet_lite0(tensors: Tensors) -> bytes:
    graph, size = Graph(tensors), 224
    # Per block: kernel, stride, whether the input is added.
    stages = [(3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4), (3, 1, 1)]
    graph.relu6(graph.conv("stem", "x", 2, same_pads(size, 3, 2)))
    size, number = size // 2, 0
    for kernel, first_stride, repeats in stages:
        for i in range(repeats):
            name, source = f"blocks.{number:02d}.", graph.last
            stride = first_stride if i == 0 else 1
            if name + "expand.weight" in tensors:
                graph.relu6(graph.conv(name + "expand", source, 1, [0] * 4))
            wide = len(tensors[name + "depthwise.weight"])
            pads = same_pads(size, kernel, stride)
            graph.relu6(graph.conv(name + "depthwise", graph.last, stride, pads, wide))
            graph.conv(name + "project", graph.last, 1, [0] * 4)
            if i > 0:
                graph.node("Add", [graph.last, source])
            size, number = size // stride, number + 1
    graph.relu6(graph.conv("head", graph.last, 1, [0] * 4))
    return graph.model()


def resnet50(tensors: Tensors, seed: int = 1) -> bytes:
    """Fills `tensors` with weights under torchvision's names."""
    random = np.random.default_rng(seed)
    graph = Graph(tensors)

    def conv(name: str, norm: str, source: str, shape: list[int], stride: int) -> str:
        spread = (2 / np.prod(shape[1:])) ** 0.5
        tensors[name + ".weight"] = (spread * random.standard_normal(shape)).astype(np.float32)
        parts = (".weight", ".bias", ".running_mean", ".running_var")
        for part in parts:
            shift = 1 if part in (".weight", ".running_var") else 0
            values = shift + 0.1 * random.standard_normal(shape[0])
            tensors[norm + part] = values.astype(np.float32)
        graph.conv(name, source, stride, [shape[2] // 2] * 4)
        return graph.node("BatchNormalization", [graph.last, *(norm + p for p in parts)])

    graph.node("Relu", [conv("conv1", "bn1", "x", [64, 3, 7, 7], 2)])
    graph.node("MaxPool", [graph.last], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for stage, (width, repeats) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], 1):
        for i in range(repeats):
            name, source = f"layer{stage}.{i}.", graph.last
            stride = 2 if i == 0 and stage > 1 else 1
            shortcut = source
            if i == 0:
                shape = [4 * width, channels, 1, 1]
                shortcut = conv(name + "downsample.0", name + "downsample.1", source, shape, stride)
            shapes = [[width, channels, 1, 1], [width, width, 3, 3], [4 * width, width, 1, 1]]
            last = source
            for j, shape in enumerate(shapes, 1):
                at = stride if j == 2 else 1
                last = conv(f"{name}conv{j}", f"{name}bn{j}", last, shape, at)
                if j == 3:
                    last = graph.node("Add", [last, shortcut])
                last = graph.node("Relu", [last])
            channels = 4 * width
    return graph.model()
