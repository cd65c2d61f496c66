// One batch of queries on its way through the base, in rounds: the places of a round are scanned
// under the limits of the last one, what passes is scored exactly, and the k best set the next
// limits. Rounds grow by a factor, so each lets about that many times k rows of a query pass; the
// first has no limits and is small. Places are in an order that makes the first a sample of all
// (RowOrder). When more rows of a query pass than there is room for, the round is done again for
// such queries alone, which have the room of all then, and if need be in parts: nothing is lost,
// and a part that is no larger than the room always fits.
//
// Host code, compiled by nvcc, or by any compiler on the emulation. One thread.
#pragma once

#include <algorithm>
#include <vector>

#include <nearcell/gpu/device_array.h>
#include <nearcell/gpu/launch_size.h>
#include <nearcell/gpu/session.h>
#include <nearcell/gpu/kernels/rescore_rows.cuh>
#include <nearcell/gpu/kernels/round_rows.cuh>
#include <nearcell/gpu/kernels/scan_rows.cuh>
#include <nearcell/gpu/kernels/select_best.cuh>

namespace nearcell::gpu {

constexpr size_t kFirstRows = 64, kGrowth = 8;  // of the rounds
constexpr size_t kLeastRoom = 2048;             // candidates of a query
constexpr size_t kMostGridY = 65535;
constexpr size_t kMostBlockRows = 8064;  // places that a block scans, whole stages
constexpr size_t kFewQueries = 1024;     // room is not scarce up to there

inline dim3 grid_of_warps(size_t vectors) {
    return static_cast<unsigned>(ceil_divide(vectors, kRoundThreads / 32));
}

using ScanKernel = void (*)(ScanJob);

template <Rounding kRounding, class Use>
ScanKernel scan_kernel(size_t segments) {
    switch (segments) {
        case 1: return scan_held<kRounding, 1, Use>;
        case 2: return scan_held<kRounding, 2, Use>;
        case 3: return scan_held<kRounding, 3, Use>;
        case kMostHeld: return scan_held<kRounding, kMostHeld, Use>;
        default: return scan_wide<kRounding, Use>;
    }
}
template <class Use>
ScanKernel scan_kernel(const Space& space) {
    const size_t segments = space.padded / kSegment;
    return space.rounding == Rounding::Bfloat16 ? scan_kernel<Rounding::Bfloat16, Use>(segments)
                                                : scan_kernel<Rounding::Half, Use>(segments);
}

// Tiles of queries of a block of scan_held.
inline size_t query_tiles_of_block(size_t tiles) {
    return tiles <= 3 ? std::max<size_t>(1, tiles) : kHeldWarps;
}

// What searches need of the base; the arrays are its owner's.
struct ExactBase {
    simt::DeviceProperties device;
    Space space{};
    RowOrder order{};
    const float* row_floats = nullptr;            // by row
    const unsigned short* row_rounded = nullptr;  // by place
    const float2* row_terms = nullptr;            // by place
};

// Scans the job's places with `Use` of what is found; the job has all but the rows and the blocks.
template <class Use>
void start_scan(const ExactBase& base, ScanJob job, simt::Stream stream) {
    const bool held = base.space.padded <= kMostHeld * kSegment;
    const size_t tiles = ceil_divide(job.count, kTileQueries);
    const size_t block_tiles = held ? query_tiles_of_block(tiles) : kWideQueryWarps;
    const size_t columns = ceil_divide(tiles, block_tiles);
    const size_t step = held ? kStageRows : kWideRows;
    // Blocks enough for every processor to have some, but no more rows than that needs: a block
    // reads its queries only once.
    const auto processors = static_cast<size_t>(std::max(1, base.device.processors));
    const size_t blocks = ceil_divide(8 * processors, columns);
    const size_t rows = padded_places(job.end) - job.begin / kTileRows * kTileRows;
    size_t block_rows = std::clamp(ceil_divide(rows, blocks), step, kMostBlockRows);
    block_rows = std::max(block_rows, ceil_divide(rows, kMostGridY));
    block_rows = ceil_divide(block_rows, step) * step;
    const dim3 grid(static_cast<unsigned>(columns),
                    static_cast<unsigned>(ceil_divide(rows, block_rows)));
    job.rows = base.row_rounded;
    job.terms = base.row_terms;
    job.block_rows = block_rows;
    job.block_tiles = static_cast<unsigned>(block_tiles);
    job.padded = base.space.padded;
    const ScanKernel kernel = scan_kernel<Use>(base.space);
    if (held) return simt::launch({"scan_rows", grid, kHeldThreads, 0, stream}, kernel, job);
    simt::allow_shared_memory(kernel, kWideBytes);
    simt::launch({"scan_rows", grid, kWideThreads, kWideBytes, stream}, kernel, job);
}

constexpr size_t kCandidateBytes = sizeof(uint64_t) + sizeof(unsigned);

// Room for candidates of a query: four times what a round is expected to find, and of few queries,
// within `bytes`, what is found where 16 bits tell rows badly apart.
inline size_t candidate_room(size_t wanted, size_t rows, size_t k, size_t queries, size_t bytes) {
    if (wanted == 0) {
        const size_t least = std::max(kLeastRoom, 4 * kGrowth * k),
                     some = std::max<size_t>(1, queries);
        const size_t wide = std::min(least * std::max<size_t>(1, kFewQueries / some),
                                     bytes / kCandidateBytes / some);
        wanted = std::max(least, wide);
    }
    return std::min(rows, wanted);
}

// How many queries at a time fit into so many bytes.
inline size_t batch_queries(size_t bytes, const Space& space, size_t room, size_t k) {
    const size_t each = room * kCandidateBytes + k * sizeof(uint64_t) + space.dim * sizeof(float) +
                        space.padded * sizeof(unsigned short) + sizeof(QueryBound) +
                        sizeof(float2) + 3 * sizeof(unsigned);
    const size_t fit = std::clamp<size_t>(bytes / each, 1, size_t{1} << 20);
    return fit > kTileQueries ? fit / kTileQueries * kTileQueries : fit;
}

class ExactBatch {
   public:
    ExactBatch(const ExactBase& base, const float* queries, size_t count, size_t k, size_t room,
               simt::Stream stream)
        : base_(base),
          stream_(stream),
          count_(count),
          k_(k),
          room_(room),
          queries_(queries),
          rounded_(count * base.space.padded, stream),
          bounds_(count, stream),
          limits_(count, stream),
          active_(count, stream),
          counts_(count, stream),
          held_(count, stream),
          candidates_(count * room, stream),
          keys_(count * room, stream),
          best_(count * k, stream) {
        held_.fill_zero();
        simt::launch({"round_queries", grid_of_warps(count), kRoundThreads, 0, stream},
                     round_queries, base.space, queries_, count, rounded_.data(), bounds_.data(),
                     limits_.data());
    }

