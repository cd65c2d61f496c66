#include <nearcell/gpu/cuda_backend.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/gpu/backend_state.h>
#include <nearcell/gpu/rotation.h>
#include <nearcell/kernels/kernel_table.h>
#include <nearcell/gpu/kernels/score_matrix.cuh>

namespace nearcell::gpu {
namespace {

TileKey tile_key(Metric metric) {
    if (is_similarity(metric)) return TileKey::Dot;
    return metric == Metric::L1 ? TileKey::L1 : TileKey::L2;
}

struct KeepWork {
    const KeptCopy& copy;

    void start(Session& session, size_t first, size_t count) const {
        upload_rows(session, copy.host.slice(first, count), copy.data() + first * copy.stride, 0);
    }
    void finish(Session&, size_t, size_t) const {}
};

using ScoreKernel = void (*)(ScoreJob);

ScoreKernel score_kernel(Metric metric) {
    switch (tile_key(metric)) {
        case TileKey::Dot: return score_matrix<TileKey::Dot>;
        case TileKey::L1: return score_matrix<TileKey::L1>;
        case TileKey::L2: break;
    }
    return score_matrix<TileKey::L2>;
}

constexpr size_t kMostScoredRows = kMostGridY * static_cast<size_t>(tile_rows(kWideColumns));

struct ScoreWork {
    const SlicedRows& queries;
    BlockOperand rows;
    ScoreKernel kernel;
    MatrixView<float> out;
    int threads;

    void start(Session& session, size_t first, size_t count) const {
        const RowOperand slice = queries.slice(session, first, count, threads);
        auto* const keys = session.scratch.take<float>(count * rows.count);
        constexpr auto kRows = static_cast<size_t>(tile_rows(kWideColumns));
        const dim3 grid(narrow(ceil_divide(count, kTileVectors)),
                        narrow(ceil_divide(rows.count, kRows)));
        simt::launch({"score_matrix", grid, kTileThreads, 0, session.stream.get()}, kernel,
                     ScoreJob{slice, rows, keys});
        download_rows(session, keys, count * rows.count);
    }
    void finish(Session& session, size_t first, size_t count) const {
        take_rows(session, out.slice(first, count), threads);
    }
};

struct RotateWork {
    MatrixView<const float> x;  // not where it is kept: there rows may be parts of longer ones
    const float* factors;
    bool inverse;
    MatrixView<float> out;
    int threads;

