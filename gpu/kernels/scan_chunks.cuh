// The direct scan of stored codes: keys of the vectors of a chunk and the queries that look into
// it, in float32, and the candidates whose keys do not exceed their query's limit. Keys have the
// bits of the CPU's scan (cpu/tile.h): summed in the order of dimensions, with fused multiply-adds.
// It serves what scan_chunks_mma.cuh does not: the first chunks of a query, chunks that few share,
// range searches, L1, and devices before sm_80.
//
// A block takes a tile of up to 64 queries and one chunk, 128 vectors at a time, a thread each; of
// the queries eight at a time, whose sums are in registers and whose values pass through shared
// memory, 128 dimensions at a time. Per vector, dimension and eight queries: the decoding
// (decode_code.cuh), two loads of 16 bytes of shared memory that all lanes share, and 8 (dot
// products) or 16 instructions of arithmetic. A broadcast of 16 bytes occupies the 128 bytes a
// clock of a processor's shared memory for 4 clocks, 16 instructions its four schedulers for 4, so
// that for L2 and L1 the loads limit, at half of the peak of float32. HBM is read once a chunk and
// tile; the other seven times its codes come from L1 or L2. With few queries reading codes limits.
//
// Parity and compute-sanitizer on an H100: bench/results/gpu-h100.txt.
#pragma once

#include <nearcell/gpu/kernels/cell_layout.cuh>
#include <nearcell/gpu/kernels/decode_code.cuh>

namespace nearcell::gpu {

constexpr unsigned kChunkThreads = 128;
constexpr unsigned kGroupQueries = 8;  // whose sums a thread holds
constexpr unsigned kSliceDims = 128;   // of queries, in shared memory

// Blocks that a processor's registers shall have room for.
constexpr int chunk_blocks(CodeKind kind) {
    return kind == CodeKind::Bits ? 6 : kind == CodeKind::Float32 ? 7 : 8;
}

// What of the values of vector and query is summed.
enum class KeySum { L2, Dot, L1 };

// `limits` are of keys; with `refined` of the least key that there may be: what an estimate by Bits
// codes says, less `margin` times its error.
struct ChunkScan {
    StoredCodes stored;
    ScanPairs pairs;
    CandidateLists lists;
    const float* queries;  // code.dim values each
    const float* limits;   // of each query
    bool refined;
    float margin;
    const float* lengths;  // refined, but for L2: of each query
};

template <KeySum kSum>
SIMT_DEVICE float add_term(float sum, float x, float query) {
    if constexpr (kSum == KeySum::Dot) return __fmaf_rn(x, query, sum);
    const float difference = __fsub_rn(x, query);
    if constexpr (kSum == KeySum::L2) return __fmaf_rn(difference, difference, sum);
    return __fadd_rn(fabs(difference), sum);
}

template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE float key_of_sum(const CodeView& code, const uint32_t* words, float sum) {
    if constexpr (kSum == KeySum::Dot) return __fsub_rn(0.0f, sum);
    if constexpr (kKind == CodeKind::Bits && kSum == KeySum::L2)
        return __fadd_rn(sum, bits_factor_at(code, words, BitsFactor::Bias));
    return sum;
}

// How far an estimate by a Bits code may lie above the true key (bits_error of cpu/scan_cells.cpp),
// from the code's error factor.
template <KeySum kSum>
SIMT_DEVICE float bits_error(const ChunkScan& job, float factor, const ScanPair& pair) {
    if constexpr (kSum != KeySum::L2) return 0.5f * factor * job.lengths[pair.query];
    return factor * __fsqrt_rn(pair.key > 0 ? pair.key : 0);
}

// What is compared with a query's limit. Where nothing is known of the cell, everything passes.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE float tested_key(const ChunkScan& job, const uint32_t* words, const ScanPair& pair,
                             float key) {
    if constexpr (kKind == CodeKind::Bits) {
        if (!job.refined) return key;
        if (kSum == KeySum::L2 && job.stored.centroids == nullptr)
            return -__uint_as_float(0x7f800000u);
        const float factor = bits_factor_at(job.stored.code, words, BitsFactor::Error);
        return key - job.margin * bits_error<kSum>(job, factor, pair);
    }
    return key;
}

SIMT_DEVICE const uint32_t* words_of(const StoredCodes& stored, unsigned place) {
    return stored.blocks + place / kBlock * (stored.code.words * kBlock) + place % kBlock;
}

// Whether vector `vector` of the chunk is one, and may be found.
SIMT_DEVICE bool may_be_found(const StoredCodes& stored, const Chunk& chunk, unsigned vector) {
    if (vector >= chunk.vectors) return false;
    if (stored.masks == nullptr) return true;
    return (stored.masks[chunk.first_block + vector / kBlock] >> (vector % kBlock) & 1) != 0;
}

// The centroid that decoded vectors of a cell are relative to, or null.
SIMT_DEVICE const float* base_of_cell(const StoredCodes& stored, unsigned cell) {
    return stored.residual ? stored.centroids + cell * stored.code.dim : nullptr;
}

struct alignas(16) QuerySlice {
    float values[kSliceDims][kGroupQueries];
    float centroid[kSliceDims];
};