    // Looks at the whole base. Without limits, every place of a round is a candidate.
    void add_all() {
        const size_t rows = base_.order.rows;
        const bool unlimited = base_.space.metric == Metric::L1;
        for (size_t begin = 0, end = 0; begin < rows; begin = end) {
            end = begin + (unlimited ? room_ : (kGrowth - 1) * begin);
            if (begin == 0) end = std::min(room_, std::max(kFirstRows, 2 * k_));
            end = std::min(rows, end);
            if (unlimited || begin == 0)
                take_places(begin, end);
            else
                add_places(begin, end, nullptr);
        }
    }

    // k numbers of each query, of which held() count, in any order (pack_key).
    std::vector<uint64_t> best() const { return to_host(best_.data(), best_.size()); }
    std::vector<unsigned> held() const { return to_host(held_.data(), held_.size()); }
    uint64_t rescored() const { return rescored_; }

   private:
    // No more than there is room for.
    void take_places(size_t begin, size_t end) {
        const auto count = static_cast<unsigned>(end - begin);
        score({nullptr, nullptr, room_, static_cast<unsigned>(begin), count}, nullptr, count_,
              count);
        rescored_ += uint64_t{count_} * count;
    }

    // For all queries, or for some.
    void add_places(size_t begin, size_t end, const std::vector<unsigned>* some) {
        if (some != nullptr) active_.copy_from(some->data(), some->size());
        const unsigned* const active = some == nullptr ? nullptr : active_.data();
        const size_t count = some == nullptr ? count_ : some->size(), room = room_of(count);
        simt::fill_bytes(counts_.data(), 0, count * sizeof(unsigned), stream_);
        scan(begin, end, active, count, room);
        score({counts_.data(), candidates_.data(), room, 0, 0}, active, count, end - begin);
        const std::vector<unsigned> crowded = crowded_queries(some, count, room);
        if (crowded.empty()) return;
        if (room_of(crowded.size()) >= 2 * room) return add_places(begin, end, &crowded);
        const size_t part = std::max(room, ceil_divide(end - begin, kGrowth));
        for (size_t first = begin; first < end; first += part)
            add_places(first, std::min(end, first + part), &crowded);
    }

