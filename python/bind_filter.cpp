// IdFilter, and everything else that search(filter=...) understands.
#include <nanobind/operators.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "calls.h"

namespace nearcell::python {
namespace {

using nb::dlpack::dtype_code;

IdFilter from_mask(const Array& mask) {
    std::vector<uint8_t> bytes((mask.shape(0) + 7) / 8);
    const uint8_t* values = static_cast<const uint8_t*>(mask.data());
    for (size_t i = 0; i < mask.shape(0); ++i) {
        const bool allowed = values[static_cast<int64_t>(i) * mask.stride(0)] != 0;
        if (allowed) bytes[i / 8] = static_cast<uint8_t>(bytes[i / 8] | (1u << (i % 8)));
    }
    return IdFilter::bitset(bytes);
}

IdFilter from_bytes(nb::handle x) {
    const Array bytes = import_array(x, "bits");
    const nb::dlpack::dtype type = bytes.dtype();
    if (bytes.ndim() != 1 || type.code != static_cast<uint8_t>(dtype_code::UInt) ||
        type.bits != 8) {
        type_error("bits has dtype " + dtype_name(bytes) + " and " + std::to_string(bytes.ndim()) +
                   " dimensions, but must be a 1-d uint8 array: make one by " +
                   "numpy.packbits(mask, bitorder='little')");
    }
    std::vector<uint8_t> copy(bytes.shape(0));
    const uint8_t* values = static_cast<const uint8_t*>(bytes.data());
    for (size_t i = 0; i < copy.size(); ++i)
        copy[i] = values[static_cast<int64_t>(i) * bytes.stride(0)];
    return IdFilter::bitset(copy);
}

int64_t bound(nb::handle x, int64_t if_none) {
    if (x.is_none()) return if_none;
    return static_cast<int64_t>(whole_number(x, "filter", 0));
}

// As Python has it: one that ends before it starts is empty.
IdFilter half_open(int64_t first, int64_t last) {
    return IdFilter::range(first, std::max(first, last));
}

IdFilter from_slice(nb::handle slice) {
    const nb::object step = slice.attr("step");
    if (!step.is_none() && !step.equal(nb::int_(1))) {
        value_error("filter = " + nb::cast<std::string>(nb::repr(slice)) +
                    " has a step, but a slice of ids must not: pass numpy.arange(...)");
    }
    return half_open(bound(slice.attr("start"), 0),
                     bound(slice.attr("stop"), std::numeric_limits<int64_t>::max()));
}

IdFilter from_array(nb::handle x) {
    const Array array = import_array(x, "filter", "int64");
    const bool is_bool = array.dtype().code == static_cast<uint8_t>(dtype_code::Bool);
    if (is_bool && array.ndim() == 1) return from_mask(array);
    if (array.dtype().code == static_cast<uint8_t>(dtype_code::UInt) && array.dtype().bits == 8) {
        type_error(
            "filter has dtype uint8, which may mean bits or ids: pass IdFilter.bitset(bits), "
            "or ids.astype(numpy.int64)");
    }
    return IdFilter::list(Ids(x, "filter").span());
}

IdFilter from_range(nb::handle range) {
    const std::string text = "filter = " + nb::cast<std::string>(nb::repr(range));
    std::array<int64_t, 3> parts{};
    bool fits = true;
    for (size_t i = 0; i < 3; ++i) {
        const nb::object part = range.attr(std::array{"start", "stop", "step"}[i]);
        parts[i] = clipped_number(part, "filter");
        fits = fits && part.equal(nb::int_(parts[i]));
    }
    const auto [first, last, step] = parts;
    if (step == 1) return half_open(first, last);
    if (!fits) {
        value_error(text +
                    " goes beyond 64-bit numbers, and the largest id is 2^63 - 2: end it "
                    "there");
    }
    const auto from = static_cast<uint64_t>(first), to = static_cast<uint64_t>(last),
               by = static_cast<uint64_t>(step);
    uint64_t count = 0;
    if (step > 0 && first < last) count = (to - from - 1) / by + 1;
    if (step < 0 && first > last) count = (from - to - 1) / (0 - by) + 1;
    const double bytes = 16.0 * static_cast<double>(count);  // here, and in the filter
    check(bytes <= machine_memory(), StatusCode::OutOfMemory, text, " lists ", count,
          " ids, which needs ", bytes / 1e9, " GB, but this machine has ", machine_memory() / 1e9,
          " GB: end it at the largest id stored");
    std::vector<int64_t> ids(count);
    for (uint64_t i = 0; i < count; ++i)
        ids[i] = static_cast<int64_t>(from + i * by);
    return IdFilter::list(ids);
}

}  // namespace

std::optional<IdFilter> filter_argument(nb::handle filter) {
    if (filter.is_none()) return std::nullopt;
    if (nb::isinstance<IdFilter>(filter)) return nb::cast<IdFilter>(filter);
    const nb::handle range_type(reinterpret_cast<PyObject*>(&PyRange_Type));
    if (nb::isinstance(filter, range_type)) return from_range(filter);
    if (nb::isinstance<nb::slice>(filter)) return from_slice(filter);
    const nb::object set_type = nb::module_::import_("collections.abc").attr("Set");
    if (nb::isinstance(filter, set_type)) {  // keys of a dict, too
        return IdFilter::list(Ids(nb::list(filter), "filter").span());
    }
    if (nb::isinstance<nb::list>(filter) || nb::isinstance<nb::tuple>(filter)) {
        if (nb::len(filter) == 0) return IdFilter::list({});
    }
    return from_array(filter);
}

void bind_filter(nb::module_& module) {
    nb::class_<IdFilter>(module, "IdFilter",
                         "Which ids a search may return. Made from bits, a range or a list; "
                         "~filter allows the others.\n"
                         "search() also takes a bool mask (element i allows id i), a range, a "
                         "slice, or ids themselves.")
        .def_static(
            "bitset", [](nb::handle bits) { return from_bytes(bits); }, nb::arg("bits").none(),
            nb::sig("def bitset(bits: numpy.typing.ArrayLike) -> IdFilter"),
            "Bit i % 8 of byte i // 8 allows id i, as numpy.packbits(mask, bitorder='little') "
            "makes them; ids beyond the bits are refused.")
        .def_static(
            "range",
            [](nb::handle first, nb::handle last) {
                return IdFilter::range(clipped_number(first, "first"),
                                       clipped_number(last, "last"));
            },
            nb::arg("first").none(), nb::arg("last").none(),
            nb::sig("def range(first: int, last: int) -> IdFilter"), "Allows first <= id < last.")
        .def_static(
            "list", [](nb::handle ids) { return IdFilter::list(Ids(ids, "ids").span()); },
            nb::arg("ids").none(), nb::sig("def list(ids: numpy.typing.ArrayLike) -> IdFilter"),
            "Allows the listed ids.")
        .def("__invert__", &IdFilter::complement, "The same ids the other way round.")
        .def(
            "__contains__",
            [](const IdFilter& self, nb::handle id) {
                return self.allows(clipped_number(id, "id"));
            },
            nb::arg("id").none(), nb::sig("def __contains__(self, id: int) -> bool"));
}

}  // namespace nearcell::python
