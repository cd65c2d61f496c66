#include "device_option.h"

#include <CLI/CLI.hpp>

#include <nearcell/index/exact_search.h>

namespace nearcell::cli {

void DeviceOption::add_option(CLI::App& command) {
    command.add_option("--device", name, "where to work: cpu, cuda or cuda:N (`nearcell devices`)")
        ->capture_default_str();
}

void DeviceOption::add_index_options(CLI::App& command) {
    add_option(command);
    command
        .add_option("--device-memory", memory_bytes,
                    "of the device, for the index and its searches, such as 8GiB; 0 = nearly all")
        ->transform(CLI::AsSizeValue(true));
}

void DeviceOption::check() const {
    const Device* const device = find_device(name);
    nearcell::check(device != nullptr || memory_bytes == 0, StatusCode::InvalidArgument,
                    "--device-memory is of a GPU, but --device is cpu: name a GPU, such as "
                    "--device cuda, or leave it out");
}

void DeviceOption::move(CellIndex& index) const {
    DeviceOptions options;
    options.memory_bytes = memory_bytes;
    if (name != "cpu") index.to(name, options);
}

SearchResult DeviceOption::exact_search(const Vectors& base, const Vectors& queries, Metric metric,
                                        size_t k, Session& session) const {
    if (const Device* const device = find_device(name)) {
        return device->exact_search(base, queries, metric, k, session.threads());
    }
    return nearcell::exact_search(base, queries, metric, k, session.threads(), session.progress());
}

std::string DeviceOption::description() const {
    const Device* const device = find_device(name);
    return device == nullptr ? "cpu" : device->describe();
}

std::string DeviceOption::resolved() const {
    const Device* const device = find_device(name);
    return device == nullptr ? "cpu" : device->name();
}

}  // namespace nearcell::cli
