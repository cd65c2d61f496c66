#include <nearcell/gpu/cuda_backend.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/gpu/rotation.h>
#include <nearcell/gpu/row_slices.h>
#include <nearcell/kernels/kernel_table.h>
#include <nearcell/gpu/kernels/assign_rows.cuh>
#include <nearcell/gpu/kernels/score_matrix.cuh>

namespace nearcell::gpu {
namespace {

constexpr size_t kMostParts = 65535;  // of a grid in y
constexpr size_t kNarrowRows = 64;    // up to so many, tiles are narrow

constexpr size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }
unsigned narrow(size_t number) { return static_cast<unsigned>(number); }

TileKey tile_key(Metric metric) {
    if (is_similarity(metric)) return TileKey::Dot;
    return metric == Metric::L1 ? TileKey::L1 : TileKey::L2;
}

}  // namespace

// What calls share. Their memory is bounded by what slices take, so there is no other budget.
struct CudaBackend::State {
    explicit State(int ordinal) {
        simt::select_device(ordinal);
        device = simt::device_properties();
    }
    simt::DeviceProperties device;
    MemoryBudget budget{std::numeric_limits<size_t>::max()};
    SessionPool sessions{budget};
};

namespace {

// What all slices of a call need on the device, there before the first one starts.
class CallOperands {
   public:
    explicit CallOperands(SessionPool& pool) : session_(pool.lease()) {}

    float* copy(const float* values, size_t count) {
        auto* const there = session_->scratch.take<float>(count);
        simt::copy_to_device(there, values, count * sizeof(float), session_->stream.get());
        return there;
    }
    RowOperand copy(MatrixView<const float> rows, int threads) {
        auto* const there = session_->scratch.take<float>(rows.rows * rows.cols);
        upload_rows(*session_, rows, there, threads);
        return {there, rows.cols, narrow(rows.rows), narrow(rows.cols)};
    }
    void wait() { simt::synchronize(session_->stream.get()); }
    void done() { session_.done(); }

   private:
    SessionPool::Lease session_;
};

RowOperand upload_slice(Session& session, MatrixView<const float> rows, int threads) {
    auto* const there = session.scratch.take<float>(rows.rows * rows.cols);
    upload_rows(session, rows, there, threads);
    return {there, rows.cols, narrow(rows.rows), narrow(rows.cols)};
}

using AssignKernel = void (*)(AssignJob);

AssignKernel assign_kernel(bool dot, bool few) {
    if (dot) {
        return few ? assign_rows<TileKey::Dot, kNarrowColumns>
                   : assign_rows<TileKey::Dot, kWideColumns>;
    }
    return few ? assign_rows<TileKey::L2, kNarrowColumns> : assign_rows<TileKey::L2, kWideColumns>;
}

struct AssignWork {
    MatrixView<const float> x;
    RowOperand rows;
    bool dot;
    size_t processors;
    uint32_t* labels;
    float* keys;
    int threads;

    void start(Session& session, size_t first, size_t count) const {
        const simt::Stream stream = session.stream.get();
        const RowOperand vectors = upload_slice(session, x.slice(first, count), threads);
        auto* const best = session.scratch.take<unsigned long long>(count);
        simt::fill_bytes(best, 0xff, count * sizeof *best, stream);
        launch_assign(vectors, best, stream);
        auto* const found = session.scratch.take<unsigned>(count);
        auto* const found_keys = keys == nullptr ? nullptr : session.scratch.take<float>(count);
        simt::launch(
            {"write_labels", narrow(divide_up(count, kKeyThreads / 32)), kKeyThreads, 0, stream},
            dot ? write_labels<TileKey::Dot> : write_labels<TileKey::L2>,
            LabelJob{vectors, rows, best, found, found_keys});
        auto* const words = session.download.get<uint32_t>(2 * count);
        simt::copy_to_host(words, found, count * sizeof *words, stream);
        if (keys != nullptr)
            simt::copy_to_host(words + count, found_keys, count * sizeof *words, stream);
    }
    void finish(Session& session, size_t first, size_t count) const {
        const auto* const words = session.download.get<uint32_t>(2 * count);
        std::copy_n(words, count, labels + first);
        if (keys != nullptr) std::memcpy(keys + first, words + count, count * sizeof(float));
    }

   private:
    // Few vectors: the rows are shared among so many blocks that every processor has some.
    void launch_assign(const RowOperand& vectors, unsigned long long* best,
                       simt::Stream stream) const {
        const bool few = rows.count <= kNarrowRows;
        const auto tile = static_cast<size_t>(tile_rows(few ? kNarrowColumns : kWideColumns));
        const size_t blocks = divide_up(vectors.count, kTileVectors);
        const size_t parts = std::clamp<size_t>(divide_up(4 * processors, blocks), 1, kMostParts);
        const size_t part_rows = divide_up(divide_up(rows.count, parts), tile) * tile;
        const dim3 grid(narrow(blocks), narrow(divide_up(rows.count, part_rows)));
        simt::launch({"assign_rows", grid, kTileThreads, 0, stream}, assign_kernel(dot, few),
                     AssignJob{vectors, rows, narrow(part_rows), best});
    }
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

// Floats of a slice on their way back.
void download_slice(Session& session, const float* from, size_t count) {
    auto* const between = session.download.get<float>(count);
    simt::copy_to_host(between, from, count * sizeof(float), session.stream.get());
}
void finish_slice(Session& session, MatrixView<float> out, int threads) {
    const auto* const between = session.download.get<float>(out.rows * out.cols);
    copy_rows({between, out.rows, out.cols}, out, threads);
}

struct ScoreWork {
    MatrixView<const float> queries;
    BlockOperand rows;
    ScoreKernel kernel;
    MatrixView<float> out;
    int threads;

