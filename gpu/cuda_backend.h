// CudaBackend: the batch operations over host arrays, of which those of many multiplications run on
// a GPU: scores, assign, rotate, encode_rows, move_to_means of rows that are kept. They give the
// bits that the CPU's give on every instruction set with fused multiply-adds. The others, and
// batches too small to be worth the way, are done by the CPU. For training, assigning and encoding;
// whole searches go through DeviceCells.
//
// Cost: rows travel to the device, in slices of bounded memory, results back; one slice's copies
// overlap another's kernels. Thread safety: calls from several threads are safe, each has streams
// and memory of its own, which the next one finds again.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <nearcell/kernels/backend.h>

namespace nearcell::gpu {

struct CudaBackendOptions {
    int ordinal = 0;  // of the device
    // Batches of fewer multiplications are the CPU's, and those of fewer a value that is copied.
    // Estimates, by some 0.2 ms a call and some 5 GB/s of copies: not measured.
    size_t least_products = size_t{1} << 24;
    size_t least_products_a_value = 16;
    // Among so many rows the nearest are searched on tensor cores: with fewer, two scans, and what
    // passes, may take longer than all keys in float32. An estimate: not measured.
    size_t searched_rows = 8192;
    size_t slice_bytes = size_t{32} << 20;  // of rows and results on their way, of which two are
};

class CudaBackend final : public Backend {
   public:
    // Throws NoDevice.
    explicit CudaBackend(CudaBackendOptions options = {});
    ~CudaBackend() override;

    std::string describe() const override;
    size_t least_rows() const override { return 65536; }
    // Up to half of the memory that is free, or a slice; null where there is less.
    std::shared_ptr<const void> keep(MatrixView<const float> rows) const override;
    void scores(MatrixView<const float> queries, const FloatBlocks& blocks, Metric metric,
                MatrixView<float> out, int threads) const override;
    void assign(MatrixView<const float> x, MatrixView<const float> rows, Metric metric,
                uint32_t* labels, float* keys, int threads) const override;
    void rotate(MatrixView<const float> x, const float* factors, bool inverse,
                MatrixView<float> out, int threads) const override;

    // Product codes, and of rows that are kept those of one value a dimension and of one bit.
    bool encode_rows(const EncodeJob& job) const override;
    void move_to_means(MatrixView<const float> x, const float* weights, const RowGroups& groups,
                       bool unit, MatrixView<float> means, int threads) const override;
    // With cuBLAS where it is found (gpu/linear_algebra.h). Sums have another order than pca/'s.
    bool add_products(MatrixView<const float> x, const double* shift, double* sums,
                      double* products, int threads) const override;
    // With cuSOLVER where it is found.
    bool solve_symmetric(size_t dim, double* matrix, double* values) const override;

    // The CPU's: they look host memory through for single vectors, and pictures come one by one.
    void nearest(MatrixView<const float> queries, const CoarseRows& rows, size_t count,
                 uint32_t* out_rows, float* out_keys, int threads) const override;
    ScanCounts scan_cells(const ScanJob& job, std::span<TopK> results) const override;
    ScanCounts scan_cells_range(const ScanJob& job, float radius,
                                std::span<std::vector<Candidate>> hits) const override;
    RerankCounts rerank(const RerankJob& job,
                        std::span<std::vector<Candidate>> candidates) const override;
    void convolve(const ConvJob& job) const override;
    void pool(const PoolJob& job) const override;
    float key(const float* a, const float* b, size_t dim, Metric metric) const override;
    void decode_rows(const CodeView& code, const uint32_t* rows, size_t count,
                     MatrixView<float> out) const override;

   private:
    bool is_worthwhile(size_t products, size_t values) const;
    bool can_encode(const EncodeJob& job, bool is_kept) const;

    struct State;
    CudaBackendOptions options_;
    std::unique_ptr<State> state_;
};

}  // namespace nearcell::gpu
