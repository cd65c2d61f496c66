// What a benchmark of a device must say of it: model, driver, what it should reach, and how fast it
// copies. Thread safety: one thread.
#pragma once

#include <cstddef>
#include <string>

namespace nearcell::bench {

struct DeviceFacts {
    std::string model;
    int architecture = 0, processors = 0;
    double memory_bytes = 0;
    int driver = 0, runtime = 0;       // as CUDA numbers them: 13000 is 13.0; 0: emulated
    double most_clock_mhz = 0;         // of the processors; 0: not known
    double peak_bytes_per_second = 0;  // as the maker says; 0: not known here
    double peak_products = 0;          // FLOP/s of bfloat16 on tensor cores, dense; 0: not known
};

// Of the device that is selected.
DeviceFacts device_facts();
// Bytes read and written a second, of copies of so many bytes within the device: the best of ten.
double copy_rate(size_t bytes);

}  // namespace nearcell::bench
