"""Networks from lists of layers: what they compute by hand, and what is wrong with a list."""

import nearcell
import numpy as np
import pytest
from nearcell import weights


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "w.safetensors"
    named = {"c.weight": np.full((2, 1, 1, 1), 2, np.float32), "c.bias": np.float32([0, -5])}
    weights.write_safetensors(path, {name: ("F32", values) for name, values in named.items()})
    return path


def convolution(**parts):
    return {"name": "c", "kind": "convolution", "channels": 2, **parts}


def network(layers, file, **options):
    return nearcell.Network(layers, file, **{"input_shape": (2, 3, 1), **options})


def test_a_list_of_layers(file):
    layers = [
        convolution(activation="relu"),
        {"name": "top", "kind": "max_pool", "kernel": 2},
        {"name": "mean", "kind": "global_mean"},
    ]
    one = network(layers, file)
    assert one.input_shape == (2, 3, 1) and one.output_shape == (1, 1, 2) and one.dim == 2
    assert one.layers == ["c", "top", "mean"] and one.multiply_adds == 12
    assert repr(one) == "Network(3 layers, tap='mean', dim=2)"
    picture = np.float32([[1, 2, 3, 6, 5, 4]])
    assert one.forward(picture).tolist() == [[11, 6]]
    pool = network(tuple(layers), str(file), tap="top")
    assert pool.output_shape == (1, 2, 2)
    assert pool.forward(picture).tolist() == [[12, 10, 7, 5]]


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ([], "at least one layer"),
        ([{"kind": "add"}], r"model\[0\] has no 'name'"),
        ([{"name": "c"}], r"model\[0\] has no 'kind'"),
        ([{"name": "c", "kind": "conv"}], "'conv' is not known: use one of convolution, linear"),
        ([convolution(kernal=3)], "'kernal'.*use name, kind, input, added, channels, kernel"),
        ([convolution(kernel=0)], r"model\[0\]\['kernel'\] = 0 must be at least 1"),
        ([convolution(kernel=2**63)], "largest number"),
        ([convolution(pad=-1)], r"\['pad'\] = -1"),
        ([convolution(activation="gelu")], "'gelu' is not known: use one of none, relu"),
        ([convolution(padding="valid")], "'valid' is not known: use one of explicit, same"),
        ([convolution(padding="same", pad=1)], "'same' pads by itself"),
        ([convolution(epsilon=-1)], "at least 0"),
        ([convolution(epsilon=float("inf"))], "finite"),
        ([convolution(groups=2)], "layer c: groups = 2 must divide"),
        ([convolution(kernel=3)], "layer c: a height of 2"),
        ([convolution(input="d")], "layer c reads d"),
        ([convolution(), convolution()], "another layer's"),
        (
            [convolution(), {"name": "s", "kind": "softmax", "kernel": 3}],
            "use name, kind, input, a",
        ),
        ([convolution(), {"name": "s", "kind": "add"}], "adds nothing"),
    ],
)
def test_wrong_lists_say_why(file, layers, problem):
    with pytest.raises(ValueError, match=problem):
        network(layers, file)


def test_wrong_types_say_what_is_wanted(file):
    for layers in (3, [3], ["convolution"], [convolution(channels="2")], [convolution(name=3)]):
        with pytest.raises(TypeError, match="model"):
            network(layers, file)
    with pytest.raises(TypeError, match="a key of"):
        network([{1: 2, **convolution()}], file)
    for shape in (None, (2, 3), "abc", 5, (2, 3, 0)):
        with pytest.raises(ValueError, match="input_shape"):
            network([convolution()], file, input_shape=shape)
    with pytest.raises(ValueError, match="weights = None"):
        network([convolution()], None)
    with pytest.raises(ValueError, match="input_shape"):
        network("resnet18", file)
    with pytest.raises(KeyError, match=r"d\.weight"):
        network([convolution(weights="d")], file)
    with pytest.raises(nearcell.CorruptFileError, match="shape"):
        network([convolution(channels=3)], file)
    with pytest.raises(ValueError, match="tap"):
        network([convolution()], file, tap="d")
