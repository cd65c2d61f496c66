// DeviceOption: where a command does its work: --device for all, --device-memory for those that
// move an index there. check() comes before the work, so that a missing device is found at once.
#pragma once

#include <cstddef>
#include <string>

#include <nearcell/ivf/cell_index.h>

#include "session.h"

namespace nearcell::cli {

struct DeviceOption {
    std::string name = "cpu";
    size_t memory_bytes = 0;  // 0: not limited

    void add_option(CLI::App& command);
    void add_index_options(CLI::App& command);  // with --device-memory

    // Throw NoDevice, saying what to do, and InvalidArgument for a name that is none.
    void check() const;
    void move(CellIndex& index) const;
    // index/exact_search.h, on that device.
    SearchResult exact_search(const Vectors& base, const Vectors& queries, Metric metric, size_t k,
                              Session& session) const;
    // "cpu", "cuda:0": also where the command line says "cuda".
    std::string resolved() const;
    // "cpu", or what the device says of itself.
    std::string description() const;
};

}  // namespace nearcell::cli