    // That of all, shared by some.
    size_t room_of(size_t count) const {
        return std::min<size_t>(base_.order.rows, room_ * (count_ / std::max<size_t>(1, count)));
    }

    // Those of which more rows passed than there was room for.
    std::vector<unsigned> crowded_queries(const std::vector<unsigned>* some, size_t count,
                                          size_t room) {
        const std::vector<unsigned> counts = to_host(counts_.data(), count);
        std::vector<unsigned> crowded;
        for (size_t i = 0; i < count; ++i) {
            if (counts[i] > room)
                crowded.push_back(some == nullptr ? static_cast<unsigned>(i) : (*some)[i]);
            else
                rescored_ += counts[i];
        }
        return crowded;
    }

    void scan(size_t begin, size_t end, const unsigned* active, size_t count, size_t room) {
        ScanJob job{};
        job.queries = rounded_.data();
        job.limits = limits_.data();
        job.active = active;
        job.count = count;
        job.begin = begin;
        job.end = end;
        job.counts = counts_.data();
        job.candidates = candidates_.data();
        job.capacity = room;
        start_scan<OfferPassing>(base_, job, stream_);
    }

    // Of at most so many places of each: their keys, and the best of them and of those before.
    void score(const FoundPlaces& found, const unsigned* active, size_t count, size_t places) {
        rescore(found, active, count, places);
        simt::launch({"select_best", static_cast<unsigned>(count), kSelectThreads, 0, stream_},
                     select_best,
                     SelectJob{base_.space, bounds_.data(), active, found, keys_.data(),
                               best_.data(), held_.data(), k_, limits_.data()});
    }

    // Few queries are spread over more blocks.
    void rescore(const FoundPlaces& found, const unsigned* active, size_t count, size_t places) {
        const size_t most = ceil_divide(std::min(places, found.capacity), kRescoreGroups);
        const size_t split = std::clamp<size_t>(1024 / count, 1, std::min<size_t>(most, 64));
        simt::launch({"rescore_rows",
                      {static_cast<unsigned>(count), static_cast<unsigned>(split)},
                      kRescoreThreads,
                      0,
                      stream_},
                     rescore_rows,
                     RescoreJob{base_.space.metric, base_.space.dim, base_.row_floats, queries_,
                                base_.order, active, found, keys_.data()});
    }

    template <class T>
    std::vector<T> to_host(const T* array, size_t count) const {
        std::vector<T> values(count);
        simt::copy_to_host(values.data(), array, count * sizeof(T), stream_);
        simt::synchronize(stream_);
        return values;
    }

    const ExactBase& base_;
    simt::Stream stream_;
    size_t count_, k_, room_;
    uint64_t rescored_ = 0;
    const float* queries_;
    DeviceArray<unsigned short> rounded_;
    DeviceArray<QueryBound> bounds_;
    DeviceArray<float2> limits_;
    DeviceArray<unsigned> active_, counts_, held_;
    DeviceArray<unsigned> candidates_;
    DeviceArray<uint64_t> keys_, best_;
};

}  // namespace nearcell::gpu
