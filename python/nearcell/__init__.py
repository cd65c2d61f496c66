"""Approximate nearest neighbours, cell by cell.

    index = nearcell.Index("IVF1024,PQ16,RFlat", dim=128)
    index.train(x)
    index.add(x)
    scores, ids = index.search(queries, k=10)

Vectors are numpy arrays or anything with DLPack on the CPU: float32, float16, bfloat16, int8 and
uint8 are read where they lie; float64, 16-bit integers, lists and unusual strides are copied once.
index.to("cuda:0") moves an index to a GPU (devices() lists them); queries that lie there are
searched where they are, and their results stay there.
Scores are squared distances ("l2"), distances ("l1"), dot products ("ip") or cosines ("cosine").
"""

from ._nearcell import (
    Cancelled,
    CorruptFileError,
    IdFilter,
    Index,
    KMeans,
    Network,
    NoDevice,
    OperatingPoint,
    Pca,
    SpecChoice,
    SpecTrial,
    TrainReport,
    TuneResult,
    choose_spec,
    devices,
    exact_search,
    extract,
    info,
    read,
    write,
)
from ._nearcell import version as __version__

__all__ = [
    "Cancelled",
    "CorruptFileError",
    "IdFilter",
    "Index",
    "KMeans",
    "Network",
    "NoDevice",
    "OperatingPoint",
    "Pca",
    "SpecChoice",
    "SpecTrial",
    "TrainReport",
    "TuneResult",
    "__version__",
    "choose_spec",
    "devices",
    "exact_search",
    "extract",
    "info",
    "read",
    "write",
]

# The extension is a detail: what users see, and pickle writes, is nearcell.Index.
for _type in (
    Cancelled,
    CorruptFileError,
    IdFilter,
    Index,
    KMeans,
    Network,
    NoDevice,
    OperatingPoint,
    Pca,
    SpecChoice,
    SpecTrial,
    TrainReport,
    TuneResult,
):
    _type.__module__ = "nearcell"
del _type