    void start(Session& session, size_t first, size_t count) const {
        const RowOperand slice = upload_slice(session, queries.slice(first, count), threads);
        auto* const keys = session.scratch.take<float>(count * rows.count);
        constexpr auto kRows = static_cast<size_t>(tile_rows(kWideColumns));
        const dim3 grid(narrow(divide_up(count, kTileVectors)),
                        narrow(divide_up(rows.count, kRows)));
        simt::launch({"score_matrix", grid, kTileThreads, 0, session.stream.get()}, kernel,
                     ScoreJob{slice, rows, keys});
        download_slice(session, keys, count * rows.count);
    }
    void finish(Session& session, size_t first, size_t count) const {
        finish_slice(session, out.slice(first, count), threads);
    }
};

struct RotateWork {
    MatrixView<const float> x;
    const float* factors;
    bool inverse;
    MatrixView<float> out;
    int threads;

    void start(Session& session, size_t first, size_t count) const {
        const RowOperand slice = upload_slice(session, x.slice(first, count), threads);
        auto* const rotated = session.scratch.take<float>(count * x.cols);
        launch_rotation({slice.data, count, x.cols, factors, kRotationRounds, inverse, rotated},
                        session.stream.get());
        download_slice(session, rotated, count * x.cols);
    }
    void finish(Session& session, size_t first, size_t count) const {
        finish_slice(session, out.slice(first, count), threads);
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

bool CudaBackend::is_worthwhile(size_t products, size_t values) const {
    return products >= options_.least_products &&
           products >= options_.least_products_a_value * values;
}

void CudaBackend::scores(MatrixView<const float> queries, const FloatBlocks& blocks, Metric metric,
                         MatrixView<float> out, int threads) const {
    const size_t dim = blocks.dim(), rows = blocks.rows();
    if (queries.rows == 0 || rows == 0 ||
        !is_worthwhile(queries.rows * rows * dim, queries.rows * (rows + dim)))
        return cpu_backend().scores(queries, blocks, metric, out, threads);
    simt::select_device(options_.ordinal);
    CallOperands operands(state_->sessions);
    const BlockOperand there{operands.copy(blocks.data(), blocks_for(rows) * dim * kBlock),
                             narrow(rows), narrow(dim)};
    operands.wait();
    ScoreWork work{
        queries, there, score_kernel(metric), {out.data, out.rows, rows, out.stride}, threads};
    const size_t slice = rows_of_slice(options_.slice_bytes, (dim + rows) * sizeof(float));
    run_in_slices(state_->sessions, queries.rows, slice, work);
    operands.done();
}

void CudaBackend::assign(MatrixView<const float> x, MatrixView<const float> rows, Metric metric,
                         uint32_t* labels, float* keys, int threads) const {
    if (x.rows == 0 || rows.rows == 0 ||
        !is_worthwhile(x.rows * rows.rows * x.cols, x.rows * x.cols))
        return cpu_backend().assign(x, rows, metric, labels, keys, threads);
    simt::select_device(options_.ordinal);
    CallOperands operands(state_->sessions);
    AssignWork work{x,
                    operands.copy(rows, threads),
                    is_similarity(metric),
                    static_cast<size_t>(state_->device.processors),
                    labels,
                    keys,
                    threads};
    operands.wait();
    const size_t each = x.cols * sizeof(float) + 2 * sizeof(uint64_t);
    run_in_slices(state_->sessions, x.rows, rows_of_slice(options_.slice_bytes, each), work);
    operands.done();
}

void CudaBackend::rotate(MatrixView<const float> x, const float* factors, bool inverse,
                         MatrixView<float> out, int threads) const {
    const size_t dim = x.cols, row_bytes = dim * sizeof(float);
    size_t levels = 1;
    while ((dim >> levels) > 0)
        ++levels;
    if (x.rows == 0 || dim > longest_rotation(state_->device) ||
        !is_worthwhile(x.rows * dim * levels * kRotationRounds, 2 * x.rows * dim))
        return cpu_backend().rotate(x, factors, inverse, out, threads);
    simt::select_device(options_.ordinal);
    CallOperands operands(state_->sessions);
    const float* const there = operands.copy(factors, (kRotationRounds + 1) * dim);
    operands.wait();
    RotateWork work{x, there, inverse, out, threads};
    run_in_slices(state_->sessions, x.rows, rows_of_slice(options_.slice_bytes, 2 * row_bytes),
                  work);
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
