// Product codes: of each subspace the centroid nearest to a row's part. Keys are direct ones,
// summed in the order of dimensions as the CPU's assignment does (add_dimension of
// tile_product.cuh), and of equal ones the first centroid is taken, so the codes are the CPU's,
// byte for byte.
//
// A block makes one 32-bit word of 256 rows: four subspaces of 256 centroids, or eight of 16. Their
// codebooks and the rows' values of some dimensions at a time are brought to shared memory,
// dimension by dimension, and a thread compares two rows with eight centroids at a time, whose
// sums are in registers. Per value and centroid that is a subtraction and a multiply-add, and per
// subspace and centroid three operations to compare: a row of d dimensions in M subspaces of K
// centroids takes K (2 d + 3 M) of them, reads 4 d bytes (neighbouring blocks share its lines in
// L2) and writes M or M / 2. So the lanes bound it: 96 dimensions in 48 subspaces of 256 take 86 k
// operations, of which an H100's 30 T a second would make 350 M rows; in 96 subspaces of 16 they
// take 7.7 k, for which its memory would feed 7 times 10^9 rows, its lanes 4 times 10^9, less what
// bringing them in takes. From shared memory come 40 bytes a dimension for 32 operations, less than
// its share of a cycle. All that is far above what a bus brings: rows that come from the host are
// bound by their way.
//
// The method is that of Jégou, Douze, Schmid,
// "Product quantization for nearest neighbor search", 2011, section II.
#pragma once

#include <nearcell/gpu/kernels/encode_rows.cuh>

namespace nearcell::gpu {

constexpr unsigned kCodedRows = 2 * kEncodeThreads;  // of a block
constexpr unsigned kCodedStride = kCodedRows + 4;    // of a dimension, so that columns differ
constexpr unsigned kCodedColumns = 8;                // centroids at a time

struct ProductJob {
    CodedRows rows;
    const unsigned* sub_begin;  // CodeView's
    unsigned subquantizers;
    const float* codebooks;
    unsigned staged;  // dimensions at a time: no subspace has more
    CodeOutput out;
};

constexpr size_t encode_shared_bytes(size_t staged, size_t centroids) {
    return staged * (kCodedStride + centroids) * sizeof(float);
}

// Values of dimensions [begin, begin + dims); those of rows past the last are zeros.
SIMT_DEVICE void stage_values(const CodedRows& rows, unsigned first, unsigned begin, unsigned dims,
                              float* values) {
    for (unsigned element = threadIdx.x; element < kCodedRows * dims; element += kEncodeThreads) {
        const unsigned row = element / dims, j = element % dims;
        values[j * kCodedStride + row] =
            first + row < rows.x.count ? rows.value(first + row, begin + j) : 0.0f;
    }
}

// A codebook, [centroid][dimension], dimension by dimension.
SIMT_DEVICE void stage_codebook(const float* from, unsigned centroids, unsigned width, float* to) {
    for (unsigned element = threadIdx.x; element < centroids * width; element += kEncodeThreads)
        to[element % width * centroids + element / width] = from[element];
}

// The nearest centroids of this thread's two rows.
template <unsigned kCentroids>
SIMT_DEVICE void choose_centroids(const float* values, const float* codebook, unsigned width,
                                  unsigned (&nearest)[2]) {
    float best[2] = {__uint_as_float(0x7f800000u), __uint_as_float(0x7f800000u)};
    nearest[0] = nearest[1] = 0;  // also where every key is infinite or NaN
    SIMT_NO_UNROLL
    for (unsigned first = 0; first < kCentroids; first += kCodedColumns) {
        float sums[2][kCodedColumns] = {};
        // Other warps fill the time of loads.
        SIMT_NO_UNROLL
        for (unsigned j = 0; j < width; ++j) {
            const float* const column = values + j * kCodedStride + threadIdx.x;
            const float x[2] = {column[0], column[kEncodeThreads]};
            float b[kCodedColumns];
            load_four(codebook + j * kCentroids + first, b);
            load_four(codebook + j * kCentroids + first + 4, b + 4);
            SIMT_UNROLL
            for (unsigned i = 0; i < 2; ++i) {
                SIMT_UNROLL
                for (unsigned c = 0; c < kCodedColumns; ++c)
                    sums[i][c] = add_dimension<TileKey::L2>(x[i], b[c], sums[i][c]);
            }
        }
        SIMT_UNROLL
        for (unsigned c = 0; c < kCodedColumns; ++c) {
            SIMT_UNROLL
            for (unsigned i = 0; i < 2; ++i) {
                if (!(sums[i][c] < best[i])) continue;
                best[i] = sums[i][c];
                nearest[i] = first + c;
            }
        }
    }
}

// kBits 8 or 4: of a subspace. A block a word and 256 rows, words first.
template <unsigned kBits>
__global__ void __launch_bounds__(kEncodeThreads) encode_product(ProductJob job) {
    constexpr unsigned kCentroids = 1u << kBits, kPerWord = 32 / kBits;
    SIMT_DYNAMIC_SHARED(values, float);  // [staged][kCodedStride], behind them [staged][kCentroids]
    float* const codebooks = values + job.staged * kCodedStride;
    const unsigned word = blockIdx.x % job.out.words;
    const unsigned first = blockIdx.x / job.out.words * kCodedRows;
    const unsigned last = min((word + 1) * kPerWord, job.subquantizers);
    const bool has_rows = first + threadIdx.x < job.rows.x.count;
    unsigned packed[2] = {};
    for (unsigned m = word * kPerWord; m < last;) {
        const unsigned begin = job.sub_begin[m];
        unsigned next = m + 1;  // as many subspaces as have room
        while (next < last && job.sub_begin[next + 1] - begin <= job.staged)
            ++next;
        stage_values(job.rows, first, begin, job.sub_begin[next] - begin, values);
        for (unsigned s = m; s < next; ++s) {
            const unsigned at = job.sub_begin[s], width = job.sub_begin[s + 1] - at;
            stage_codebook(job.codebooks + size_t{at} * kCentroids, kCentroids, width,
                           codebooks + (at - begin) * kCentroids);
        }
        __syncthreads();
        for (; m < next; ++m) {
            if (!has_rows) continue;
            const unsigned at = job.sub_begin[m] - begin;
            unsigned nearest[2];
            choose_centroids<kCentroids>(values + at * kCodedStride, codebooks + at * kCentroids,
                                         job.sub_begin[m + 1] - job.sub_begin[m], nearest);
            packed[0] |= nearest[0] << (m % kPerWord * kBits);
            packed[1] |= nearest[1] << (m % kPerWord * kBits);
        }
        __syncthreads();  // before the next values overwrite what was just read
    }
    SIMT_UNROLL
    for (unsigned i = 0; i < 2; ++i) {
        const unsigned row = first + threadIdx.x + i * kEncodeThreads;
        if (row < job.rows.x.count) job.out.codes[size_t{row} * job.out.words + word] = packed[i];
    }
}

}  // namespace nearcell::gpu