    void start(Session& session, size_t first, size_t count) const {
        auto* const rows = session.scratch.take<float>(count * x.cols);
        upload_rows(session, x.slice(first, count), rows, threads);
        launch_rotation({rows, count, x.cols, factors, kRotationRounds, inverse, rows},
                        session.stream.get());
        download_rows(session, rows, count * x.cols);
    }
    void finish(Session& session, size_t first, size_t count) const {
        take_rows(session, out.slice(first, count), threads);
    }
};

}  // namespace

CudaBackend::CudaBackend(CudaBackendOptions options)
    : options_(std::move(options)), state_(std::make_unique<State>(options_.ordinal)) {}
CudaBackend::~CudaBackend() = default;

std::string CudaBackend::describe() const {
    return "cuda:" + std::to_string(options_.ordinal) + " sm_" +
           std::to_string(state_->device.architecture) + " + " + cpu_backend().describe();
}

std::shared_ptr<const void> CudaBackend::keep(MatrixView<const float> rows) const {
    if (rows.rows == 0 || rows.cols == 0) return nullptr;
    if (const KeptPart part = state_->kept.find(rows)) {
        const auto copy = std::make_shared<const KeptCopy>(
            rows, part.copy->there, part.copy->offset + part.offset, part.stride());
        state_->kept.add(copy);
        return copy;
    }
    const DeviceScope scope(options_.ordinal);
    const size_t bytes = rows.rows * rows.cols * sizeof(float);
    // To ask how much is free takes longer than to copy a slice.
    if (bytes > options_.slice_bytes && bytes > simt::memory_state().free / 2) return nullptr;
    try {
        const auto values =
            std::make_shared<const KeptValues>(rows.rows * rows.cols, state_->keeping);
        const auto copy = std::make_shared<const KeptCopy>(rows, values, 0, rows.cols);
        KeepWork work{*copy};
        const size_t slice = rows_of_slice(options_.slice_bytes, rows.cols * sizeof(float));
        run_in_slices(state_->sessions, rows.rows, slice, work);
        state_->kept.add(copy);
        return copy;
    } catch (const Error& error) {
        if (error.code() != StatusCode::OutOfMemory) throw;
        return nullptr;  // others were faster; then rows travel with each call
    }
}

bool CudaBackend::is_worthwhile(size_t products, size_t values) const {
    return products >= options_.least_products &&
           products >= options_.least_products_a_value * values;
}

void CudaBackend::scores(MatrixView<const float> queries, const FloatBlocks& blocks, Metric metric,
                         MatrixView<float> out, int threads) const {
    const size_t dim = blocks.dim(), rows = blocks.rows();
    const SlicedRows there(queries, state_->kept);
    const size_t values = queries.rows * (rows + (there.is_kept() ? 0 : dim));
    const bool too_many = rows > kMostScoredRows;
    if (queries.rows == 0 || rows == 0 || too_many ||
        !is_worthwhile(queries.rows * rows * dim, values))
        return cpu_backend().scores(queries, blocks, metric, out, threads);
    const DeviceScope scope(options_.ordinal);
    CallOperands operands(state_->sessions);
    const float* const floats = operands.copy(blocks.data(), blocks_for(rows) * dim * kBlock);
    operands.wait();
    ScoreWork work{there,
                   {floats, narrow(rows), narrow(dim)},
                   score_kernel(metric),
                   {out.data, out.rows, rows, out.stride},
                   threads};
    const size_t each = there.row_bytes() + rows * sizeof(float);
    run_in_slices(state_->sessions, queries.rows, rows_of_slice(options_.slice_bytes, each), work);
    operands.done();
}

void CudaBackend::rotate(MatrixView<const float> x, const float* factors, bool inverse,
                         MatrixView<float> out, int threads) const {
    const size_t dim = x.cols;
    size_t levels = 1;
    while ((dim >> levels) > 0)
        ++levels;
    if (x.rows == 0 || dim > longest_rotation(state_->device) ||
        !is_worthwhile(x.rows * dim * levels * kRotationRounds, 2 * x.rows * dim))
        return cpu_backend().rotate(x, factors, inverse, out, threads);
    const DeviceScope scope(options_.ordinal);
    CallOperands operands(state_->sessions);
    const float* const there = operands.copy(factors, (kRotationRounds + 1) * dim);
    operands.wait();
    RotateWork work{x, there, inverse, out, threads};
    const size_t slice = rows_of_slice(options_.slice_bytes, dim * sizeof(float));
    run_in_slices(state_->sessions, x.rows, slice, work);
    operands.done();
}

void CudaBackend::nearest(MatrixView<const float> queries, const CoarseRows& rows, size_t count,
                          uint32_t* out_rows, float* out_keys, int threads) const {
    cpu_backend().nearest(queries, rows, count, out_rows, out_keys, threads);
}
ScanCounts CudaBackend::scan_cells(const ScanJob& job, std::span<TopK> results) const {
    return cpu_backend().scan_cells(job, results);
}
ScanCounts CudaBackend::scan_cells_range(const ScanJob& job, float radius,
                                         std::span<std::vector<Candidate>> hits) const {
    return cpu_backend().scan_cells_range(job, radius, hits);
}
RerankCounts CudaBackend::rerank(const RerankJob& job,
                                 std::span<std::vector<Candidate>> candidates) const {
    return cpu_backend().rerank(job, candidates);
}
void CudaBackend::convolve(const ConvJob& job) const { cpu_backend().convolve(job); }
void CudaBackend::pool(const PoolJob& job) const { cpu_backend().pool(job); }
float CudaBackend::key(const float* a, const float* b, size_t dim, Metric metric) const {
    return cpu_backend().key(a, b, dim, metric);
}
void CudaBackend::decode_rows(const CodeView& code, const uint32_t* rows, size_t count,
                              MatrixView<float> out) const {
    cpu_backend().decode_rows(code, rows, count, out);
}

}  // namespace nearcell::gpu
