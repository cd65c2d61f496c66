// nearcell.KMeans and nearcell.Pca: the engine's own clustering and linear reduction, as
// estimators.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/pca/pca.h>
#include <nearcell/quantize/kmeans.h>

#include "arrays.h"
#include "bindings.h"
#include "calls.h"

namespace nearcell::python {
namespace {

struct PyKMeans {
    KMeansOptions options;
    // Shared, so that a call has one result to its end, whatever fit() does meanwhile.
    std::shared_ptr<const KMeansResult> result;

    std::shared_ptr<const KMeansResult> fitted() const {
        check(result != nullptr, StatusCode::NotTrained,
              "this KMeans has no centroids yet: call fit(x) first");
        return result;
    }
};

Seeding seeding_argument(const std::string& name) {
    if (name == "random") return Seeding::Random;
    if (name == "k-means++") return Seeding::PlusPlus;
    value_error("seeding = '" + name + "' is not known: use 'random' or 'k-means++'");
}

KMeansMethod method_argument(const std::string& name) {
    if (name == "auto") return KMeansMethod::Auto;
    if (name == "lloyd") return KMeansMethod::Lloyd;
    if (name == "hierarchical") return KMeansMethod::Hierarchical;
    if (name == "mini-batch") return KMeansMethod::MiniBatch;
    value_error("method = '" + name +
                "' is not known: use 'auto', 'lloyd', 'hierarchical' or 'mini-batch'");
}

void init_kmeans(PyKMeans* self, nb::handle clusters, const std::string& metric,
                 nb::handle iterations, const std::string& seeding, const std::string& method,
                 nb::handle seed, nb::handle redo, nb::handle max_points_per_cluster) {
    KMeansOptions options;
    options.clusters = whole_number(clusters, "clusters", 1);
    options.metric = metric_argument(metric);
    options.iterations = whole_number(iterations, "iterations", 1);
    options.seeding = seeding_argument(seeding);
    options.method = method_argument(method);
    options.seed = whole_number(seed, "seed", 0);
    options.redo = whole_number(redo, "redo", 1);
    options.max_points_per_cluster =
        whole_number(max_points_per_cluster, "max_points_per_cluster", 1, 0);
    new (self) PyKMeans{options, nullptr};
}

void fit_kmeans(PyKMeans& self, nb::handle x, nb::handle weights, nb::handle initial,
                nb::handle threads, nb::handle progress) {
    const Rows rows(x, "x");
    const std::vector<float> weight = floats(weights, "weights");
    std::optional<FloatRows> start;
    if (!initial.is_none()) start.emplace(initial, "initial");
    Call call(progress);
    KMeansOptions options = self.options;
    options.weights = weight;
    if (start) options.initial = start->view();
    options.threads = thread_count(threads);
    options.progress = call.progress();
    KMeansResult result =
        call.run([&] { return train_kmeans(rows.view(), options, cpu_backend()); });
    self.result = std::make_shared<const KMeansResult>(std::move(result));
}

// The nearest centroid of each row, a slice of rows at a time.
nb::object predict(const PyKMeans& self, nb::handle x, nb::handle threads) {
    constexpr size_t kRows = 8192;
    const Rows rows(x, "x");
    const Vectors& all = rows.view();
    const std::shared_ptr<const KMeansResult> result = self.fitted();
    const int workers = thread_count(threads);
    const Metric metric =
        self.options.metric == Metric::Cosine ? Metric::InnerProduct : self.options.metric;
    std::vector<int64_t> labels(all.rows);
    Call call;
    call.run([&] {
        check_dim(all, result->dim, "x");
        check_finite(all, "x", workers);
        std::vector<float> slice(std::min(kRows, all.rows) * all.cols);
        std::vector<uint32_t> found(std::min(kRows, all.rows));
        for (size_t first = 0; first < all.rows; first += kRows) {
            const size_t count = std::min(kRows, all.rows - first);
            const MatrixView<float> part(slice.data(), count, all.cols);
            read_rows(all, first, part);
            cpu_backend().assign(part, result->view(), metric, found.data(), nullptr, workers);
            std::copy_n(found.begin(), count, labels.begin() + static_cast<ptrdiff_t>(first));
        }
    });
    return numpy_array(std::move(labels), {all.rows});
}

// Rows are summed by the fitter; components are made from the sums when they are asked for. What
// threads share: one changes it at a time, and a call has one Pca to its end.
struct PcaSums {
    std::mutex mutex;  // taken without the GIL
    std::optional<Pca::Fitter> fitter;
    std::shared_ptr<const Pca> fitted;
    size_t dim = 0;
    std::atomic<size_t> rows = 0;
};
struct PyPca {
    PcaOptions options;
    std::shared_ptr<PcaSums> sums = std::make_shared<PcaSums>();

