"""Where the tests find their helpers and the module under test."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
try:
    import nearcell  # noqa: F401
except ImportError:
    sys.path.insert(0, str(HERE.parents[1] / "build" / "python"))