// Dimensions [begin, end) of the queries, zero where there is none, and of the cell's centroid.
SIMT_DEVICE void load_slice(const ChunkScan& job, const PairTile& group, unsigned begin,
                            unsigned end, QuerySlice& slice) {
    constexpr unsigned kStep = kChunkThreads / kGroupQueries;
    const size_t dim = job.stored.code.dim;
    const unsigned number = threadIdx.x / kStep;
    const bool there = group.begin + number < group.end;
    const size_t query = there ? job.pairs.pairs[group.begin + number].query : 0;
    for (unsigned j = begin + threadIdx.x % kStep; j < end; j += kStep)
        slice.values[j - begin][number] = there ? job.queries[query * dim + j] : 0.0f;
    const float* const base = base_of_cell(job.stored, group.chunk.cell);
    if (base == nullptr) return;
    for (unsigned j = begin + threadIdx.x; j < end; j += kChunkThreads)
        slice.centroid[j - begin] = base[j];
}

template <KeySum kSum>
SIMT_DEVICE void add_terms(float (&sums)[kGroupQueries], float x,
                           const float (&values)[kGroupQueries]) {
    SIMT_UNROLL
    for (unsigned i = 0; i < kGroupQueries; i += 4) {
        const float4 four = simt::load16(reinterpret_cast<const float4*>(values + i));
        sums[i] = add_term<kSum>(sums[i], x, four.x);
        sums[i + 1] = add_term<kSum>(sums[i + 1], x, four.y);
        sums[i + 2] = add_term<kSum>(sums[i + 2], x, four.z);
        sums[i + 3] = add_term<kSum>(sums[i + 3], x, four.w);
    }
}

template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE void offer_sums(const ChunkScan& job, const PairTile& group, unsigned place,
                            const float (&sums)[kGroupQueries]) {
    const uint32_t* const words = words_of(job.stored, place);
    SIMT_UNROLL
    for (unsigned i = 0; i < kGroupQueries; ++i) {
        if (group.begin + i >= group.end) continue;
        const ScanPair pair = job.pairs.pairs[group.begin + i];
        const float key = key_of_sum<kKind, kSum>(job.stored.code, words, sums[i]);
        if (!(tested_key<kKind, kSum>(job, words, pair, key) <= job.limits[pair.query])) continue;
        const bool keyed = job.lists.keys != nullptr;
        offer_candidate(job.lists, pair.query, place,
                        keyed ? pack_key(key, job.stored.tags[place]) : 0);
    }
}

// At most eight queries, and this thread's vector of the chunk.
template <CodeKind kKind, KeySum kSum>
SIMT_DEVICE void scan_group(const ChunkScan& job, const PairTile& group, unsigned vector) {
    SIMT_SHARED(slice, QuerySlice);
    const bool wanted = may_be_found(job.stored, group.chunk, vector);
    const unsigned first = group.chunk.first_block * static_cast<unsigned>(kBlock);
    const unsigned place = first + (wanted ? vector : 0);
    const auto dim = static_cast<unsigned>(job.stored.code.dim);
    Decoder<kKind> decoder(job.stored.code, words_of(job.stored, place));
    float sums[kGroupQueries] = {};
    for (unsigned begin = 0; begin < dim; begin += kSliceDims) {
        const unsigned end = min(begin + kSliceDims, dim);
        __syncthreads();  // all have read the last slice
        load_slice(job, group, begin, end, slice);
        __syncthreads();
        if (!wanted) continue;
        decoder.decode(begin, end, [&](unsigned j, float x) {
            if (job.stored.residual) x = __fadd_rn(x, slice.centroid[j - begin]);
            add_terms<kSum>(sums, x, slice.values[j - begin]);
        });
    }
    if (wanted) offer_sums<kKind, kSum>(job, group, place, sums);
}

// Any grid: blocks step through the tiles, whose number the device knows.
template <CodeKind kKind, KeySum kSum>
__global__ void __launch_bounds__(kChunkThreads, chunk_blocks(kKind)) scan_chunks(ChunkScan job) {
    const unsigned tiles = *job.pairs.tile_count;
    for (unsigned number = blockIdx.x; number < tiles; number += gridDim.x) {
        const PairTile tile = job.pairs.tiles[number];
        for (unsigned first = 0; first < tile.chunk.vectors; first += kChunkThreads) {
            for (unsigned begin = tile.begin; begin < tile.end; begin += kGroupQueries) {
                const PairTile group{tile.chunk, begin, min(begin + kGroupQueries, tile.end)};
                scan_group<kKind, kSum>(job, group, first + threadIdx.x);
            }
        }
    }
}

// The kernel for codes of a kind; kChunkThreads threads a block.
inline ChunkScanKernel scan_chunks_kernel(CodeKind kind, Metric metric) {
    return pick_kind(kind, [metric]<CodeKind kKind>() -> ChunkScanKernel {
        if (is_similarity(metric)) return scan_chunks<kKind, KeySum::Dot>;
        return metric == Metric::L1 ? scan_chunks<kKind, KeySum::L1>
                                    : scan_chunks<kKind, KeySum::L2>;
    });
}

}  // namespace nearcell::gpu
