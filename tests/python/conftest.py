"""Where the tests find their helpers and the module under test; what is made once for all."""

import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
try:
    import nearcell  # noqa: F401
except ImportError:
    sys.path.insert(0, str(HERE.parents[1] / "build" / "python"))


@pytest.fixture(scope="session")
def lite0_weights(tmp_path_factory):
    """EfficientNet-Lite0's file, alone in a folder that $NEARCELL_WEIGHTS may name."""
    from nearcell import weights

    path = tmp_path_factory.mktemp("weights") / f"{weights.MODEL}.safetensors"
    try:
        return weights.convert(output=path)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def fashion_features(lite0_weights):
    """Features of 10,000 picture files; the longest step of the Python tests."""
    from picture_features import extract_fashion, room

    with tempfile.TemporaryDirectory(dir=room()) as folder:
        yield extract_fashion(lite0_weights, Path(folder))
