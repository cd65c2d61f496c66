"""One adapter a file: how each engine of vs_peers.py is built, swept and searched."""

# Name: module, class. Nothing is imported here: vs_peers.py first sets the libraries' threads.
ENGINES = {
    "nearcell": ("peers.nearcell_engine", "NearcellEngine"),
    "faiss": ("peers.faiss_cpu", "FaissEngine"),
    "hnswlib": ("peers.hnswlib_graph", "HnswlibEngine"),
    "usearch": ("peers.usearch_graph", "UsearchEngine"),
    "scann": ("peers.scann_tree", "ScannEngine"),
    "svs": ("peers.svs_vamana", "SvsEngine"),
    "rabitqlib": ("peers.rabitqlib_graph", "RabitqEngine"),
}
