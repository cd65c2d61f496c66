// How stored vectors lie on a device, and what the kernels that look through them hand to each
// other. The codes are CodeView's, byte for byte: blocks of sixteen vectors, each cell's from a
// block on, cut into chunks of some blocks. Beside byte tiles, which are scanned then, a vector's
// words lie in a row: they are read only to score it. A vector's place is 16 * block + lane, below
// 2^32. What makes equal keys differ is its tag: its id where ids have 32 bits, else the rank of
// its id.
//
// A search goes in rounds. In each, (query, chunk) pairs sorted by chunk are cut into tiles of at
// most kPairTile queries of one chunk (scan_byte_tiles.cuh: kByteTile), so that a chunk's codes are
// read once for all of them. A scan offers a query's candidates whose keys do not exceed its limit,
// in any order; the best of them give the limits of the next round.
#pragma once

#include <nearcell/core/metric.h>
#include <nearcell/kernels/code_view.h>
#include <nearcell/gpu/kernels/packed_key.cuh>

namespace nearcell::gpu {

constexpr unsigned kPairTile = 64;
constexpr unsigned kCallCounters = 8;  // numbers that a call's kernels count (cell_call.h)

// Tiles and pairs of a round, 0 at first: tiles in the upper half.
union RoundCount {
    unsigned long long both;
    unsigned halves[2];
};
constexpr unsigned kMostRounds = 64;  // of a search, whose counts are used in turn

struct Chunk {
    unsigned first_block;  // of all blocks of the store
    unsigned vectors;      // at least one
    unsigned cell;
};

// A query that looks into a chunk, with the key of the query and the cell's centroid: |q - c|^2 for
// L2, -<q, c> for similarities (as Backend::nearest says them), or, where scans do not ask, no less
// (ChunkSearchOptions::inexact_keys); 0 where there are no centroids.
struct ScanPair {
    unsigned query;
    float key;
};

// Of a vector's int8 values: what they are times, |rb|^2 of these products (NaN: no bounds are
// known), what the vector is off by at most, and what it was times before it was rounded.
struct alignas(16) ByteTerms {
    float scale, square, error, inverse;
};
// The vectors as integer tensor cores multiply them (byte_tiles.cuh).
struct ByteTiles {
    const uint4* values;     // of each block and 32 dimensions, 32 lanes; null: scans make them
    const ByteTerms* terms;  // null: there are none
    unsigned steps;          // of 32 dimensions
};
constexpr unsigned kMadeSteps = 4;  // up to so many scans make values of (byte_codes.cuh)

// Eight queries of so many dimensions fit into the shared memory of every device.
constexpr size_t kMostTileDim = 4096;
constexpr unsigned tile_steps(size_t dim) { return static_cast<unsigned>((dim + 31) / 32); }

// What is stored, in device memory; `code` has device pointers.
struct StoredCodes {
    CodeView code;
    const uint32_t* blocks;       // code.words * 16 words a block
    const unsigned* tags;         // of each place
    const unsigned short* masks;  // of each block, bit v: vector v may be found; null: all may
    const Chunk* chunks;
    const float* centroids;  // of each cell, code.dim values; null: there are none
    bool residual;           // decoded vectors are relative to the cell's centroid
    ByteTiles tiles;
};

// A chunk and pairs [begin, end) of a round that look into it.
struct PairTile {
    Chunk chunk;
    unsigned begin, end;
};
struct ScanPairs {
    const ScanPair* pairs;
    const PairTile* tiles;
    const unsigned* tile_count;
};

// Where candidates go: of each query `room`, of which counts[query] were found, also beyond the
// room. keys: pack_key(key, tag).
struct CandidateLists {
    unsigned* counts;
    unsigned* places;
    uint64_t* keys;  // null: only places are offered
    size_t room;
};

// Cells that queries look into, nearest first by these keys, `width` a query.
struct Probes {
    const uint64_t* cells;  // a key of query and centroid, and the cell's number; null: cell 0 only
    const unsigned* ends;   // of each query, how many are to be looked into; null: all
    size_t width;
};

// The k best of each query, in any order until they are sorted.
struct BestLists {
    uint64_t* keys;
    unsigned* places;
    unsigned* held;  // how many of each are there
    size_t k;
};

// What scans a round: scan_chunks.cuh, scan_chunks_mma.cuh.
struct ChunkScan;
using ChunkScanKernel = void (*)(ChunkScan);

// All candidates are counted, so that the host knows how much room they want.
SIMT_DEVICE void offer_candidate(const CandidateLists& lists, size_t query, unsigned place,
                                 uint64_t key) {
    const unsigned at = atomicAdd(lists.counts + query, 1u);
    if (at >= lists.room) return;
    lists.places[query * lists.room + at] = place;
    if (lists.keys != nullptr) lists.keys[query * lists.room + at] = key;
}

}  // namespace nearcell::gpu
