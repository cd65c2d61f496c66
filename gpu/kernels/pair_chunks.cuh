// Which queries look into which chunks: probes turned round, so that a chunk's codes are read once
// for all of its queries. A counting sort of (query, chunk) pairs by chunk: count, add up, place.
// The chunks of a query's probes are numbered through, nearest cell first; a round takes those from
// `begin` to `end`. Some 30 bytes a pair; atomics, of which each chunk's go to one address, bound
// it. The order of a chunk's pairs is any: what a search finds does not depend on it.
#pragma once

#include <nearcell/gpu/kernels/cell_layout.cuh>
#include <nearcell/gpu/kernels/warp_sums.cuh>

namespace nearcell::gpu {

constexpr int kPairThreads = 256;
constexpr int kSumThreads = 1024;

// Where the tiles of a round go.
struct RoundTiles {
    PairTile* tiles;
    RoundCount* count;
};

// Chunks of each cell: those from first[cell] to first[cell + 1].
struct CellChunks {
    const unsigned* first;
};

struct RoundPairs {
    Probes probes;
    CellChunks chunks;
    const unsigned* before;  // queries x width: chunks of the query's probes before this one
    size_t queries;
    unsigned first_rank;  // probes before are left out
    unsigned begin, end;  // of the chunks of a query
    unsigned tile;        // pairs of one, at most
    unsigned* counts;     // of each chunk; 0 before counting, and before placing again
    const unsigned* starts;
    ScanPair* pairs;
};

SIMT_DEVICE unsigned cell_of(const Probes& probes, size_t query, size_t rank) {
    return probes.cells == nullptr ? 0 : tag_of(probes.cells[query * probes.width + rank]);
}
SIMT_DEVICE float key_of(const Probes& probes, size_t probe) {
    return probes.cells == nullptr ? 0.0f : __uint_as_float(key_bits(probes.cells[probe]));
}
SIMT_DEVICE unsigned chunks_of(const CellChunks& chunks, unsigned cell) {
    return chunks.first[cell + 1] - chunks.first[cell];
}

// What a search starts with: arrays of each query but `before`, queries x width. Null, no limits:
// it has started.
struct SearchStart {
    Probes probes;
    CellChunks chunks;
    size_t queries;
    const float* known;  // limits, beyond which nothing need be found; null: none
    float* limits;
    unsigned *wanted, *held, *counts, *before;
};

SIMT_DEVICE void start_query(const SearchStart& start, size_t query) {
    start.limits[query] =
        start.known == nullptr ? __uint_as_float(0x7f800000u) : start.known[query];
    start.wanted[query] = start.held[query] = start.counts[query] = 0;
}

// By a warp, of which each lane writes what is before the ranks that it has itself afterwards.
SIMT_DEVICE void start_by_warp(const SearchStart& start, size_t query) {
    const unsigned lane = threadIdx.x % 32;
    const Probes& probes = start.probes;
    if (lane == 0) start_query(start, query);
    unsigned total = 0;
    for (size_t first = 0; first < probes.width; first += 32) {
        const size_t rank = first + lane;
        const unsigned own =
            rank < probes.width ? chunks_of(start.chunks, cell_of(probes, query, rank)) : 0;
        const unsigned sum = sum_up_to_lane(own);
        if (rank < probes.width) start.before[query * probes.width + rank] = total + sum - own;
        total += __shfl_sync(kWarp, sum, 31);
    }
}

SIMT_DEVICE size_t query_of_warp() { return (size_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32; }

// One warp a query.
__global__ void __launch_bounds__(kPairThreads) start_search(SearchStart start) {
    simt::wait_for_previous();
    if (query_of_warp() < start.queries) start_by_warp(start, query_of_warp());
}

// Calls use(chunk, probe) for the pairs of a query's probe.
template <class Use>
SIMT_DEVICE void for_probe(const RoundPairs& round, size_t query, size_t rank, const Use& use) {
    if (rank < round.first_rank) return;
    if (round.probes.ends != nullptr && rank >= round.probes.ends[query]) return;
    const size_t probe = query * round.probes.width + rank;
    const unsigned cell = cell_of(round.probes, query, rank), before = round.before[probe];
    const unsigned first = round.chunks.first[cell], count = chunks_of(round.chunks, cell);
    const unsigned from = round.begin > before ? round.begin - before : 0;
    const unsigned to = min(count, round.end > before ? round.end - before : 0);
    for (unsigned chunk = from; chunk < to; ++chunk)
        use(first + chunk, probe);
}

// Calls use(chunk, query, probe) for the pairs of this thread's probe.
template <class Use>
SIMT_DEVICE void for_pairs(const RoundPairs& round, const Use& use) {
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x, query = i / round.probes.width;
    if (query >= round.queries) return;
    for_probe(round, query, i % round.probes.width,
              [&](unsigned chunk, size_t probe) { use(chunk, query, probe); });
}

// `scanned` may be null.
SIMT_DEVICE void add_scanned(unsigned long long* scanned, unsigned long long vectors) {
    if (scanned != nullptr) atomicAdd(scanned, vectors);
}

__global__ void __launch_bounds__(kPairThreads) count_pairs(RoundPairs round) {
    for_pairs(round, [&](unsigned chunk, size_t, size_t) { atomicAdd(round.counts + chunk, 1u); });
}

__global__ void __launch_bounds__(kPairThreads) place_pairs(RoundPairs round) {
    for_pairs(round, [&](unsigned chunk, size_t query, size_t probe) {
        const unsigned at = round.starts[chunk] + atomicAdd(round.counts + chunk, 1u);
        round.pairs[at] = ScanPair{static_cast<unsigned>(query), key_of(round.probes, probe)};
    });
}

// Where few queries share a chunk, each pair is a tile, and pairs come in any order. One warp a
// query, which it starts if it has not started. samples: the tiles of each query's first chunk,
// again; may be null.
__global__ void __launch_bounds__(kPairThreads, 4)
    list_pairs(RoundPairs round, SearchStart start, const Chunk* table, RoundTiles to,
               RoundTiles samples, unsigned long long* scanned) {
    simt::wait_for_previous();
    const size_t query = query_of_warp();
    if (query >= round.queries) return;
    if (start.limits != nullptr) start_by_warp(start, query);
    const auto list = [&](unsigned chunk, size_t probe) {
        const Chunk listed = table[chunk];  // all is read before the first atomic is waited for
        const ScanPair pair{static_cast<unsigned>(query), key_of(round.probes, probe)};
        const bool is_first = round.before[probe] == 0 && chunk == round.chunks.first[listed.cell];
        const unsigned at = atomicAdd(&to.count->halves[1], 1u);
        round.pairs[at] = pair;
        const PairTile tile{listed, at, at + 1};
        to.tiles[at] = tile;
        if (is_first && samples.tiles != nullptr)
            samples.tiles[atomicAdd(&samples.count->halves[1], 1u)] = tile;
        add_scanned(scanned, tile.chunk.vectors);
    };
    for (size_t rank = threadIdx.x % 32; rank < round.probes.width; rank += 32)
        for_probe(round, query, rank, list);
}

// All queries look into all chunks from begin to end, which are those of one cell: they share the
// pairs. Starts queries if they have not started.
__global__ void __launch_bounds__(kPairThreads)
    pair_all(RoundPairs round, SearchStart start, const Chunk* table, RoundTiles to,
             RoundTiles samples, unsigned long long* scanned) {
    simt::wait_for_previous();
    const auto queries = static_cast<unsigned>(round.queries);
    const unsigned groups = (queries + round.tile - 1) / round.tile;
    const unsigned tile = blockIdx.x * blockDim.x + threadIdx.x;
    if (tile == 0) to.count->halves[1] = groups * (round.end - round.begin);
    if (tile == 0 && samples.tiles != nullptr) samples.count->halves[1] = groups;
    if (tile < queries) {
        round.pairs[tile] = ScanPair{tile, 0};
        if (start.limits != nullptr) {
            start_query(start, tile);
            start.before[tile] = 0;
        }
    }
    if (tile >= groups * (round.end - round.begin)) return;
    const Chunk chunk = table[round.begin + tile / groups];
    const unsigned from = tile % groups * round.tile, end = min(from + round.tile, queries);
    to.tiles[tile] = {chunk, from, end};
    if (tile < groups && samples.tiles != nullptr) samples.tiles[tile] = to.tiles[tile];
    add_scanned(scanned, static_cast<unsigned long long>(end - from) * chunk.vectors);
}

// The sum over this thread and those before it.
SIMT_DEVICE uint64_t sum_up_to_thread(uint64_t value, uint64_t* warps) {
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    value = sum_up_to_lane(static_cast<unsigned long long>(value));
    if (lane == 31) warps[warp] = value;
    __syncthreads();
    for (unsigned w = 0; w < warp; ++w)
        value += warps[w];
    return value;
}

// Where the pairs of each chunk begin, from how many there are of each, which are set to 0, and the
// tiles that they are cut into; adds the vectors of all pairs to `scanned`. A thread a chunk; each
// block takes a range of pairs and tiles for its chunks, so that their order is any.
__global__ void __launch_bounds__(kSumThreads)
    add_up_pairs(unsigned* counts, const Chunk* table, unsigned chunks, unsigned tile,
                 unsigned* starts, RoundTiles tiles, unsigned long long* scanned) {
    SIMT_SHARED(warps, uint64_t[kSumThreads / 32]);
    SIMT_SHARED(begin, uint64_t);
    const unsigned number = blockIdx.x * kSumThreads + threadIdx.x;
    const unsigned count = number < chunks ? counts[number] : 0;
    const uint64_t own = uint64_t{(count + tile - 1) / tile} << 32 | count;
    const uint64_t sum = sum_up_to_thread(own, warps);
    if (threadIdx.x == kSumThreads - 1)
        begin = atomicAdd(&tiles.count->both, static_cast<unsigned long long>(sum));
    unsigned long long vectors = count == 0 ? 0 : uint64_t{count} * table[number].vectors;
    vectors = sum_of_group(vectors, 32);
    if (threadIdx.x % 32 == 0) add_scanned(scanned, vectors);
    __syncthreads();
    if (count == 0) return;
    const uint64_t before = begin + sum - own;
    const auto first = static_cast<unsigned>(before);
    starts[number] = first;
    counts[number] = 0;
    PairTile* const to = tiles.tiles + (before >> 32);
    for (unsigned i = 0; i * tile < count; ++i) {
        const unsigned from = first + i * tile;
        to[i] = {table[number], from, min(from + tile, first + count)};
    }
}

// How many of a query's probes are worth a look after the nearest one, from the k-th best key found
// there: as probes_within_reach of cpu/cell_walk.h says it.
__global__ void __launch_bounds__(kPairThreads)
    limit_probes(Probes probes, size_t queries, const float* limits, float reach, bool similarity,
                 unsigned* ends) {
    const size_t query = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (query >= queries) return;
    const auto key_at_rank = [&](size_t rank) {
        return key_of(probes, query * probes.width + rank);
    };
    const auto distance = [&](float key) {
        return sqrtf(fmaxf(0.0f, similarity ? 2.0f + 2.0f * key : key));
    };
    const float nearest = key_at_rank(0);
    const float more = reach * distance(limits[query]) / sqrtf(distance(nearest));
    const float limit = nearest + (similarity ? 0.5f : 1.0f) * more;
    auto end = static_cast<unsigned>(probes.width);
    if (limit < __uint_as_float(0x7f800000u)) {  // not so for NaN
        unsigned low = 0;
        while (low < end) {
            const unsigned middle = (low + end) / 2;
            if (limit < key_at_rank(middle))
                end = middle;
            else
                low = middle + 1;
        }
    }
    ends[query] = end;
}

}  // namespace nearcell::gpu
