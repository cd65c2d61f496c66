// Vector files, exact search, and what this build is.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <unistd.h>

#include <cstring>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/core/parallel.h>
#include <nearcell/index/exact_search.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/kernels/device.h>
#include <nearcell/storage/vector_file.h>

#include "arrays.h"
#include "bindings.h"
#include "calls.h"

namespace nearcell::python {
namespace {

ElementType element_argument(const std::string& name) {
    for (const ElementType type : {ElementType::Float32, ElementType::Float16,
                                   ElementType::BFloat16, ElementType::Int8, ElementType::UInt8}) {
        if (element_name(type) == name) return type;
    }
    value_error("raw_type = '" + name +
                "' is not known: use 'float32', 'float16', 'bfloat16', 'int8' or 'uint8'");
}

VectorFileOptions file_options(const std::optional<std::string>& format) {
    VectorFileOptions options;
    if (!format) return options;
    options.format = format_from_name(*format);
    if (!options.format) {
        value_error("format = '" + *format +
                    "' is not known: use 'fvecs', 'bvecs', 'ivecs', 'fbin', " +
                    "'u8bin', 'i8bin', 'ibin', 'npy', 'raw' or 'hdf5'");
    }
    return options;
}

// numpy has float16 but C++ has not: the bits travel as uint16 and are named on arrival.
nb::object vectors_to_numpy(VectorData data) {
    auto* owned = new VectorData(std::move(data));
    nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<VectorData*>(p); });
    static uint8_t nothing[4] = {};
    void* values = owned->bytes.size() == 0 ? nothing : owned->bytes.mutable_data();
    nb::dlpack::dtype type;
    type.lanes = 1;
    type.bits = static_cast<uint8_t>(8 * element_size(owned->type));
    switch (owned->type) {
        case ElementType::Float32:
        case ElementType::Float16:
            type.code = static_cast<uint8_t>(nb::dlpack::dtype_code::Float);
            break;
        case ElementType::BFloat16:
            type.code = static_cast<uint8_t>(nb::dlpack::dtype_code::UInt);
            break;
        case ElementType::Int8:
            type.code = static_cast<uint8_t>(nb::dlpack::dtype_code::Int);
            break;
        case ElementType::UInt8:
            type.code = static_cast<uint8_t>(nb::dlpack::dtype_code::UInt);
            break;
    }
    return nb::ndarray<nb::numpy>(values, {owned->rows, owned->cols}, owner, {}, type).cast();
}

nb::object read(nb::handle path, const std::optional<std::string>& format, nb::handle first_row,
                nb::handle max_rows, const std::string& raw_type, nb::handle raw_cols) {
    const std::string name = path_argument(path);
    VectorFileOptions options = file_options(format);
    options.first_row = whole_number(first_row, "first_row", 0);
    options.max_rows = whole_number(max_rows, "max_rows", 0, std::numeric_limits<size_t>::max());
    options.raw_type = element_argument(raw_type);
    options.raw_cols = whole_number(raw_cols, "raw_cols", 1, 0);
    Call call;
    try {
        const VectorFileInfo info = call.run([&] { return vector_file_info(name, options); });
        if (info.element == "int32" || info.element == "int64") {
            IdData ids = call.run([&] { return read_ids(name, options); });
            return numpy_array(std::move(ids.values), {ids.rows, ids.cols});
        }
        return vectors_to_numpy(call.run([&] { return read_vectors(name, options); }));
    } catch (const Error& error) {
        throw_file_error(error);
    }
}

bool holds_ids(const Array& array) {
    const nb::dlpack::dtype type = array.dtype();
    const bool integer = type.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Int) ||
                         type.code == static_cast<uint8_t>(nb::dlpack::dtype_code::UInt);
    return integer && type.bits >= 32;
}

void write(nb::handle path, nb::handle array, const std::optional<std::string>& format) {
    const std::string name = path_argument(path);
    const VectorFileOptions options = file_options(format);
    const Array imported = import_array(array, "array");
    Call call;
    try {
        if (holds_ids(imported)) {
            const Ids ids(array, "array", true);
            const MatrixView<const int64_t> view = ids.matrix();
            call.run([&] { write_ids(name, view.data, view.rows, view.cols, options); });
            return;
        }
        const Rows rows(array, "array");
        call.run([&] { write_vectors(name, rows.view(), options); });
    } catch (const Error& error) {
        throw_file_error(error);
    }
}

