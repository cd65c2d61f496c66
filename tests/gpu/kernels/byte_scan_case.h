// Scans of byte tiles as tests see them: how one is started, and what it must offer.
#pragma once

#include <nearcell/gpu/kernels/narrow_lists.cuh>
#include <nearcell/gpu/kernels/scan_byte_tiles.cuh>

#include "byte_case.h"
#include "scan_case.h"

namespace nearcell::gpu {

// How a scan is started.
struct Start {
    dim3 grid = kGrid;
    unsigned group = kPairTile;
    unsigned sample = 0;
    unsigned* uppers = nullptr;
};

inline void scan_tiles(const ScanCase& scan, const TiledCase& tiles, const CandidateLists& lists,
                       const Start& start = {}) {
    const DeviceArray<float> limits(scan.limits);
    ByteScan job{};
    job.stored = tiles.stored();
    job.pairs = scan.pairs.pairs();
    job.lists = lists;
    job.sample = start.sample;
    job.uppers = start.uppers;
    job.queries = scan.values.data();
    job.limits = limits.data();
    job.group = start.group;
    const unsigned steps = tiles.stored().tiles.steps;
    const bool made = tiles.stored().tiles.values == nullptr;
    const ByteScanKernel kernel = scan_byte_tiles_kernel(steps, made, scan.metric);
    const size_t bytes = start.group * byte_stride(steps) * sizeof(unsigned);
    simt::allow_shared_memory(kernel, bytes);
    simt::launch({"scan_byte_tiles", start.grid, kByteThreads, bytes}, kernel, job);
}

inline Offers offered(const ScanCase& scan, const TiledCase& tiles, const Start& start = {}) {
    const ListsCase lists(scan.queries.rows, scan.room());
    scan_tiles(scan, tiles, lists.lists(), start);
    return lists.offers();
}

inline size_t size_of(const Offers& offers) {
    size_t size = 0;
    for (const auto& list : offers)
        size += list.size();
    return size;
}

using Places = std::vector<std::set<unsigned>>;  // of each query

// Those that may be found, whose keys are up to the limits; without limits all.
inline Places places_within(const ScanCase& scan, const std::vector<float>* limits) {
    Places places(scan.queries.rows);
    scan.pairs.for_each([&](size_t chunk, const ScanPair& pair) {
        for (const unsigned place : scan.store.places_of(scan.store.chunks()[chunk])) {
            const float key = scan.store.key(scan.metric, place, scan.queries.row(pair.query));
            if (limits == nullptr || key <= (*limits)[pair.query]) places[pair.query].insert(place);
        }
    });
    return places;
}

// All that must be offered is, nothing that may not be found, and keys lie in their intervals.
inline void check_offers(const ScanCase& scan, const Offers& offers) {
    const Places must = places_within(scan, &scan.limits), may = places_within(scan, nullptr);
    for (size_t q = 0; q < offers.size(); ++q) {
        std::set<unsigned> found;
        for (const auto& [place, interval] : offers[q]) {
            EXPECT_TRUE(found.insert(place).second) << "twice";
            const float key = scan.store.key(scan.metric, place, scan.queries.row(q));
            if (std::isnan(key)) continue;
            EXPECT_LE(lower_end(interval), key) << "query " << q << ", place " << place;
            EXPECT_GE(upper_end(interval), key) << "query " << q << ", place " << place;
        }
        const auto& least = must[q];
        const auto& most = may[q];
        EXPECT_TRUE(std::includes(found.begin(), found.end(), least.begin(), least.end()));
        EXPECT_TRUE(std::includes(most.begin(), most.end(), found.begin(), found.end()));
    }
}

// Values that scans make are those that lie there, bit for bit.
inline void check_scan(const ScanCase& scan, const Start& start = {}) {
    TiledCase tiles(scan.store);
    const Offers offers = offered(scan, tiles, start);
    check_offers(scan, offers);
    if (tiles.stored().tiles.steps > kMadeSteps) return;
    tiles.drop_values();
    EXPECT_EQ(offered(scan, tiles, start), offers) << "values are made";
}

}  // namespace nearcell::gpu
