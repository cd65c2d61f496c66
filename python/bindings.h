// The parts of the module, one function each, and what they share.
#pragma once

#include <nanobind/nanobind.h>

#include <optional>
#include <string>

#include <nearcell/core/id_filter.h>
#include <nearcell/core/search_result.h>

namespace nearcell::python {

namespace nb = nanobind;

// All of the module, under whatever name it has.
void bind_all(nb::module_& module);

void bind_choose_spec(nb::module_& module);
void bind_devices(nb::module_& module);
void bind_extract(nb::module_& module);
void bind_filter(nb::module_& module);
void bind_index(nb::module_& module);
void bind_kmeans(nb::module_& module);
void bind_pca(nb::module_& module);
void bind_io(nb::module_& module);

// What search(filter=...) accepts, see Index.search; nothing for None.
std::optional<IdFilter> filter_argument(nb::handle filter);

// (scores, ids), both queries x k.
nb::tuple scores_and_ids(SearchResult& result);

double machine_memory();  // bytes
// Throws MemoryError when queries x k results cannot fit into this machine's memory.
void check_result_size(size_t queries, size_t k);

}  // namespace nearcell::python
