// nearcell.choose_spec and what it returns.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>

#include <nearcell/index/choose_spec.h>

#include "arrays.h"
#include "bindings.h"
#include "calls.h"

namespace nearcell::python {
namespace {

SpecChoice choose(nb::handle base, const std::string& metric, nb::handle recall, nb::handle k,
                  nb::handle seconds, nb::handle queries, nb::handle max_bytes, nb::handle threads,
                  nb::handle seed, nb::handle progress) {
    const Rows rows(base, "base");
    std::optional<Rows> asked;
    if (!queries.is_none()) asked.emplace(queries, "queries");
    Call call(progress);
    ChooseSpecOptions options;
    options.metric = metric_argument(metric);
    options.recall = real_number(recall, "recall");
    options.k = whole_number(k, "k", 1);
    options.seconds = real_number(seconds, "seconds");
    if (asked) options.queries = asked->view();
    if (!max_bytes.is_none()) options.max_bytes = real_number(max_bytes, "max_bytes");
    options.threads = thread_count(threads);
    options.seed = whole_number(seed, "seed", 0);
    options.progress = call.progress();
    return call.run([&] { return choose_spec(rows.view(), options); });
}

std::string trial_repr(const SpecTrial& trial) {
    const std::string start = "SpecTrial(spec='" + trial.spec + "', ";
    if (!trial.not_tried.empty()) return start + "not_tried='" + trial.not_tried + "')";
    return start + (trial.reached ? "reached=True" : "reached=False") +
           ", recall=" + std::to_string(trial.recall) +
           ", queries_per_second=" + std::to_string(trial.queries_per_second) +
           ", bytes_per_vector=" + std::to_string(trial.bytes_per_vector) +
           ", build_seconds=" + std::to_string(trial.build_seconds) + ")";
}

}  // namespace

void bind_choose_spec(nb::module_& module) {
    nb::class_<SpecTrial>(module, "SpecTrial", "One candidate of choose_spec().")
        .def_ro("spec", &SpecTrial::spec, "For all of base; the sample's has fewer cells.")
        .def_ro("not_tried", &SpecTrial::not_tried, "Why it was not; empty: it was.")
        .def_ro("reached", &SpecTrial::reached, "Whether it reaches the recall asked for.")
        .def_ro("recall", &SpecTrial::recall, "Of queries that it was not tuned with.")
        .def_ro("queries_per_second", &SpecTrial::queries_per_second)
        .def_ro("bytes_per_vector", &SpecTrial::bytes_per_vector)
        .def_ro("build_seconds", &SpecTrial::build_seconds)
        .def("__repr__", &trial_repr);
    nb::class_<SpecChoice>(module, "SpecChoice", "What choose_spec() tried and chose.")
        .def_ro("spec", &SpecChoice::spec, "For Index(spec, dim).")
        .def_ro("reached", &SpecChoice::reached,
                "False: nothing tried reaches the recall asked for, and spec comes nearest.")
        .def_ro("sample_rows", &SpecChoice::sample_rows,
                "Rows of base that the candidates were built on.")
        .def_ro("tried", &SpecChoice::tried, "All candidates, also those with not_tried.")
        .def("__repr__", [](const SpecChoice& choice) {
            return "SpecChoice(spec='" + choice.spec +
                   (choice.reached ? "', reached=True)" : "', reached=False)");
        });
    module.def(
        "choose_spec", &choose, nb::arg("base").none(), nb::arg("metric") = "l2",
        nb::arg("recall").none() = 0.95, nb::arg("k").none() = 10, nb::arg("seconds").none() = 60,
        nb::arg("queries") = nb::none(), nb::arg("max_bytes") = nb::none(),
        nb::arg("threads") = nb::none(), nb::arg("seed").none() = 1234,
        nb::arg("progress") = nb::none(),
        nb::sig("def choose_spec(base: numpy.typing.ArrayLike, metric: typing.Literal['l2', 'ip', "
                "'cosine', 'l1'] = 'l2', recall: float = 0.95, k: int = 10, seconds: float = 60, "
                "queries: numpy.typing.ArrayLike | None = None, max_bytes: float | None = None, "
                "threads: int | None = None, seed: int = 1234, progress: "
                "collections.abc.Callable[[str, float, float], object] | None = None) -> "
                "SpecChoice"),
        "The index string that answers queries fastest at this recall, of some that are built on "
        "a sample of base, tuned and measured, for about so many seconds.\nqueries: like those to "
        "come; None holds out rows of base. max_bytes: a vector, its id included. Make an Index "
        "of the spec, train, fill and tune() it: probes belong to the size. It follows measured "
        "times, so another machine may choose another.");
}

}  // namespace nearcell::python
