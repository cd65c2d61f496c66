// The parts of device_bench. Each writes lines as it goes and leaves out, saying so, what no time
// is left for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data.h"
#include "device_facts.h"
#include "measure.h"

namespace nearcell::bench {

// Full is for data-centre GPUs, medium for those of 8 GiB, tiny shows on the emulation that the
// program works.
struct Size {
    std::string_view name;
    size_t rows, dim;             // of the main data
    size_t wide_rows, wide_dim;   // of wider data; and half as many of twice the dimensions
    size_t cells, rows_per_cell;  // k-means: cells, and training rows of each
    size_t batches[3];            // queries of a call, the largest first
    size_t probes[6];
    size_t repetitions, calls;  // at most; of batches, and of single queries
    double seconds;             // that one measurement may take, about
    size_t copy_bytes;
    size_t pca_rows, pca_dim;
    size_t pictures;  // of a call
};
constexpr Size kSizes[] = {
    {"tiny",
     800,
     24,
     200,
     72,
     8,
     64,
     {16, 4, 1},
     {1, 2, 4, 5, 6, 8},
     1,
     3,
     0.1,
     1 << 16,
     300,
     32,
     4},
    {"medium",
     1000000,
     96,
     100000,
     768,
     4096,
     64,
     {10000, 100, 1},
     {8, 32, 44, 64, 104, 128},
     9,
     500,
     3,
     size_t{256} << 20,
     200000,
     512,
     256},
    {"full",
     10000000,
     96,
     1000000,
     768,
     16384,
     64,
     {10000, 100, 1},
     {8, 32, 44, 64, 104, 128},
     9,
     500,
     3,
     size_t{2} << 30,
     1000000,
     1024,
     1024},
};
constexpr size_t kNeighbours = 10, kMiddle = 1;  // of probes, for small batches
constexpr size_t kFewPictures = 8;               // of one core

struct Setting {
    const Size& size;
    const Budget& budget;
    DeviceFacts facts;
    double copy_rate;  // bytes a second
    Report& report;
    bool profile = false;  // searches run once, for a profiler, and nothing is timed
};

// Exact search: k = 10, batches of each size. Returns the neighbours of the queries.
std::vector<int64_t> bench_exact(const Setting& setting, const Rows& base, const Rows& queries);

void profile_exact(const Setting& setting, const Rows& base, const Rows& queries);

// What building costs: k-means, and assigning rows to cells.
void bench_build(const Setting& setting, const Rows& base);

// Fitting a PCA and transforming by it, from host memory, and fitting rows that the device keeps.
void bench_pca(const Setting& setting);

// The forward pass of a network with random weights, planes in and features out of host memory, and
// that of one core beside it.
void bench_network(const Setting& setting);

// Whole searches of an index by one spec, with recall against `truth`.
void bench_index(const Setting& setting, const std::string& spec, const Rows& base,
                 const Rows& queries, const std::vector<int64_t>& truth);

// Codes of 16, 8 and 4 bits a dimension beside each other, with byte tiles and without.
void bench_codes(const Setting& setting, const Rows& base, const Rows& queries);

}  // namespace nearcell::bench
