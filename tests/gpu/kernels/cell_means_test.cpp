// The means by which byte tiles of re-rank rows are moved, in double precision.
#include <nearcell/gpu/kernels/cell_means.cuh>

#include "byte_case.h"

namespace nearcell::gpu {
namespace {

using simt::config;

class CellMeans : public simt::SimtTest {};

// Chunks of a cell lie in a row; `sizes` vectors a cell.
void check_means(CodeKind kind, size_t dim, const std::vector<size_t>& sizes, Random& random) {
    const RandomCodes codes(kind, dim, 0, sizes, false, random);
    const StoredCase store(codes.view(), codes.cells, codes.centroids, false, 2, false, random);
    const TiledCase rows(store);
    std::vector<unsigned> first(1, 0);
    for (size_t cell = 0, chunk = 0; cell < sizes.size(); ++cell) {
        while (chunk < store.chunks().size() && store.chunks()[chunk].cell == cell)
            ++chunk;
        first.push_back(static_cast<unsigned>(chunk));
    }
    const DeviceArray<unsigned> chunk_first(first);
    const DeviceArray<float> means(sizes.size() * dim, -1.0f);
    const dim3 grid(static_cast<unsigned>(sizes.size()),
                    static_cast<unsigned>((dim + kCellThreads - 1) / kCellThreads));
    simt::launch({"mean_of_cells", grid, kCellThreads}, mean_of_cells_kernel(kind), rows.stored(),
                 chunk_first.data(), means.data());
    const std::vector<float> result = means.to_host();
    for (size_t cell = 0; cell < sizes.size(); ++cell) {
        const size_t count = sizes[cell], some = std::min(count, kMeanRows);
        for (size_t j = 0; j < dim; ++j) {
            double sum = 0, size = 0;
            for (size_t i = 0; i < some; ++i) {
                const size_t row = i * count / some;
                const size_t place = store.chunks()[first[cell]].first_block * kBlock + row;
                const float value = store.vector(static_cast<unsigned>(place))[j];
                sum += static_cast<double>(value);
                size += std::fabs(static_cast<double>(value));
            }
            const double share = some == 0 ? 0 : 1 / static_cast<double>(some);
            EXPECT_NEAR(static_cast<double>(result[cell * dim + j]), sum * share,
                        1e-4 * size * share)
                << "cell " << cell << ", dimension " << j;
        }
    }
}

TEST_F(CellMeans, OfEveryKind) {
    Random random(1);
    uint64_t turn = 0;
    for (const CodeKind kind : kRowKinds) {
        for (const size_t dim : {1, 31, 130}) {
            config().seed = ++turn;
            SCOPED_TRACE(testing::Message()
                         << "kind " << static_cast<int>(kind) << ", dim " << dim);
            check_means(kind, dim, {20, 1, 0, 100}, random);
        }
    }
    EXPECT_EQ(mean_of_cells_kernel(CodeKind::Bits), nullptr);
}

TEST_F(CellMeans, OfSomeWhereThereAreMany) {
    Random random(2);
    check_means(CodeKind::Float16, 3, {kMeanRows + 500, 2 * kMeanRows}, random);
}

}  // namespace
}  // namespace nearcell::gpu