    std::shared_ptr<const Pca> pca() const {
        const std::shared_ptr<PcaSums> from = sums;
        const Inside inside(from.get(), "this Pca");
        Call call;
        return call.run([&] {
            const std::lock_guard lock(from->mutex);
            check(from->fitter.has_value(), StatusCode::NotTrained,
                  "this Pca has seen no rows yet: call fit(x) or partial_fit(x) first");
            if (!from->fitted)
                from->fitted = std::make_shared<const Pca>(from->fitter->finish(options));
            return from->fitted;
        });
    }
};

void partial_fit(PyPca& self, nb::handle x, nb::handle threads, nb::handle progress) {
    const Rows rows(x, "x");
    const int workers = thread_count(threads);
    const Vectors& all = rows.view();
    const PcaOptions& options = self.options;
    const std::shared_ptr<PcaSums> sums = self.sums;
    const Inside inside(sums.get(), "partial_fit");
    Call call(progress);
    call.run([&] {
        const std::lock_guard lock(sums->mutex);
        const bool first = !sums->fitter;
        if (first) {
            check(all.cols >= options.components, StatusCode::InvalidArgument,
                  "components = ", options.components, " is more than the ", all.cols,
                  " columns of x: ask for at most ", all.cols);
        } else {
            check_dim(all, sums->dim, "x");
        }
        check_finite(all, "x", workers);
        if (all.rows == 0) return;
        if (first) {
            Pca::Fitter fitter(all.cols);
            fitter.add(all, cpu_backend(), workers, call.progress());
            sums->fitter = std::move(fitter);
            sums->dim = all.cols;
        } else {
            sums->fitter->add(all, cpu_backend(), workers, call.progress());
        }
        sums->fitted.reset();
        sums->rows += all.rows;
    });
}

void fit_pca(PyPca& self, nb::handle x, nb::handle threads, nb::handle progress) {
    PyPca fresh;
    fresh.options = self.options;
    partial_fit(fresh, x, threads, progress);
    fresh.pca();
    self.sums = fresh.sums;
}

nb::object transform(PyPca& self, nb::handle x, nb::handle threads, bool inverse) {
    const char* name = inverse ? "y" : "x";
    const Rows rows(x, name);
    const int workers = thread_count(threads);
    const std::shared_ptr<const Pca> held = self.pca();
    const Pca& pca = *held;
    const size_t count = rows.view().rows, dim = inverse ? pca.dim() : pca.components();
    std::vector<float> out(count * dim);
    const MatrixView<float> view(out.data(), count, dim);
    Call call;
    call.run([&] {
        check_dim(rows.view(), inverse ? pca.components() : pca.dim(), name);
        check_finite(rows.view(), name, workers);
        if (inverse) {
            pca.inverse(rows.view(), view, cpu_backend(), workers);
        } else {
            pca.transform(rows.view(), view, cpu_backend(), workers);
        }
    });
    return numpy_array(std::move(out), {count, dim});
}

constexpr const char* kArray = " -> numpy.typing.NDArray[numpy.float32]";

nb::object vector_of(std::vector<float> values) {
    const size_t count = values.size();
    return numpy_array(std::move(values), {count});
}

}  // namespace

void bind_kmeans(nb::module_& module) {
    nb::class_<PyKMeans>(
        module, "KMeans",
        "k-means, the same bits for any number of threads. metric 'ip' and 'cosine' are "
        "spherical: centroids of length one.")
        .def(
            "__init__", &init_kmeans, nb::arg("clusters").none(), nb::arg("metric") = "l2",
            nb::arg("iterations").none() = 25, nb::arg("seeding") = "random",
            nb::arg("method") = "auto", nb::arg("seed").none() = 1234, nb::arg("redo").none() = 1,
            nb::arg("max_points_per_cluster").none() = 256,
            nb::sig(
                "def __init__(self, clusters: int, metric: typing.Literal['l2', 'ip', 'cosine', "
                "'l1'] "
                "= 'l2', iterations: int = 25, seeding: typing.Literal['random', 'k-means++'] = "
                "'random', method: typing.Literal['auto', 'lloyd', 'hierarchical', 'mini-batch'] = "
                "'auto', seed: int = 1234, redo: int = 1, max_points_per_cluster: int | None = "
                "256) "
                "-> None"),
            "max_points_per_cluster=None uses every row; otherwise more rows are sampled, and "
            "points_used "
            "says so.")
        .def(
            "fit",
            [](nb::object self, nb::handle x, nb::handle weights, nb::handle initial,
               nb::handle threads, nb::handle progress) {
                fit_kmeans(nb::cast<PyKMeans&>(self), x, weights, initial, threads, progress);
                return self;
            },
            nb::arg("x").none(), nb::arg("weights") = nb::none(), nb::arg("initial") = nb::none(),
            nb::arg("threads") = nb::none(), nb::arg("progress") = nb::none(),
            nb::sig(
                "def fit(self, x: numpy.typing.ArrayLike, weights: numpy.typing.ArrayLike | None = "
                "None, "
                "initial: numpy.typing.ArrayLike | None = None, threads: int | None = None, "
                "progress: "
                "collections.abc.Callable[[str, float, float], object] | None = None) -> KMeans"),
            "Finds the centroids of the rows of x; returns itself.")
        .def("predict", &predict, nb::arg("x").none(), nb::arg("threads") = nb::none(),
             nb::sig("def predict(self, x: numpy.typing.ArrayLike, threads: int | None = None) -> "
                     "numpy.typing.NDArray[numpy.int64]"),
             "The number of the nearest centroid of each row.")
        .def_prop_ro(
            "centroids",
            [](const PyKMeans& self) {
                const auto result = self.fitted();
                return numpy_array(result->centroids, {result->clusters, result->dim});
            },
            nb::sig("def centroids(self) -> numpy.typing.NDArray[numpy.float32]"))
        .def_prop_ro(
            "objective",
            [](const PyKMeans& self) {
                const auto result = self.fitted();
                return numpy_array(result->objective, {result->objective.size()});
            },
            nb::sig("def objective(self) -> numpy.typing.NDArray[numpy.float64]"),
            "After each iteration: the sum of squared distances, or of similarities where "
            "spherical.")
        .def_prop_ro("points_given",
                     [](const PyKMeans& self) { return self.fitted()->points_given; })
        .def_prop_ro("points_used", [](const PyKMeans& self) { return self.fitted()->points_used; })
        .def_prop_ro("empty_splits",
                     [](const PyKMeans& self) { return self.fitted()->empty_splits; });
}

void bind_pca(nb::module_& module) {
    static const std::string components = std::string("def components_(self)") + kArray;
    static const std::string mean = std::string("def mean_(self)") + kArray;
    static const std::string variance = std::string("def explained_variance_(self)") + kArray;
    static const std::string ratio = std::string("def explained_variance_ratio_(self)") + kArray;
    nb::class_<PyPca>(
        module, "Pca",
        "Principal component analysis; rows may come in pieces. whiten=True scales each "
        "component to variance one, with a floor of epsilon times the largest variance.")
        .def(
            "__init__",
            [](PyPca* self, nb::handle count, bool whiten, nb::handle epsilon) {
                PcaOptions options;
                options.components = whole_number(count, "components", 1);
                options.whiten = whiten;
                options.epsilon = real_number(epsilon, "epsilon");
                const double least = whiten ? kMinWhiteningEpsilon : 0;
                if (!(options.epsilon >= least) || options.epsilon > 1) {
                    value_error("epsilon = " + std::to_string(options.epsilon) + " must be " +
                                (whiten ? "1e-12" : "0") + " to 1: the default is 1e-6");
                }
                PyPca fresh;
                fresh.options = options;
                new (self) PyPca(std::move(fresh));
            },
            nb::arg("components").none(), nb::arg("whiten") = false,
            nb::arg("epsilon").none() = 1e-6,
            nb::sig(
                "def __init__(self, components: int, whiten: bool = False, epsilon: float = 1e-06) "
                "-> None"))
        .def(
            "fit",
            [](nb::object self, nb::handle x, nb::handle threads, nb::handle progress) {
                fit_pca(nb::cast<PyPca&>(self), x, threads, progress);
                return self;
            },
            nb::arg("x").none(), nb::arg("threads") = nb::none(), nb::arg("progress") = nb::none(),
            nb::sig(
                "def fit(self, x: numpy.typing.ArrayLike, threads: int | None = None, progress: "
                "collections.abc.Callable[[str, float, float], object] | None = None) -> Pca"),
            "Forgets earlier rows, takes these; returns itself.")
        .def(
            "partial_fit",
            [](nb::object self, nb::handle x, nb::handle threads, nb::handle progress) {
                partial_fit(nb::cast<PyPca&>(self), x, threads, progress);
                return self;
            },
            nb::arg("x").none(), nb::arg("threads") = nb::none(), nb::arg("progress") = nb::none(),
            nb::sig(
                "def partial_fit(self, x: numpy.typing.ArrayLike, threads: int | None = None, "
                "progress: collections.abc.Callable[[str, float, float], object] | None = None) "
                "-> Pca"),
            "Adds rows to those seen; returns itself.")
        .def(
            "transform",
            [](PyPca& self, nb::handle x, nb::handle threads) {
                return transform(self, x, threads, false);
            },
            nb::arg("x").none(), nb::arg("threads") = nb::none(),
            nb::sig("def transform(self, x: numpy.typing.ArrayLike, threads: int | None = None) -> "
                    "numpy.typing.NDArray[numpy.float32]"))
        .def(
            "inverse_transform",
            [](PyPca& self, nb::handle y, nb::handle threads) {
                return transform(self, y, threads, true);
            },
            nb::arg("y").none(), nb::arg("threads") = nb::none(),
            nb::sig("def inverse_transform(self, y: numpy.typing.ArrayLike, threads: int | None = "
                    "None) -> "
                    "numpy.typing.NDArray[numpy.float32]"))
        .def_prop_ro(
            "components_",
            [](PyPca& self) {
                const auto pca = self.pca();
                return numpy_array(pca->matrix(), {pca->components(), pca->dim()});
            },
            nb::sig(components.c_str()), "Orthonormal rows, by falling variance.")
        .def_prop_ro(
            "mean_", [](PyPca& self) { return vector_of(self.pca()->mean()); },
            nb::sig(mean.c_str()))
        .def_prop_ro(
            "explained_variance_", [](PyPca& self) { return vector_of(self.pca()->variances()); },
            nb::sig(variance.c_str()))
        .def_prop_ro(
            "explained_variance_ratio_",
            [](PyPca& self) { return vector_of(self.pca()->explained_variance_ratio()); },
            nb::sig(ratio.c_str()))
        .def_prop_ro("rows_seen", [](const PyPca& self) { return self.sums->rows.load(); });
}

}  // namespace nearcell::python
