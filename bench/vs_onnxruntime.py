"""Pictures a second of a network's forward pass, ours and onnxruntime's, one thread, in turns.

Both get the same planes and must give the same features (largest difference, relative to the
largest value). Ratios are round by round: onnxruntime's time over ours, the median, the least and
the most.

Usage: vs_onnxruntime.py --weights EFFICIENTNET_LITE0.safetensors [--rounds N] [--pictures N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import nearcell
import numpy as np
import onnxruntime
from metrics import in_turns, spread
from peers import onnx_models
from peers.report import about_machine


def race(model: str, weights: Path, onnx: bytes, options: argparse.Namespace) -> None:
    network = nearcell.Network(model, weights)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, settings, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    count = options.pictures
    planes = random.uniform(-1, 1, (count, 3, 224, 224)).astype(np.float32)

    def ours() -> np.ndarray:
        return network.forward(planes.reshape(count, -1), threads=1)

    def theirs() -> np.ndarray:
        # One at a time was onnxruntime's faster way: its activations stay in the caches.
        return np.concatenate(
            [session.run(None, {"x": planes[i : i + 1]})[0] for i in range(count)]
        )

    expected = theirs()
    gap = np.abs(ours() - expected).max() / np.abs(expected).max()
    seconds = in_turns({"ours": ours, "theirs": theirs}, options.rounds, time.process_time)
    each = {name: values / count * 1e3 for name, values in seconds.items()}
    flops = 2 * network.multiply_adds / 1e9
    speed = flops / np.median(each["ours"]) * 1e3
    print(f"{model}: {flops:.2f} GFLOP a picture, largest relative difference {gap:.1e}")
    print(f"  ours {spread(each['ours'])} ms a picture ({speed:.0f} GFLOP/s)")
    print(f"  onnxruntime {spread(each['theirs'])} ms a picture")
    ratio = spread(seconds["theirs"] / seconds["ours"])
    print(f"  pictures a second, ours over onnxruntime's: {ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pictures", type=int, default=16)
    parser.set_defaults(threads=1)  # for the report
    options = parser.parse_args()
    print(about_machine(options), f"; onnxruntime {onnxruntime.__version__}", sep="")
    tensors = onnx_models.read_safetensors(options.weights)
    race("efficientnet-lite0", options.weights, onnx_models.efficientnet_lite0(tensors), options)
    random_weights: onnx_models.Tensors = {}
    model = onnx_models.resnet50(random_weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.safetensors"
        onnx_models.write_safetensors(path, random_weights)
        race("resnet50", path, model, options)


if __name__ == "__main__":
    main()
