// IdFilter, and everything else that search(filter=...) understands.
#include <nanobind/operators.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <limits>
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
    const Array array = import_array(x, "filter");
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
    const int64_t step = nb::cast<int64_t>(range.attr("step"));
    if (step == 1) {
        return half_open(nb::cast<int64_t>(range.attr("start")),
                         nb::cast<int64_t>(range.attr("stop")));
    }
    return IdFilter::list(
        Ids(nb::module_::import_("numpy").attr("asarray")(range, "int64"), "filter").span());
}

}  // namespace

std::optional<IdFilter> filter_argument(nb::handle filter) {
    if (filter.is_none()) return std::nullopt;
    if (nb::isinstance<IdFilter>(filter)) return nb::cast<IdFilter>(filter);
    const nb::handle range_type(reinterpret_cast<PyObject*>(&PyRange_Type));
    if (nb::isinstance(filter, range_type)) return from_range(filter);
    if (nb::isinstance<nb::slice>(filter)) return from_slice(filter);
    if (nb::isinstance<nb::set>(filter) || nb::isinstance<nb::frozenset>(filter)) {
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
            "range", [](int64_t first, int64_t last) { return IdFilter::range(first, last); },
            nb::arg("first"), nb::arg("last"), "Allows first <= id < last.")
        .def_static(
            "list", [](nb::handle ids) { return IdFilter::list(Ids(ids, "ids").span()); },
            nb::arg("ids").none(), nb::sig("def list(ids: numpy.typing.ArrayLike) -> IdFilter"),
            "Allows the listed ids.")
        .def("__invert__", &IdFilter::complement, "The same ids the other way round.")
        .def("__contains__", &IdFilter::allows, nb::arg("id"));
}

}  // namespace nearcell::python
