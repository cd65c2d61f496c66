"""Pictures and weights that tests over pictures make for themselves: small, seeded, no photographs.

The weights are random; features of an untrained network still differ from picture to picture.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

# EfficientNet-Lite0: (expansion, kernel, channels, repeats) of each stage.
STAGES = (
    (1, 3, 16, 1),
    (6, 3, 24, 2),
    (6, 5, 40, 2),
    (6, 3, 80, 3),
    (6, 5, 112, 3),
    (6, 5, 192, 4),
    (6, 3, 320, 1),
)


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header, offset = {}, 0
    for name, values in tensors.items():
        end = offset + values.nbytes
        header[name] = {
            "dtype": "F32",
            "shape": list(values.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(values.tobytes() for values in tensors.values())


def write_random_weights(path: Path) -> None:
    """Weights for efficientnet-lite0, scaled so that activations neither vanish nor grow."""
    rng = np.random.default_rng(11)
    tensors: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int) -> None:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        tensors[name + ".weight"] = rng.standard_normal(shape, np.float32) * np.float32(scale)
        tensors[name + ".bias"] = rng.random(shape[0], np.float32) * np.float32(0.1)

    add("stem", 32, 3, 3, 3)
    channels, number = 32, 0
    for expansion, kernel, out, repeats in STAGES:
        for _ in range(repeats):
            prefix, wide = f"blocks.{number:02d}.", channels * expansion
            if expansion != 1:
                add(prefix + "expand", wide, channels, 1, 1)
            add(prefix + "depthwise", wide, 1, kernel, kernel)
            add(prefix + "project", out, wide, 1, 1)
            channels, number = out, number + 1
    add("head", 1280, channels, 1, 1)
    write_safetensors(path, tensors)


def bmp(pixels: np.ndarray) -> bytes:
    """A picture file of height x width x (red, green, blue); the width is a multiple of four."""
    height, width, _ = pixels.shape
    assert width % 4 == 0
    values = pixels[::-1, :, ::-1].astype(np.uint8).tobytes()
    head = struct.pack("<2sIII", b"BM", 54 + len(values), 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + values


def pattern(number: int) -> np.ndarray:
    """Pictures of which no two are alike, but those of consecutive numbers are similar."""
    y, x = np.mgrid[0:24, 0:32].astype(float)
    angle = 0.1 * number
    wave = np.sin(0.5 * (x * np.cos(angle) + y * np.sin(angle)) + 0.2 * number)
    channels = [127 + 120 * wave, 4.0 * y + 2 * number, 255 - 6.0 * x]
    pixels: np.ndarray = np.clip(np.stack(channels, axis=-1), 0, 255)
    return pixels
