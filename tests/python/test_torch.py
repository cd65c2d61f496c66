"""Networks compared with torch: every kind of layer, and torchvision's ResNets and VGG whole.

torch is Debian's, which is not in the virtual environment: torch_cases.py is run by the system's
Python and leaves files.
"""

import json
import shutil
import subprocess
from pathlib import Path

import nearcell
import numpy as np
import pytest
from nearcell import weights

PYTHON = Path("/usr/bin/python3")
CASES = Path(__file__).with_name("torch_cases.py")
LAYERS = (
    "plain",
    "strided",
    "same",
    "depthwise",
    "grouped",
    "normed",
    "residual",
    "pooled",
    "linear",
)


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    """The folder with what torch made; 700 MB, gone when the tests end."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is not there")
    folder = tmp_path_factory.mktemp("torch")
    # -I: nothing of the environment that the tests run in.
    run = subprocess.run([PYTHON, "-I", CASES, folder], capture_output=True, text=True)
    if "No module named 'torch" in run.stderr:
        pytest.skip("torch is missing: apt-get install python3-torch python3-torchvision")
    assert run.returncode == 0, run.stderr
    yield folder
    shutil.rmtree(folder)


def assert_close(ours, theirs, most, what):
    """Of every picture, relative to its largest value."""
    theirs = theirs.reshape(ours.shape)
    gap = np.abs(ours - theirs).max(axis=1) / np.abs(theirs).max(axis=1)
    assert gap.max() <= most, f"{what}: {gap.max():.2g}"


@pytest.mark.parametrize("name", LAYERS)
def test_layers_agree_with_torch(cases, name):
    case = json.loads((cases / f"{name}.json").read_text())
    maps = np.load(cases / f"{name}.npz")
    pictures = maps["input"].reshape(len(maps["input"]), -1)
    for one in case["layers"]:
        network = nearcell.Network(
            case["layers"],
            cases / f"{name}.safetensors",
            tap=one["name"],
            input_shape=case["input_shape"],
        )
        channels, height, width = maps[one["name"]].shape[1:]
        assert network.output_shape == (height, width, channels)
        assert_close(network.forward(pictures), maps[one["name"]], 1e-5, one["name"])


def test_every_case_is_looked_at(cases):
    assert {path.stem for path in cases.glob("*.json")} == set(LAYERS)


@pytest.mark.parametrize("model", ["resnet18", "resnet50", "vgg16"])
def test_whole_networks_agree_with_torch(cases, model):
    file = cases / f"{model}.safetensors"
    try:
        if not file.exists():
            assert weights.main([str(cases / f"{model}.pth"), "-o", str(file)]) == 0
        maps = np.load(cases / f"{model}.npz")
        for tap in set(maps) - {"input"}:
            network = nearcell.Network(model, file, tap=tap)
            feature = network.forward(maps["input"].reshape(1, -1))
            assert np.count_nonzero(feature) > 0.1 * feature.size
            assert_close(feature, maps[tap], 1e-4, tap)
            del network  # before the next one: of VGG's weights two copies are enough
    finally:
        file.unlink(missing_ok=True)
