"""Index.to, arrays on a GPU, and what is said where there is none.

Searches of such arrays run in device_cases.py, on a device whose memory is the host's.
"""

import subprocess
import sys
from pathlib import Path

import nearcell
import numpy as np
import pytest
from gpu_arrays import OnGpu
from picture_case import write_safetensors
from support import built, uniform

D = 8
CASES = Path(__file__).with_name("device_cases.py")


@pytest.fixture(scope="module")
def index():
    return built("IVF4,Flat", uniform(300, D, 3))


def test_arrays_on_a_gpu():
    folder = Path(nearcell.__path__[0]).parent
    if not list(folder.glob("fake_nearcell.*")):
        pytest.skip(f"no fake_nearcell in {folder}: it is built with the C++ tests only")
    run = subprocess.run([sys.executable, CASES], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.split() == [
        "results_stay_there",
        "streams",
        "types_and_strides",
        "out",
        "host_arrays_and_other_devices",
        "the_rest",
    ]
    assert run.stderr == ""


def test_a_device_that_is_not_there(index):
    with pytest.raises(nearcell.NoDevice, match="cuda:4096.*cpu"):
        index.to("cuda:4096")
    with pytest.raises(ValueError, match="pass cpu, cuda, cuda:N"):
        index.to("gpu")
    with pytest.raises(ValueError, match="memory_bytes"):
        index.to("cpu", memory_bytes=-1)
    assert index.device == "cpu"
    assert index.to("cpu") is index
    with pytest.raises(nearcell.NoDevice, match="cuda:4096"):
        nearcell.exact_search(uniform(9, D, 1), uniform(2, D, 2), 3, device="cuda:4096")
    assert issubclass(nearcell.NoDevice, RuntimeError)
    assert nearcell.NoDevice.__module__ == "nearcell"


def test_devices_are_listed():
    for device in nearcell.devices():
        assert device["name"].startswith("cuda:")
        assert device["description"].startswith(device["name"])
        assert 0 <= device["free_bytes"] <= device["memory_bytes"]
    if not nearcell.devices():
        with pytest.raises(nearcell.NoDevice, match="cpu"):
            nearcell.Index("Flat", D).to("cuda")


def test_arrays_of_a_gpu_and_an_index_on_the_cpu(index):
    queries = OnGpu(uniform(4, D, 5))
    with pytest.raises(TypeError, match=r'on the cpu: call index.to\("cuda:0"\), or .*\.cpu\(\)'):
        index.search(queries, 3)
    assert queries.streams == []
    for call in (index.add, index.train, lambda x: index.range_search(x, 1.0)):
        with pytest.raises(TypeError, match=r"another device.*\.cpu\(\)"):
            call(queries)


def test_streams_and_out_are_for_arrays_on_a_gpu(index):
    queries = uniform(4, D, 5)
    out = (np.zeros((4, 3), np.float32), np.zeros((4, 3), np.int64))
    for options in ({"stream": 0}, {"out": out}):
        with pytest.raises(TypeError, match="for queries on a GPU"):
            index.search(queries, 3, **options)


def test_networks_on_a_device_that_is_not_there(tmp_path):
    layers = [{"name": "mean", "kind": "global_mean"}]
    write_safetensors(tmp_path / "w.safetensors", {"unused": np.zeros(1, np.float32)})
    network = nearcell.Network(layers, tmp_path / "w.safetensors", input_shape=(2, 2, 3))
    assert network.device == "cpu"
    with pytest.raises(nearcell.NoDevice, match="cuda:4096.*cpu"):
        network.to("cuda:4096")
    with pytest.raises(ValueError, match="memory_bytes"):
        network.to("cpu", memory_bytes=-1)
    assert network.to("cpu") is network and network.device == "cpu"
    assert network.forward(np.ones((1, 12), np.float32)).tolist() == [[1, 1, 1]]
    with pytest.raises(nearcell.NoDevice, match="cuda:4096"):
        nearcell.extract(tmp_path, device="cuda:4096")
