// CpuBackend: the batch operations on this machine's processor, over one kernel table. Immutable:
// safe from any number of threads.
#pragma once

#include <string>

#include <nearcell/kernels/backend.h>
#include <nearcell/kernels/kernel_table.h>

namespace nearcell {

class CpuBackend final : public Backend {
   public:
    explicit CpuBackend(const KernelTable& kernels) : kernels_(kernels) {}

    std::string describe() const override;
    void scores(MatrixView<const float> queries, const FloatBlocks& blocks, Metric metric,
                MatrixView<float> out, int threads) const override;
    void assign(MatrixView<const float> x, MatrixView<const float> rows, Metric metric,
                uint32_t* labels, float* keys, int threads) const override;
    void move_to_means(MatrixView<const float> x, const float* weights, const RowGroups& groups,
                       bool unit, MatrixView<float> means, int threads) const override;
    void nearest(MatrixView<const float> queries, const CoarseRows& rows, size_t count,
                 uint32_t* out_rows, float* out_keys, int threads) const override;
    ScanCounts scan_cells(const ScanJob& job, std::span<TopK> results) const override;
    ScanCounts scan_cells_range(const ScanJob& job, float radius,
                                std::span<std::vector<Candidate>> hits) const override;
    RerankCounts rerank(const RerankJob& job,
                        std::span<std::vector<Candidate>> candidates) const override;
    void rotate(MatrixView<const float> x, const float* factors, bool inverse,
                MatrixView<float> out, int threads) const override;
    void convolve(const ConvJob& job) const override;
    void pool(const PoolJob& job) const override;
    float key(const float* a, const float* b, size_t dim, Metric metric) const override {
        return pair_kernel(metric)(a, b, dim);
    }
    void decode_rows(const CodeView& code, const uint32_t* rows, size_t count,
                     MatrixView<float> out) const override;

   private:
    PairKernel* pair_kernel(Metric metric) const;
    const KernelTable& kernels_;
};

}  // namespace nearcell