nb::tuple exact(nb::handle base, nb::handle queries, nb::handle k, const std::string& metric,
                nb::handle threads, nb::handle progress, const std::string& device) {
    const Rows stored(base, "base");
    const Rows asked(queries, "queries");
    const size_t count = whole_number(k, "k", 1);
    const Metric kind = metric_argument(metric);
    const int workers = thread_count(threads);
    check_result_size(asked.view().rows, count);
    Call call(progress);
    SearchResult result = call.run([&] {
        const Device* const gpu = find_device(device);
        if (gpu != nullptr)
            return gpu->exact_search(stored.view(), asked.view(), kind, count, workers);
        return exact_search(stored.view(), asked.view(), kind, count, workers, call.progress());
    });
    return scores_and_ids(result);
}

nb::dict info() {
    const std::string backend = cpu_backend().describe();
    std::istringstream words(backend);
    std::string device, isa;
    words >> device >> isa;
    nb::dict out;
    out["version"] = NEARCELL_VERSION;
    out["isa"] = isa;
    out["backend"] = backend;
    out["executor"] = executor_name();
    out["threads"] = resolve_threads(0);
    return out;
}

}  // namespace

nb::tuple scores_and_ids(SearchResult& result) {
    const size_t queries = result.queries, k = result.k;
    return nb::make_tuple(numpy_array(std::move(result.scores), {queries, k}),
                          numpy_array(std::move(result.ids), {queries, k}));
}

double machine_memory() {
    static const double memory =  // asking takes half a microsecond
        static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
    return memory;
}

void check_result_size(size_t queries, size_t k) {
    const double bytes = static_cast<double>(queries) * static_cast<double>(k) * 12.0;
    const double memory = machine_memory();
    check(bytes <= memory, StatusCode::OutOfMemory, "k = ", k, " for ", queries, " queries needs ",
          bytes / 1e9, " GB for the results, but this machine has ", memory / 1e9,
          " GB: use a smaller k or fewer queries at a time");
}

void bind_io(nb::module_& module) {
    module.def(
        "read", &read, nb::arg("path").none(), nb::arg("format") = nb::none(),
        nb::arg("first_row").none() = 0, nb::arg("max_rows") = nb::none(),
        nb::arg("raw_type") = "float32", nb::arg("raw_cols") = nb::none(),
        nb::sig("def read(path: str | os.PathLike[str], format: str | None = None, first_row: int "
                "= 0, max_rows: int | None = None, raw_type: str = 'float32', raw_cols: int | "
                "None = None) -> numpy.typing.NDArray[typing.Any]"),
        "Reads fvecs, bvecs, ivecs, fbin, u8bin, i8bin, ibin, npy, raw or HDF5 (file.hdf5:test "
        "names a data set) by suffix or by format. Ids come as int64, vectors in their own type.");
    module.def(
        "write", &write, nb::arg("path").none(), nb::arg("array").none(),
        nb::arg("format") = nb::none(),
        nb::sig("def write(path: str | os.PathLike[str], array: numpy.typing.ArrayLike, format: "
                "str | None = None) -> None"),
        "Writes rows of vectors, or of ids (32 or 64-bit integers), atomically.");
    module.def(
        "exact_search", &exact, nb::arg("base").none(), nb::arg("queries").none(),
        nb::arg("k").none(), nb::arg("metric") = "l2", nb::arg("threads") = nb::none(),
        nb::arg("progress") = nb::none(), nb::arg("device") = "cpu",
        nb::sig("def exact_search(base: numpy.typing.ArrayLike, queries: numpy.typing.ArrayLike, "
                "k: int, metric: typing.Literal['l2', 'ip', 'cosine', 'l1'] = 'l2', threads: int | "
                "None = None, progress: collections.abc.Callable[[str, float, float], object] | "
                "None = None, device: str = 'cpu') -> "
                "tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.int64]]"),
        "The true neighbours, (scores, ids), by looking at every row of base.");
    module.def("info", &info, nb::sig("def info() -> dict[str, typing.Any]"),
               "Version, instruction set, backend, executor and threads of this build.");
}

}  // namespace nearcell::python
