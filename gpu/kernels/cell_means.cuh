// Where the vectors of a cell are, as their re-rank rows say: the mean of some of them, evenly
// chosen. Byte tiles of such rows are moved by it: any point would do, near ones leave fewer
// candidates; the cells' centroids are of the values behind all transforms, these of those before.
// A thread a dimension; up to kMeanRows rows a cell, whose reading bounds it, and waiting for it
// where there are few cells.
#pragma once

#include <nearcell/gpu/kernels/score_candidates.cuh>

namespace nearcell::gpu {

constexpr int kCellThreads = 128;
constexpr size_t kMeanRows = 1024;

// Of the cell of blockIdx.x, whose chunks begin at chunk_first[cell], to means + cell * code.dim;
// of a cell of no vectors zeros. stored.blocks: a row a place.
template <CodeKind kKind>
__global__ void __launch_bounds__(kCellThreads)
    mean_of_cells(StoredCodes stored, const unsigned* chunk_first, float* means) {
    const unsigned cell = blockIdx.x, j = blockIdx.y * kCellThreads + threadIdx.x;
    const auto dim = static_cast<unsigned>(stored.code.dim);
    if (j >= dim) return;
    const unsigned begin = chunk_first[cell], end = chunk_first[cell + 1];
    float mean = 0;
    if (begin < end) {
        const Chunk last = stored.chunks[end - 1];
        const unsigned first = stored.chunks[begin].first_block;
        const size_t count = (last.first_block - first) * kBlock + last.vectors;
        const size_t some = min(count, kMeanRows);
        const float share = 1.0f / static_cast<float>(some);
        const auto at = dimension_data<kKind>(stored.code, j);
        for (size_t i = 0; i < some; ++i) {
            const size_t place = first * kBlock + i * count / some;
            const CodeWords row{stored.blocks + place * stored.code.words};
            mean = __fmaf_rn(row_value<kKind>(stored.code, at, row, j, nullptr), share, mean);
        }
    }
    means[size_t{cell} * dim + j] = mean;
}

using CellMeansKernel = void (*)(StoredCodes, const unsigned*, float*);

struct PickCellMeans {
    template <CodeKind kKind>
    CellMeansKernel operator()() const {
        return mean_of_cells<kKind>;
    }
};
// kCellThreads threads a block; null for kinds that no re-rank store has.
inline CellMeansKernel mean_of_cells_kernel(CodeKind kind) {
    return pick_row_kind(kind, PickCellMeans());
}

}  // namespace nearcell::gpu
