// nearcell.Index: CellIndex made from a factory string, as Python sees it.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/index/factory.h>
#include <nearcell/index/tune.h>

#include "arrays.h"
#include "bindings.h"
#include "calls.h"
#include "device_arrays.h"

namespace nearcell::python {
namespace {

// The spelling that the caller used is kept nowhere: spec() says what was built.
struct PyIndex {
    std::unique_ptr<CellIndex> index;
};

// Every use of an index goes through here: without the GIL, as another thread may hold the index
// while it waits for the GIL in a progress callback.
template <class Body>
auto quick(const PyIndex& self, const char* operation, Body&& body) {
    const Inside inside(self.index.get(), operation);
    Call call;
    return call.run([&] { return body(*self.index); });
}

PyIndex make(const std::string& spec, nb::handle dim, const std::string& metric, nb::handle seed) {
    IndexOptions options;
    options.dim = whole_number(dim, "dim", 1);
    options.metric = metric_argument(metric);
    options.seed = whole_number(seed, "seed", 0);
    return {make_index(spec, options)};
}

TrainReport train(PyIndex& self, nb::handle x, nb::handle threads, nb::handle progress) {
    const Rows rows(x, "x");
    Call call(progress);
    const CallOptions options{thread_count(threads), call.progress()};
    const Inside inside(self.index.get(), "train");
    return call.run([&] { return self.index->train(rows.view(), options); });
}

nb::object add(PyIndex& self, nb::handle x, nb::handle ids, nb::handle threads,
               nb::handle progress) {
    const Rows rows(x, "x");
    Call call(progress);
    const CallOptions options{thread_count(threads), call.progress()};
    const size_t count = rows.view().rows;
    const Inside inside(self.index.get(), "add");
    if (!ids.is_none()) {
        const Ids given(ids, "ids");
        if (given.span().size() != count) {
            value_error("ids has " + std::to_string(given.span().size()) + " entries, but x has " +
                        std::to_string(count) + " rows: pass one id a row, or None");
        }
        call.run([&] { self.index->add(rows.view(), given.span(), options); });
        return numpy_array(std::vector<int64_t>(given.span().begin(), given.span().end()), {count});
    }
    const int64_t first = call.run([&] { return self.index->add(rows.view(), {}, options); });
    std::vector<int64_t> assigned(count);
    for (size_t i = 0; i < count; ++i)
        assigned[i] = first + static_cast<int64_t>(i);
    return numpy_array(std::move(assigned), {count});
}

void update(PyIndex& self, nb::handle ids, nb::handle x, nb::handle threads, nb::handle progress) {
    const Ids given(ids, "ids");
    const Rows rows(x, "x");
    if (given.span().size() != rows.view().rows) {
        value_error("ids has " + std::to_string(given.span().size()) + " entries, but x has " +
                    std::to_string(rows.view().rows) + " rows: pass one id a row");
    }
    Call call(progress);
    const CallOptions options{thread_count(threads), call.progress()};
    const Inside inside(self.index.get(), "update");
    call.run([&] { self.index->update(given.span(), rows.view(), options); });
}

nb::dict stats_dict(const SearchStats& stats, const nb::object& counts) {
    nb::dict out;
    out["probes"] = stats.probes;
    out["rerank"] = stats.rerank;
    out["scanned"] = stats.scanned;
    out["reranked"] = stats.reranked;
    out["rerank_skipped"] = stats.rerank_skipped;
    out["plan"] = stats.plan;
    out["counts"] = counts;
    return out;
}

float margin_argument(nb::handle margin) {
    const double value = real_number(margin, "margin");
    const auto narrow = static_cast<float>(value);
    if (std::isinf(narrow)) {
        value_error("margin = " + nb::cast<std::string>(nb::repr(margin)) +
                    " must be at least 0 and at most 3.4e38: 1 is the codes' own bound");
    }
    return narrow;
}

float cutoff_argument(nb::handle cutoff) {
    if (cutoff.is_none()) return 0;
    const float value = static_cast<float>(real_number(cutoff, "cutoff"));
    if (value <= 0) {
        value_error("cutoff = " + nb::cast<std::string>(nb::repr(cutoff)) +
                    " must be above 0: pass None for the index's default, inf for no cutoff");
    }
    return value;
}

// Queries and results in the memory of the index's GPU.
nb::object search_on_gpu(const PyIndex& self, nb::handle queries, const SearchOptions& options,
                         nb::handle stream, nb::handle out, bool stats, Call& call) {
    const std::string name =
        quick(self, "search", [](const CellIndex& index) { return index.device(); });
    if (name == "cpu") {
        type_error("queries lies on a GPU, but the index is on the cpu: call index.to(\"" +
                   gpu_of(queries) + "\"), or copy the queries, for example by .cpu()");
    }
    const Device& device = *find_device(name);
    const Stream order(stream);
    const DeviceRows rows(queries, "queries", name, order);
    const size_t count = rows.view().rows;
    const DeviceResults results = out.is_none() ? DeviceResults(device, count, options.k)
                                                : DeviceResults(out, name, count, options.k, order);
    int64_t* counts = nullptr;
    nb::object counted;
    if (stats) counted = new_device_counts(device, count, counts);
    DeviceBatch batch;
    batch.queries = rows.view();
    batch.scores = results.scores();
    batch.ids = results.ids();
    batch.counts = reinterpret_cast<uint64_t*>(counts);
    batch.on_device = true;
    batch.stream = order.handle();
    const Inside inside(self.index.get(), "search");
    const SearchStats did = call.run([&] { return self.index->search_into(batch, options); });
    if (!stats) return nb::make_tuple(results.scores_array(), results.ids_array());
    return nb::make_tuple(results.scores_array(), results.ids_array(), stats_dict(did, counted));
}

nb::object search(const PyIndex& self, nb::handle queries, nb::handle k, nb::handle probes,
                  nb::handle rerank, nb::handle margin, nb::handle cutoff, nb::handle filter,
                  nb::handle threads, bool stats, nb::handle progress, nb::handle stream,
                  nb::handle out) {
    const std::optional<IdFilter> allowed = filter_argument(filter);
    Call call(progress);
    SearchOptions options;
    options.k = whole_number(k, "k", 1);
    options.probes = whole_number(probes, "probes", 1, 0);
    options.rerank = whole_number(rerank, "rerank", 1, 0);
    options.margin = margin_argument(margin);
    options.cutoff = cutoff_argument(cutoff);
    options.filter = allowed ? &*allowed : nullptr;
    options.threads = thread_count(threads);
    options.progress = call.progress();
    if (!gpu_of(queries).empty())
        return search_on_gpu(self, queries, options, stream, out, stats, call);
    if (!stream.is_none() || !out.is_none())
        type_error(
            "stream and out are for queries on a GPU: leave them out, or copy queries there");
    const Rows rows(queries, "queries");
    check_result_size(rows.view().rows, options.k);
    const Inside inside(self.index.get(), "search");
    SearchResult result = call.run([&] { return self.index->search(rows.view(), options); });
    nb::tuple found = scores_and_ids(result);
    if (!stats) return found;
    std::vector<int64_t> counts(result.counts.begin(), result.counts.end());
    const nb::object counted = numpy_array(std::move(counts), {result.counts.size()});
    return nb::make_tuple(found[0], found[1], stats_dict(result.stats, counted));
}

PyIndex& move_to(PyIndex& self, const std::string& device, nb::handle memory_bytes,
                 bool rerank_on_host) {
    DeviceOptions options;
    options.memory_bytes = whole_number(memory_bytes, "memory_bytes", 0);
    options.rerank_on_host = rerank_on_host;
    quick(self, "to", [&](CellIndex& index) { index.to(device, options); });
    return self;
}

nb::object range_search(const PyIndex& self, nb::handle queries, nb::handle radius,
                        nb::handle probes, nb::handle filter, nb::handle threads,
                        nb::handle progress) {
    const Rows rows(queries, "queries");
    const std::optional<IdFilter> allowed = filter_argument(filter);
    Call call(progress);
    SearchOptions options;
    options.probes = whole_number(probes, "probes", 1, 0);
    options.filter = allowed ? &*allowed : nullptr;
    options.threads = thread_count(threads);
    options.progress = call.progress();
    const float limit = static_cast<float>(real_number(radius, "radius"));
    const Inside inside(self.index.get(), "range_search");
    RangeResult result =
        call.run([&] { return self.index->range_search(rows.view(), limit, options); });
    const size_t hits = result.ids.size(), bounds = result.offsets.size();
    return nb::make_tuple(
        numpy_array(std::vector<int64_t>(result.offsets.begin(), result.offsets.end()), {bounds}),
        numpy_array(std::move(result.scores), {hits}), numpy_array(std::move(result.ids), {hits}));
}

nb::object reconstruct(const PyIndex& self, nb::handle ids) {
    const Ids given(ids, "ids");
    const size_t rows = given.span().size(), dim = self.index->dim();
    std::vector<float> out(rows * dim);
    quick(self, "reconstruct", [&](const CellIndex& index) {
        index.reconstruct(given.span(), {out.data(), rows, dim});
    });
    return numpy_array(std::move(out), {rows, dim});
}

TuneResult tune_index(PyIndex& self, nb::handle queries, nb::handle truth, nb::handle recall,
                      nb::handle k, nb::handle threads, nb::handle progress) {
    const Rows rows(queries, "queries");
    const Ids ids(truth, "truth", true);
    Call call(progress);
    TuneOptions options;
    options.recall = real_number(recall, "recall");
    options.k = whole_number(k, "k", 1);
    options.threads = thread_count(threads);
    options.progress = call.progress();
    const Inside inside(self.index.get(), "tune");
    return call.run([&] { return tune(*self.index, rows.view(), ids.matrix(), options); });
}

nb::dict index_stats(const PyIndex& self) {
    const IndexStats stats =
        quick(self, "stats", [](const CellIndex& index) { return index.stats(); });
    nb::dict out;
    out["spec"] = stats.spec;
    out["size"] = stats.size;
    out["cells"] = stats.cells;
    out["largest_cell"] = stats.largest_cell;
    out["empty_cells"] = stats.empty_cells;
    out["imbalance"] = stats.imbalance;
    out["bytes_per_vector"] = stats.bytes_per_vector;
    out["code_bytes"] = stats.code_bytes;
    out["rerank_bytes"] = stats.rerank_bytes;
    out["memory_bytes"] = stats.memory_bytes;
    out["device_bytes"] = stats.device_bytes;
    out["default_probes"] = stats.default_probes;
    out["default_rerank"] = stats.default_rerank;
    out["default_cutoff"] = stats.default_cutoff;
    out["backend"] = stats.backend;
    return out;
}

nb::object centroids(const PyIndex& self) {
    std::vector<float> values =
        quick(self, "centroids", [](const CellIndex& index) { return index.centroids(); });
    const size_t cells = values.empty() ? 0 : self.index->options().cells;
    const size_t dim = cells == 0 ? 0 : values.size() / cells;
    return numpy_array(std::move(values), {cells, dim});
}

nb::object codec_parameters(const PyIndex& self) {
    std::vector<float> values = quick(
        self, "codec_parameters", [](const CellIndex& index) { return index.codec_parameters(); });
    const size_t count = values.size();
    return numpy_array(std::move(values), {count});
}

void set_trained(PyIndex& self, nb::handle given, nb::handle parameters) {
    std::optional<FloatRows> rows;
    if (!given.is_none()) rows.emplace(given, "centroids");
    const std::vector<float> values = floats(parameters, "codec_parameters");
    try {
        quick(self, "set_trained", [&](CellIndex& index) {
            index.set_trained(rows ? rows->view() : MatrixView<const float>(), values);
        });
    } catch (const Error& error) {
        if (error.code() != StatusCode::Corrupt) throw;
        value_error(std::string("codec_parameters cannot be used: ") + error.what());
    }
}

std::string index_repr(const PyIndex& self) {
    return quick(self, "repr", [](const CellIndex& index) {
        return "nearcell.Index('" + index.spec() + "', dim=" + std::to_string(index.dim()) +
               ", metric='" + std::string(metric_name(index.metric())) + "', " +
               std::to_string(index.size()) + " vectors" +
               (index.is_trained() ? ")" : ", not trained)");
    });
}

PyIndex open_index(nb::handle path, bool mmap) {
    const std::string name = path_argument(path);
    Call call;
    try {
        return call.run([&] { return PyIndex{CellIndex::open(name, mmap)}; });
    } catch (const Error& error) {
        throw_file_error(error);
    }
}

nb::bytes to_bytes(const PyIndex& self) {
    const std::vector<uint8_t> bytes =
        quick(self, "to_bytes", [](const CellIndex& index) { return index.to_bytes(); });
    return nb::bytes(bytes.data(), bytes.size());
}

PyIndex from_bytes(const nb::bytes& bytes) {
    const uint8_t* data = static_cast<const uint8_t*>(bytes.data());
    const size_t size = bytes.size();
    Call call;
    return call.run(
        [&] { return PyIndex{CellIndex::from_bytes(std::vector<uint8_t>(data, data + size))}; });
}

// For copies and pickle: the bytes, and beside them what a subclass keeps in its attributes.
nb::object state_of(nb::handle self) {
    nb::object bytes = to_bytes(nb::cast<const PyIndex&>(self));
    const nb::object attributes = nb::getattr(self, "__dict__", nb::none());
    if (attributes.is_none()) return bytes;
    return nb::make_tuple(bytes, attributes);
}

void set_state(nb::pointer_and_handle<PyIndex> self, nb::handle state) {
    nb::object bytes = nb::borrow(state);
    if (nb::isinstance<nb::tuple>(state)) {
        bytes = state[0];
        self.h.attr("__dict__").attr("update")(state[1]);
    }
    new (self.p) PyIndex(from_bytes(nb::cast<nb::bytes>(bytes)));
}

size_t set_default(PyIndex& self, nb::handle value, const char* name, bool probes) {
    const size_t number = whole_number(value, name, probes ? 1 : 0);
    quick(self, name, [&](CellIndex& index) {
        if (probes) return index.set_defaults(number, index.default_rerank());
        index.set_defaults(index.default_probes(), number, index.default_cutoff());
    });
    return number;
}

std::string point_repr(const OperatingPoint& point) {
    return "OperatingPoint(probes=" + std::to_string(point.probes) +
           ", rerank=" + std::to_string(point.rerank) + ", cutoff=" + std::to_string(point.cutoff) +
           ", recall=" + std::to_string(point.recall) +
           ", queries_per_second=" + std::to_string(point.queries_per_second) + ")";
}

void bind_results(nb::module_& module) {
    nb::class_<TrainReport>(module, "TrainReport",
                            "What training did; nothing is sampled silently.")
        .def_ro("rows_given", &TrainReport::rows_given)
        .def_ro("rows_used_for_cells", &TrainReport::rows_used_for_cells)
        .def_ro("rows_used_for_codec", &TrainReport::rows_used_for_codec)
        .def_ro("empty_splits", &TrainReport::empty_splits)
        .def_ro("cells_objective", &TrainReport::cells_objective)
        .def("__repr__", [](const TrainReport& report) {
            return "TrainReport(rows_given=" + std::to_string(report.rows_given) +
                   ", rows_used_for_cells=" + std::to_string(report.rows_used_for_cells) +
                   ", rows_used_for_codec=" + std::to_string(report.rows_used_for_codec) + ")";
        });
    nb::class_<OperatingPoint>(module, "OperatingPoint",
                               "One setting of an index, measured by tune().")
        .def_ro("probes", &OperatingPoint::probes)
        .def_ro("rerank", &OperatingPoint::rerank)
        .def_ro("cutoff", &OperatingPoint::cutoff)
        .def_ro("recall", &OperatingPoint::recall)
        .def_ro("queries_per_second", &OperatingPoint::queries_per_second)
        .def("__repr__", &point_repr);
    nb::class_<TuneResult>(module, "TuneResult", "What tune() tried and chose.")
        .def_ro("chosen", &TuneResult::chosen, "The setting that the index now uses by default.")
        .def_ro(
            "reached", &TuneResult::reached,
            "False: no setting of those tried reached the recall; re-ranking is of at most 64 k.")
        .def_ro("tried", &TuneResult::tried, "All settings, in the order tried.")
        .def_ro("pareto", &TuneResult::pareto, "Those not beaten in both recall and speed.")
        .def("__repr__", [](const TuneResult& result) {
            return "TuneResult(chosen=" + point_repr(result.chosen) +
                   (result.reached ? ", reached=True)" : ", reached=False)");
        });
}

using IndexClass = nb::class_<PyIndex>;

void bind_building(IndexClass& index) {
    index
        .def(
            "__init__",
            [](PyIndex* self, const std::string& spec, nb::handle dim, const std::string& metric,
               nb::handle seed) { new (self) PyIndex(make(spec, dim, metric, seed)); },
            nb::arg("spec"), nb::arg("dim").none(), nb::arg("metric") = "l2",
            nb::arg("seed").none() = 1234,
            nb::sig("def __init__(self, spec: str, dim: int, metric: typing.Literal['l2', 'ip', "
                    "'cosine', 'l1'] = 'l2', seed: int = 1234) -> None"))
        .def(
            "train", &train, nb::arg("x").none(), nb::arg("threads") = nb::none(),
            nb::arg("progress") = nb::none(),
            nb::sig(
                "def train(self, x: numpy.typing.ArrayLike, threads: int | None = None, progress: "
                "collections.abc.Callable[[str, float, float], object] | None = None) -> "
                "TrainReport"),
            "Learns cells, codes and transforms from rows of x. Indexes of plain floats need none.")
        .def("add", &add, nb::arg("x").none(), nb::arg("ids") = nb::none(),
             nb::arg("threads") = nb::none(), nb::arg("progress") = nb::none(),
             nb::sig("def add(self, x: numpy.typing.ArrayLike, ids: numpy.typing.ArrayLike | None "
                     "= None, "
                     "threads: int | None = None, progress: collections.abc.Callable[[str, float, "
                     "float], "
                     "object] | None = None) -> numpy.typing.NDArray[numpy.int64]"),
             "Stores rows under these ids (distinct, not negative, not stored yet) or under the "
             "next "
             "unused ones; returns the ids. All rows are added, or none.")
        .def("update", &update, nb::arg("ids").none(), nb::arg("x").none(),
             nb::arg("threads") = nb::none(), nb::arg("progress") = nb::none(),
             nb::sig(
                 "def update(self, ids: numpy.typing.ArrayLike, x: numpy.typing.ArrayLike, "
                 "threads: int "
                 "| None = None, progress: collections.abc.Callable[[str, float, float], object] | "
                 "None = None) -> None"),
             "Replaces the vectors of stored ids; KeyError when one is missing, then none is "
             "changed.")
        .def(
            "remove",
            [](PyIndex& self, nb::handle ids) {
                const Ids given(ids, "ids");
                return quick(self, "remove",
                             [&](CellIndex& cells) { return cells.remove(given.span()); });
            },
            nb::arg("ids").none(), nb::sig("def remove(self, ids: numpy.typing.ArrayLike) -> int"),
            "Removes what is stored of these ids; returns how many were.")
        .def(
            "set_trained", &set_trained, nb::arg("centroids").none(),
            nb::arg("codec_parameters") = nb::none(),
            nb::sig(
                "def set_trained(self, centroids: numpy.typing.ArrayLike | None, codec_parameters: "
                "numpy.typing.ArrayLike | None = None) -> None"),
            "Replaces training by parts made elsewhere, in the form of centroids and "
            "codec_parameters. For cosine, centroids have length one.");
}

void bind_searching(IndexClass& index) {
    index
        .def(
            "search", &search, nb::arg("queries").none(), nb::arg("k").none(),
            nb::arg("probes") = nb::none(), nb::arg("rerank") = nb::none(),
            nb::arg("margin").none() = 1.0f, nb::arg("cutoff") = nb::none(),
            nb::arg("filter") = nb::none(), nb::arg("threads") = nb::none(),
            nb::arg("stats") = false, nb::arg("progress") = nb::none(),
            nb::arg("stream") = nb::none(), nb::arg("out") = nb::none(),
            "The k nearest stored vectors of each query: (scores, ids), best first, ties by "
            "smaller id; a missing neighbour has id -1 and the worst finite score. Order and ties "
            "are those of scores as computed, which roundings and estimates may carry past 1 or -1 "
            "(cosine) or below 0 (l2): these become 1, -1 or 0 afterwards. With stats=True also a "
            "dict of what was done: probes (cells looked into, a query), rerank (candidates scored "
            "again at most, a query; 0: as error bounds say), of all queries together scanned "
            "(codes scored), reranked (candidates scored again) and rerank_skipped (those whose "
            "error bound made that unnecessary); plan (how the loops went, in words), counts (an "
            "array: neighbours found, a query).\nprobes: cells looked into; rerank: candidates "
            "scored again; None takes the index's defaults. margin: with SQ8, and with RaBitQ, a "
            "re-rank store and no "
            "rerank, how many times its error bound an estimate may be off and its vector still be "
            "scored exactly. cutoff: leaves out those of the probes that lie far from the query "
            "for how "
            "near its k-th best vector of the nearest cell is, more of them the smaller it is; l2 "
            "and "
            "cosine only. None takes the default that tune() found, or, with probes, leaves out "
            "none. "
            "filter: "
            "IdFilter, bool mask, range, slice, or ids; without probes, a query that finds fewer "
            "than k looks into all cells (but those on a GPU).\nQueries in the memory of the GPU "
            "that the "
            "index is on (anything with DLPack, of torch or cupy for example) are not copied, and "
            "results stay there: objects with __dlpack__, for torch.from_dlpack and the like, or "
            "out, a pair (scores, ids) of float32 and int64 arrays of queries x k. All is in the "
            "order of stream: an address, a stream of torch, cupy or cuda.core, or None, the "
            "legacy "
            "default stream; other streams must wait for it. Such queries are not looked through "
            "for NaN.")
        .def("to", &move_to, nb::arg("device"), nb::arg("memory_bytes").none() = 0,
             nb::arg("rerank_on_host") = false, nb::rv_policy::none,
             nb::sig("def to(self, device: str, memory_bytes: int = 0, rerank_on_host: bool = "
                     "False) -> Index"),
             "Moves the work to a GPU, 'cuda:0' for example, or back to the 'cpu'; returns the "
             "index. What is stored stays in host memory; the GPU holds a copy for searches, made "
             "by the first one after a change, which with them takes memory_bytes at most (0: all "
             "of its memory but a tenth). Where the re-rank store does not fit into that, or with "
             "rerank_on_host, it stays in host memory. NoDevice when there is no such GPU.")
        .def(
            "range_search", &range_search, nb::arg("queries").none(), nb::arg("radius").none(),
            nb::arg("probes") = nb::none(), nb::arg("filter") = nb::none(),
            nb::arg("threads") = nb::none(), nb::arg("progress") = nb::none(),
            nb::sig(
                "def range_search(self, queries: numpy.typing.ArrayLike, radius: float, probes: "
                "int | "
                "None = None, filter: IdFilter | numpy.typing.ArrayLike | range | slice | "
                "collections.abc.Set[int] | None = "
                "None, threads: int | None = None, progress: collections.abc.Callable[[str, float, "
                "float], object] | None = None) -> tuple[numpy.typing.NDArray[numpy.int64], "
                "numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.int64]]"),
            "All stored vectors whose score is strictly better than radius: (offsets, scores, "
            "ids), "
            "those of query q at offsets[q] to offsets[q + 1].")
        .def("reconstruct", &reconstruct, nb::arg("ids").none(),
             nb::sig("def reconstruct(self, ids: numpy.typing.ArrayLike) -> "
                     "numpy.typing.NDArray[numpy.float32]"),
             "What is stored of these vectors, in their original space.")
        .def("tune", &tune_index, nb::arg("queries").none(), nb::arg("truth").none(),
             nb::arg("recall").none() = 0.95, nb::arg("k").none() = 10,
             nb::arg("threads") = nb::none(), nb::arg("progress") = nb::none(),
             nb::sig(
                 "def tune(self, queries: numpy.typing.ArrayLike, truth: numpy.typing.ArrayLike, "
                 "recall: float = 0.95, k: int = 10, threads: int | None = None, progress: "
                 "collections.abc.Callable[[str, float, float], object] | None = None) -> "
                 "TuneResult"),
             "Sets the default probes, cutoff and rerank to the cheapest that reach this recall of "
             "the "
             "true ids.");
}

void bind_looking(IndexClass& index) {
    index
        .def("__len__",
             [](const PyIndex& self) {
                 return quick(self, "len", [](const CellIndex& cells) { return cells.size(); });
             })
        .def(
            "__contains__",
            [](const PyIndex& self, nb::handle id) {
                const int64_t number = clipped_number(id, "id");
                return quick(self, "in",
                             [&](const CellIndex& cells) { return cells.contains(number); });
            },
            nb::arg("id").none(), nb::sig("def __contains__(self, id: int) -> bool"))
        .def("__repr__", &index_repr)
        .def("stats", &index_stats, nb::sig("def stats(self) -> dict[str, typing.Any]"),
             "What the index is and holds, by name.\n\n"
             "spec, size (vectors), cells, largest_cell, empty_cells, imbalance (of the cells: 1 "
             "when all are equally full); bytes_per_vector (all that is kept of one), of which "
             "code_bytes and rerank_bytes; memory_bytes (vectors, centroids, a file that was read, "
             "where ids are), device_bytes (on a GPU, with the scratch of searches; 0 before the "
             "first); default_probes, default_rerank, default_cutoff (inf: none); backend.")
        .def(
            "ids",
            [](const PyIndex& self) {
                std::vector<int64_t> all =
                    quick(self, "ids", [](const CellIndex& cells) { return cells.ids(); });
                const size_t count = all.size();
                return numpy_array(std::move(all), {count});
            },
            nb::sig("def ids(self) -> numpy.typing.NDArray[numpy.int64]"),
            "All stored ids, ascending.")
        .def_prop_ro("spec",
                     [](const PyIndex& self) {
                         return quick(self, "spec",
                                      [](const CellIndex& cells) { return cells.spec(); });
                     })
        .def_prop_ro(
            "device",
            [](const PyIndex& self) {
                return quick(self, "device", [](const CellIndex& cells) { return cells.device(); });
            },
            "Where the index works: 'cpu', 'cuda:0', ...")
        .def_prop_ro("dim", [](const PyIndex& self) { return self.index->dim(); })
        .def_prop_ro(
            "metric",
            [](const PyIndex& self) { return std::string(metric_name(self.index->metric())); })
        .def_prop_ro("is_trained",
                     [](const PyIndex& self) {
                         return quick(self, "is_trained",
                                      [](const CellIndex& cells) { return cells.is_trained(); });
                     })
        .def_prop_rw(
            "default_probes",
            [](const PyIndex& self) {
                return quick(self, "default_probes",
                             [](const CellIndex& cells) { return cells.default_probes(); });
            },
            [](PyIndex& self, nb::handle value) {
                set_default(self, value, "default_probes", true);
            },
            nb::for_setter(nb::sig("def default_probes(self, value: int, /) -> None")),
            "Cells that searches look into which name no probes. Setting it takes away "
            "default_cutoff, which tune() found for the probes before.")
        .def_prop_ro(
            "default_cutoff",
            [](const PyIndex& self) {
                return quick(self, "default_cutoff",
                             [](const CellIndex& cells) { return cells.default_cutoff(); });
            },
            "Of the default probes, as tune() set it; inf: none. Setting default_probes takes it "
            "away.")
        .def_prop_rw(
            "default_rerank",
            [](const PyIndex& self) {
                return quick(self, "default_rerank",
                             [](const CellIndex& cells) { return cells.default_rerank(); });
            },
            [](PyIndex& self, nb::handle value) {
                set_default(self, value, "default_rerank", false);
            },
            nb::for_setter(nb::sig("def default_rerank(self, value: int, /) -> None")),
            "0: none is set, so that the codes' bounds or 4 k, at least 64, decide.")
        .def_prop_ro("centroids", &centroids,
                     nb::sig("def centroids(self) -> numpy.typing.NDArray[numpy.float32]"),
                     "Cells x transformed dimension; where there is one cell the mean, with I8 and "
                     "RaBitQ, else no rows.")
        .def_prop_ro("codec_parameters", &codec_parameters,
                     nb::sig("def codec_parameters(self) -> numpy.typing.NDArray[numpy.float32]"),
                     "What training taught the codec, flat.");
}

void bind_files(IndexClass& index) {
    index
        .def(
            "save",
            [](const PyIndex& self, nb::handle path) {
                const std::string name = path_argument(path);
                try {
                    quick(self, "save", [&](const CellIndex& cells) { cells.save(name); });
                } catch (const Error& error) {
                    throw_file_error(error);
                }
            },
            nb::arg("path").none(), nb::sig("def save(self, path: str | os.PathLike[str]) -> None"),
            "Writes the index, atomically: on any error the old file stays.")
        .def_static("open", &open_index, nb::arg("path").none(), nb::arg("mmap") = false,
                    nb::sig("def open(path: str | os.PathLike[str], mmap: bool = False) -> Index"),
                    "Reads a saved index, checking every byte; mmap=True leaves the codes on disk.")
        .def("to_bytes", &to_bytes, nb::sig("def to_bytes(self) -> bytes"),
             "What save() would write.")
        .def_static("from_bytes", &from_bytes, nb::arg("data"),
                    nb::sig("def from_bytes(data: bytes) -> Index"), "The inverse of to_bytes().")
        .def("__getstate__", &state_of, nb::sig("def __getstate__(self) -> typing.Any"))
        .def("__setstate__", &set_state,
             nb::sig("def __setstate__(self, state: typing.Any, /) -> None"));
}

}  // namespace

void bind_index(nb::module_& module) {
    bind_results(module);
    IndexClass index(
        module, "Index",
        "An index over vectors, assembled from a factory string: 'Flat', 'IVF1024,Flat', "
        "'IVF1024,SQ8', 'PCA64,IVF1024,PQ16', 'OPQ16_64,IVF1024,PQ16x4fs,RFlat', "
        "'IVF1024,RaBitQ4', ... Safe to share by threads; calls release the GIL.");
    bind_building(index);
    bind_searching(index);
    bind_looking(index);
    bind_files(index);
}

}  // namespace nearcell::python
