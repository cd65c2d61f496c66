// One batch of queries on its way through the base, in rounds: the places of a round are scanned
// under the limits of the last one, what passes is scored exactly, and the k best set the next
// limits. Rounds grow by a factor, so each lets about that many times k rows of a query pass; the
// first has no limits and is small. Places are in an order that makes the first a sample of all
// (RowOrder). When more rows of a query pass than there is room for, the round is done again for
// such queries alone, which have the room of all then, and if need be in parts: nothing is lost,
// and a part that is no larger than the room always fits. Of many queries that is done before the
// next round, which then has better limits; of few, which have much room and wait for the host
// longer than for the device, after the last: rounds may come in any order.
//
// Host code, compiled by nvcc, or by any compiler on the emulation. One thread.
#pragma once

#include <algorithm>
#include <vector>

#include <nearcell/gpu/launch_size.h>
#include <nearcell/gpu/session.h>
#include <nearcell/gpu/kernels/rescore_rows.cuh>
#include <nearcell/gpu/kernels/round_rows.cuh>
#include <nearcell/gpu/kernels/scan_rows.cuh>
#include <nearcell/gpu/kernels/select_best.cuh>

namespace nearcell::gpu {

constexpr size_t kFirstRows = 64, kGrowth = 8;  // of the rounds
constexpr size_t kLeastRoom = 2048;             // candidates of a query
constexpr size_t kMostBlockRows = 8064;         // places that a block scans, whole stages
constexpr size_t kFewQueries = 1024;     // up to there room is not scarce, nor is waiting cheap
constexpr size_t kMostExactRounds = 12;  // of 2^32 rows: one row, or eight times as many and so on

inline dim3 grid_of_warps(size_t vectors) {
    return static_cast<unsigned>(ceil_divide(vectors, kRoundThreads / 32));
}

// How a scan is launched.
struct ScanShape {
    void (*kernel)(ScanJob);
    int threads;
    size_t shared_bytes;   // dynamic ones
    size_t rows, queries;  // of a block at a time
};

template <template <int> class Use, Rounding kRounding, int kSegments>
ScanShape held_shape(size_t queries) {
    const size_t tiles = ceil_divide(queries, kTileQueries);
    const size_t block_tiles = tiles <= 3 ? std::max<size_t>(1, tiles) : kHeldWarps;
    return {scan_held<kRounding, kSegments, Use>, kHeldThreads, 0, kStageRows,
            block_tiles * kTileQueries};
}

template <template <int> class Use, Rounding kRounding, class Shape>
ScanShape wide_shape() {
    return {scan_wide<kRounding, Shape, Use>, Shape::kThreads, sizeof(typename Shape::Shared),
            Shape::kRows, Shape::kQueries};
}

template <template <int> class Use, Rounding kRounding>
ScanShape scan_shape(size_t segments, size_t queries) {
    switch (segments) {
        case 1: return held_shape<Use, kRounding, 1>(queries);
        case 2: return held_shape<Use, kRounding, 2>(queries);
        case 3: return held_shape<Use, kRounding, 3>(queries);
        case kMostHeld: return held_shape<Use, kRounding, kMostHeld>(queries);
        default: break;
    }
    if (queries <= FewestWide::kQueries) return wide_shape<Use, kRounding, FewestWide>();
    if (queries <= FewWide::kQueries) return wide_shape<Use, kRounding, FewWide>();
    if (queries <= SomeWide::kQueries) return wide_shape<Use, kRounding, SomeWide>();
    return wide_shape<Use, kRounding, ManyWide>();
}

template <template <int> class Use>
ScanShape scan_shape(const Space& space, size_t queries) {
    const size_t segments = space.padded / kSegment;
    return space.rounding == Rounding::Bfloat16
               ? scan_shape<Use, Rounding::Bfloat16>(segments, queries)
               : scan_shape<Use, Rounding::Half>(segments, queries);
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

// Scans the job's places with `Use` of the scores; the job has all but the rows and the blocks.
template <template <int> class Use>
void start_scan(const ExactBase& base, ScanJob job, simt::Stream stream) {
    const ScanShape shape = scan_shape<Use>(base.space, job.count);
    const size_t columns = ceil_divide(job.count, shape.queries), step = shape.rows;
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
    job.block_tiles = static_cast<unsigned>(shape.queries / kTileQueries);
    job.padded = base.space.padded;
    if (shape.shared_bytes > 0) simt::allow_shared_memory(shape.kernel, shape.shared_bytes);
    simt::launch(
        {"scan_rows", grid, static_cast<unsigned>(shape.threads), shape.shared_bytes, stream},
        shape.kernel, job);
}

constexpr size_t kCandidateBytes = sizeof(uint64_t) + sizeof(unsigned);

// Room for candidates of a query: four times what a round is expected to find, and of few queries,
// within half of `bytes`, what is found where 16 bits tell rows badly apart.
inline size_t candidate_room(size_t wanted, size_t rows, size_t k, size_t queries, size_t bytes) {
    if (wanted == 0) {
        const size_t least = std::max(kLeastRoom, 4 * kGrowth * k),
                     some = std::max<size_t>(1, queries);
        const size_t wide = std::min(least * std::max<size_t>(1, kFewQueries / some),
                                     bytes / 2 / kCandidateBytes / some);
        wanted = std::max(least, wide);
    }
    return std::min(rows, wanted);
}

// How many queries at a time fit into so many bytes.
inline size_t batch_queries(size_t bytes, const Space& space, size_t room, size_t k) {
    const size_t each = room * kCandidateBytes + k * sizeof(uint64_t) + space.dim * sizeof(float) +
                        space.padded * sizeof(unsigned short) + sizeof(QueryBound) +
                        sizeof(float2) + (2 + kMostExactRounds) * sizeof(unsigned);
    const size_t fit = std::clamp<size_t>(bytes / each, 1, size_t{1} << 20);
    return fit > kTileQueries ? fit / kTileQueries * kTileQueries : fit;
}

// What is known of a batch, on the host.
struct BatchResult {
    uint64_t* best;        // k numbers of each query, of which as many count as held, in any order
    const unsigned* held;  // (pack_key)
};

// Its arrays are the session's scratch, and results in its memory for downloads.
class ExactBatch {
   public:
    ExactBatch(const ExactBase& base, const float* queries, size_t count, size_t k, size_t room,
               Session& session)
        : base_(base),
          session_(session),
          stream_(session.stream.get()),
          count_(count),
          k_(k),
          room_(room),
          queries_(queries),
          rounded_(take<unsigned short>(count * base.space.padded)),
          bounds_(take<QueryBound>(count)),
          limits_(take<float2>(count)),
          active_(take<unsigned>(count)),
          counts_(take<unsigned>(count * kMostExactRounds)),
          candidates_(take<unsigned>(count * room)),
          keys_(take<uint64_t>(count * room)),
          best_(take<uint64_t>(count * k)) {
        simt::fill_bytes(counts_, 0, count * kMostExactRounds * sizeof(unsigned), stream_);
        simt::launch({"round_queries", grid_of_warps(count), kRoundThreads, 0, stream_},
                     round_queries, base.space, queries_, count, rounded_, bounds_, limits_);
    }

    // Looks at the whole base. Without limits, every place of a round is a candidate.
    void add_all() {
        const size_t rows = base_.order.rows;
        const bool unlimited = base_.space.metric == Metric::L1;
        for (size_t begin = 0, end = 0; begin < rows; begin = end) {
            end = begin + (unlimited ? room_ : (kGrowth - 1) * begin);
            if (begin == 0) end = std::min(room_, std::max(kFirstRows, 2 * k_));
            end = std::min(rows, end);
            if (unlimited || begin == 0) {
                take_places(begin, end);
                continue;
            }
            rounds_.push_back({begin, end, rounds_.size() + 1});
            add_places(rounds_.back(), nullptr, count_);
            if (count_ > kFewQueries) look_at_rounds();
        }
    }

    // Waits.
    BatchResult finish() {
        searched_again_ = false;
        copy_best();
        look_at_rounds();
        if (searched_again_) {
            copy_best();
            simt::synchronize(stream_);
        }
        return {host_best(), host_counts()};
    }
    uint64_t rescored() const { return rescored_; }

   private:
    // Places, and which row of the counts they have; the first row has how many are held.
    struct Round {
        size_t begin, end, number;
    };

    template <class T>
    T* take(size_t count) {
        return session_.scratch.take<T>(count);
    }

    // No more than there is room for.
    void take_places(size_t begin, size_t end) {
        const auto count = static_cast<unsigned>(end - begin);
        score({nullptr, nullptr, room_, static_cast<unsigned>(begin), count}, nullptr, count_,
              count);
        rescored_ += uint64_t{count_} * count;
    }

    // For all queries, or for some. Counts are 0.
    void add_places(const Round& round, const unsigned* active, size_t count) {
        const size_t room = room_of(count);
        scan(round, active, count, room);
        score({counts_ + round.number * count_, candidates_, room, 0, 0}, active, count,
              round.end - round.begin);
    }

    // That of all, shared by some.
    size_t room_of(size_t count) const {
        return std::min<size_t>(base_.order.rows, room_ * (count_ / std::max<size_t>(1, count)));
    }

    // Waits, and does rounds again that were not looked at, for those queries that were crowded.
    void look_at_rounds() {
        const size_t first = looked_at_, rounds = rounds_.size();
        copy_counts(first + 1, rounds - first, count_);
        simt::synchronize(stream_);
        for (; looked_at_ < rounds; ++looked_at_)
            search_again(rounds_[looked_at_], crowded_queries(rounds_[looked_at_], nullptr, count_),
                         room_);
    }

    // Those of which more rows passed than there was room for.
    std::vector<unsigned> crowded_queries(const Round& round, const std::vector<unsigned>* some,
                                          size_t count) {
        const unsigned* const counts = host_counts() + round.number * count_;
        const size_t room = room_of(count);
        std::vector<unsigned> crowded;
        for (size_t i = 0; i < count; ++i) {
            if (counts[i] > room)
                crowded.push_back(some == nullptr ? static_cast<unsigned>(i) : (*some)[i]);
            else
                rescored_ += counts[i];
        }
        return crowded;
    }

    // For queries that were crowded with so much room: with twice as much, or in parts.
    void search_again(const Round& round, const std::vector<unsigned>& crowded, size_t room) {
        if (crowded.empty()) return;
        searched_again_ = true;
        const size_t count = crowded.size(), more = room_of(count),
                     places = round.end - round.begin;
        const size_t part =
            more >= 2 * room ? places : std::max(room, ceil_divide(places, kGrowth));
        for (size_t first = round.begin; first < round.end; first += part) {
            const Round again{first, std::min(round.end, first + part), round.number};
            simt::copy_to_device(active_, crowded.data(), count * sizeof(unsigned), stream_);
            simt::fill_bytes(counts_ + round.number * count_, 0, count * sizeof(unsigned), stream_);
            add_places(again, active_, count);
            copy_counts(round.number, 1, count);
            simt::synchronize(stream_);
            search_again(again, crowded_queries(again, &crowded, count), more);
        }
    }

    // The best, and behind them counts as they are on the device.
    uint64_t* host_best() {
        const size_t counts =
            ceil_divide(count_ * kMostExactRounds * sizeof(unsigned), sizeof(uint64_t));
        return session_.download.get<uint64_t>(count_ * k_ + counts);
    }
    unsigned* host_counts() { return reinterpret_cast<unsigned*>(host_best() + count_ * k_); }

    void copy_best() {
        simt::copy_to_host(host_best(), best_, count_ * k_ * sizeof(uint64_t), stream_);
        copy_counts(0, 1, count_);
    }
    // Of some rounds, all of them or of one the first.
    void copy_counts(size_t first, size_t rounds, size_t count) {
        if (rounds == 0) return;
        simt::copy_to_host(host_counts() + first * count_, counts_ + first * count_,
                           ((rounds - 1) * count_ + count) * sizeof(unsigned), stream_);
    }

    void scan(const Round& round, const unsigned* active, size_t count, size_t room) {
        ScanJob job{};
        job.queries = rounded_;
        job.limits = limits_;
        job.active = active;
        job.count = count;
        job.begin = round.begin;
        job.end = round.end;
        job.counts = counts_ + round.number * count_;
        job.candidates = candidates_;
        job.capacity = room;
        start_scan<OfferPassing>(base_, job, stream_);
    }

    // Of at most so many places of each: their keys, and the best of them and of those before.
    void score(const FoundPlaces& found, const unsigned* active, size_t count, size_t places) {
        rescore(found, active, count, places);
        simt::launch(
            {"select_best", static_cast<unsigned>(count), kSelectThreads, 0, stream_}, select_best,
            SelectJob{base_.space, bounds_, active, found, keys_, best_, counts_, k_, limits_});
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
                                base_.order, active, found, keys_});
    }

    const ExactBase& base_;
    Session& session_;
    simt::Stream stream_;
    size_t count_, k_, room_;
    uint64_t rescored_ = 0;
    std::vector<Round> rounds_;  // those that were scanned
    size_t looked_at_ = 0;       // of them
    bool searched_again_ = false;
    const float* queries_;
    unsigned short* rounded_;
    QueryBound* bounds_;
    float2* limits_;
    unsigned *active_, *counts_, *candidates_;
    uint64_t *keys_, *best_;
};

}  // namespace nearcell::gpu
