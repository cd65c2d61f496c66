"""Run by the Python that has torch: networks, their weights, and what torch makes of pictures.

Usage: torch_cases.py FOLDER. For every case of layers NAME.json (the list as nearcell.Network takes
it), NAME.safetensors and NAME.npz (the pictures, and the output of every layer). For every model
MODEL.pth or .safetensors and MODEL.npz (a picture, and outputs under nearcell's names).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch.nn import functional as F

ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "relu6": F.relu6, "silu": F.silu}


def layer(name, kind, **parts):
    return {"name": name, "kind": kind, **parts}


def convolution(name, channels, kernel, **parts):
    return layer(name, "convolution", channels=channels, kernel=kernel, **parts)


# Sizes are odd, channels no multiple of 16. Name: (height, width, channels), layers.
CASES = {
    "plain": ((13, 11, 3), [convolution("a", 19, 3), convolution("b", 33, 5, activation="relu")]),
    "strided": (
        (23, 17, 5),
        [
            convolution("a", 21, 3, stride=2, pad=1, activation="relu6"),
            convolution("b", 7, 2, stride=3, pad=1, activation="silu"),
        ],
    ),
    "same": (
        (22, 19, 3),
        [
            convolution("a", 20, 3, stride=2, padding="same", activation="relu"),
            convolution("b", 20, 5, stride=2, padding="same", groups=20, activation="relu6"),
            convolution("c", 9, 4, stride=1, padding="same"),
            layer("d", "max_pool", kernel=3, stride=2, padding="same"),
        ],
    ),
    "depthwise": (
        (15, 14, 37),
        [
            convolution("a", 37, 3, pad=1, groups=37, activation="relu6"),
            convolution("b", 37, 7, stride=2, pad=3, groups=37),
            convolution("c", 11, 1, activation="silu"),
        ],
    ),
    "grouped": (
        (9, 12, 12),
        [
            convolution("a", 20, 3, pad=1, groups=4, activation="relu"),
            convolution("b", 60, 3, groups=20, stride=2, pad=1),  # three of each channel
        ],
    ),
    "normed": (
        (10, 9, 6),
        [
            convolution("a", 18, 3, pad=1, batch_norm="n", epsilon=1e-3, activation="relu"),
            convolution("b", 18, 1, weights="elsewhere", batch_norm="m"),
            convolution("c", 18, 3, pad=1, groups=18, batch_norm="o", activation="silu"),
        ],
    ),
    "residual": (
        (11, 13, 8),
        [
            convolution("a", 24, 3, pad=1, activation="relu"),
            convolution("b", 24, 1, input="a"),
            convolution("c", 24, 3, pad=1, input="a", added="b", activation="relu"),
            layer("d", "add", added="a", activation="relu6"),
            convolution("e", 24, 3, pad=1, groups=24, added="d", activation="silu"),
        ],
    ),
    "pooled": (
        (21, 18, 17),
        [
            layer("a", "max_pool", kernel=3, stride=2, pad=1),
            layer("b", "mean_pool", kernel=2, stride=1, activation="silu"),
            layer("c", "max_pool", kernel=2, stride=2),
            layer("d", "mean_pool", kernel=3, stride=2, pad=1),
            layer("e", "global_mean"),
            layer("f", "softmax"),
        ],
    ),
    "linear": (
        (5, 7, 6),
        [
            convolution("a", 10, 3, stride=2),
            layer("b", "linear", channels=35, activation="relu"),
            layer("c", "linear", channels=35, added="b"),
            layer("d", "linear", channels=19),
            layer("e", "softmax"),
        ],
    ),
}

# Names of nearcell's layers, and torchvision's modules with the same output.
MODELS = {
    "resnet18": {
        "conv1": "relu",
        "layer1.1.conv2": "layer1.1",
        "layer3.0.downsample.0": "layer3.0.downsample",
        "layer3.0.conv2": "layer3.0",
        "avgpool": "avgpool",
        "fc": "fc",
    },
    "resnet50": {
        "maxpool": "maxpool",
        "layer2.0.conv3": "layer2.0",
        "layer3.5.conv3": "layer3.5",
        "avgpool": "avgpool",
        "fc": "fc",
    },
    "vgg16": {
        "features.16": "features.16",
        "classifier.3": "classifier.4",  # with its ReLU
        "classifier.6": "classifier.6",
    },
}


def write_safetensors(path, tensors):
    header, end = {}, 0
    for name, values in tensors.items():
        begin, end = end, end + 4 * values.numel()
        shape = list(values.shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            file.write(values.detach().contiguous().numpy().data)


def pad_same(x, one, value):
    """TensorFlow's: what is odd comes after."""
    pads = []
    for size in (x.shape[3], x.shape[2]):
        count = -(-size // one.get("stride", 1))
        total = max((count - 1) * one.get("stride", 1) + one["kernel"] - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


def convolve(x, one, weights):
    pad = one.get("pad", 0)
    if one.get("padding") == "same":
        x, pad = pad_same(x, one, 0.0), 0
    name, groups = one.get("weights", one["name"]), one.get("groups", 1)
    weight = torch.randn(one["channels"], x.shape[1] // groups, one["kernel"], one["kernel"])
    weight /= weight[0].numel() ** 0.5
    weights[f"{name}.weight"], weights[f"{name}.bias"] = weight, torch.randn(one["channels"]) / 4
    return F.conv2d(x, weight, weights[f"{name}.bias"], one.get("stride", 1), pad, 1, groups)


def normalize(x, one, weights):
    norm, count = one["batch_norm"], one["channels"]
    values = {
        "running_mean": torch.randn(count),
        "running_var": torch.rand(count) + 0.25,
        "weight": torch.rand(count) + 0.5,
        "bias": torch.randn(count),
    }
    weights.update({f"{norm}.{key}": value for key, value in values.items()})
    return F.batch_norm(x, *values.values(), eps=one.get("epsilon", 1e-5))


def pool(x, one):
    stride, pad = one.get("stride", 1), one.get("pad", 0)
    if one["kind"] == "mean_pool":
        return F.avg_pool2d(x, one["kernel"], stride, pad, count_include_pad=False)
    if one.get("padding") == "same":
        x = pad_same(x, one, -torch.inf)
    return F.max_pool2d(x, one["kernel"], stride, pad)


def run_layer(one, x, added, weights):
    """Draws the layer's weights and computes its output."""
    kind = one["kind"]
    if kind == "convolution":
        x = convolve(x, one, weights)
    elif kind == "linear":
        x = x.flatten(1)
        weight = torch.randn(one["channels"], x.shape[1]) / x.shape[1] ** 0.5
        weights[f"{one['name']}.weight"] = weight  # no bias: it need not be there
        x = F.linear(x, weight)[:, :, None, None]
    elif kind.endswith("pool"):
        x = pool(x, one)
    elif kind == "global_mean":
        x = x.mean((2, 3), keepdim=True)
    elif kind == "softmax":
        x = x.softmax(1)
    if "batch_norm" in one:
        x = normalize(x, one, weights)
    if added is not None:
        x = x + added
    return ACTIVATIONS[one.get("activation", "none")](x)


def make_case(folder, name, shape, layers):
    height, width, channels = shape
    maps, weights = {"input": torch.randn(3, channels, height, width)}, {}
    before = "input"
    for one in layers:
        x, added = maps[one.get("input", before)], maps.get(one.get("added"))
        before = one["name"]
        maps[before] = run_layer(one, x, added, weights)
    (folder / f"{name}.json").write_text(json.dumps({"input_shape": shape, "layers": layers}))
    write_safetensors(folder / f"{name}.safetensors", weights or {"unused": torch.zeros(1)})
    np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in maps.items()})


def randomize(model, picture):
    """Batch norms get the statistics of noise, then other scales; biases are no longer zero."""
    norms = [one for one in model.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    for one in norms:
        one.momentum = 1.0
    if norms:
        model.train()
        model(torch.randn(4, *picture.shape[1:])[:, :, ::2, ::2])
    for one in norms:
        one.running_mean += torch.randn_like(one.running_mean) * one.running_var.sqrt() / 4
        one.running_var *= torch.rand_like(one.running_var) + 0.5
    for one in model.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            one.weight.uniform_(0.4, 1.2)
        if getattr(one, "bias", None) is not None:
            one.bias.normal_(0, 0.2)
    return model.eval()


def make_model(folder, name, taps):
    picture = torch.randn(1, 3, 224, 224)
    model = randomize(getattr(torchvision.models, name)(), picture)
    found = {}
    for ours, theirs in taps.items():

        def keep(module, inputs, output, ours=ours):
            found[ours] = output.clone().numpy()

        dict(model.named_modules())[theirs].register_forward_hook(keep)
    model(picture)
    np.savez(folder / f"{name}.npz", input=picture.numpy(), **found)
    if name == "vgg16":  # half a gigabyte: once is enough
        write_safetensors(folder / f"{name}.safetensors", model.state_dict())
    else:
        zipped = name == "resnet50"
        torch.save(
            model.state_dict(), folder / f"{name}.pth", _use_new_zipfile_serialization=zipped
        )


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    for name, (shape, layers) in CASES.items():
        make_case(folder, name, shape, layers)
    for name, taps in MODELS.items():
        make_model(folder, name, taps)


if __name__ == "__main__":
    main()
