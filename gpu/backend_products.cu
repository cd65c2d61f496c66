// CudaBackend::add_products and solve_symmetric: what PCA needs.
#include <algorithm>
#include <cstring>
#include <optional>

#include <nearcell/gpu/backend_state.h>
#include <nearcell/gpu/linear_algebra.h>
#include <nearcell/gpu/kernels/covariance.cuh>

namespace nearcell::gpu {
namespace {

constexpr size_t kMostDim = 60000;         // less than kMostGridY
constexpr size_t kPartProducts = 1 << 22;  // of all parts together, or of one
constexpr size_t kMostParts = 64;
constexpr size_t kLeastPartRows = 64;
constexpr size_t kLeastEigenDim = 256;  // below, the CPU needs some 10 ms
constexpr size_t kDoubleFactor = 2;     // what a double costs the CPU, in floats

// How many parts of a slice are summed side by side: by the dimension alone, so that sums do not
// depend on the device.
size_t parts_of(size_t dim) {
    return std::clamp<size_t>(kPartProducts / (dim * dim), 1, kMostParts);
}

// Only where there is a device of NVIDIA's, which the emulation is not.
const LinearAlgebra* library_for(size_t dim) {
    if (simt::kChecksMemory || dim > LinearAlgebra::kMostDim) return nullptr;
    const LinearAlgebra& found = LinearAlgebra::of_process();
    return found.available() ? &found : nullptr;
}

// Products of rows in their order, slice after slice.
class ProductSums {
   public:
    ProductSums(Session& session, size_t dim, const double* shift)
        : session_(session), dim_(dim), parts_(parts_of(dim)) {
        const simt::Stream stream = session.stream.get();
        if (const LinearAlgebra* const library = library_for(dim))
            products_.emplace(*library, stream);
        auto* const there = session.scratch.take<double>(dim);
        simt::copy_to_device(there, shift, dim * sizeof(double), stream);
        shift_ = there;
        totals_ = session.scratch.take<double>(size());
        simt::fill_bytes(totals_, 0, size() * sizeof(double), stream);
    }

    void add(const RowOperand& rows) { products_ ? add_by_library(rows) : add_by_parts(rows); }

    // Adds what was summed to the host's.
    void finish(double* sums, double* products) {
        auto* const found = session_.download.get<double>(size());
        const simt::Stream stream = session_.stream.get();
        simt::copy_to_host(found, totals_, size() * sizeof(double), stream);
        simt::synchronize(stream);
        for (size_t i = 0; i < dim_; ++i) {
            for (size_t j = i; j < dim_; ++j)
                products[i * dim_ + j] += found[i * dim_ + j];
            sums[i] += found[dim_ * dim_ + i];
        }
    }

   private:
    size_t size() const { return (dim_ + 1) * dim_; }

    void add_by_parts(const RowOperand& rows) {
        const size_t part_rows = std::max(kLeastPartRows, ceil_divide(rows.count, parts_));
        const size_t parts = ceil_divide(rows.count, part_rows), mark = session_.scratch.mark();
        auto* const partial = session_.scratch.take<double>(parts * size());
        const size_t tiles = ceil_divide(dim_, kProductTile);
        simt::launch({"sum_products",
                      {narrow(tiles * (tiles + 1) / 2), narrow(parts)},
                      kProductThreads,
                      0,
                      session_.stream.get()},
                     sum_products, ProductJob{rows, shift_, narrow(part_rows), partial});
        add_parts_to_totals({partial, size(), narrow(parts), 0, narrow(dim_)});
        session_.scratch.rewind(mark);
    }
    void add_by_library(const RowOperand& rows) {
        const size_t part_rows = std::max(kLeastPartRows, ceil_divide(rows.count, kMostGridY));
        const size_t parts = ceil_divide(rows.count, part_rows), mark = session_.scratch.mark();
        auto* const partial = session_.scratch.take<double>(parts * dim_);
        auto* const shifted = session_.scratch.take<double>(size_t{rows.count} * dim_);
        simt::launch(
            {"shift_rows", {columns(), narrow(parts)}, kProductThreads, 0, session_.stream.get()},
            shift_rows, ProductJob{rows, shift_, narrow(part_rows), partial}, shifted);
        products_->add(dim_, rows.count, shifted, totals_);
        add_parts_to_totals({partial, dim_, narrow(parts), narrow(dim_), narrow(dim_)});
        session_.scratch.rewind(mark);
    }
    unsigned columns() const { return narrow(ceil_divide(dim_, kProductThreads)); }
    void add_parts_to_totals(const PartialSums& sums) {
        simt::launch({"add_parts",
                      {columns(), narrow(dim_) + 1 - sums.first},
                      kProductThreads,
                      0,
                      session_.stream.get()},
                     add_parts, sums, totals_);
    }

    Session& session_;
    size_t dim_, parts_;
    std::optional<LinearAlgebra::Products> products_;
    const double* shift_ = nullptr;
    double* totals_ = nullptr;
};

// Slices of rows for the work of a stream: while one is summed, the next is on its way.
class RowFeed {
   public:
    RowFeed(SessionPool& pool, const SlicedRows& rows, simt::Stream stream, int threads)
        : pool_(pool), rows_(rows), stream_(stream), threads_(threads) {}

    RowOperand next(size_t first, size_t count) {
        if (!ways_[turn_]) ways_[turn_].emplace(pool_);
        Way& way = *ways_[turn_];
        const simt::Stream copying = way.session->stream.get();
        simt::synchronize(copying);  // its memory is free
        way.session->scratch.start();
        const RowOperand there = rows_.slice(*way.session, first, count, threads_);
        way.there.order(copying, stream_);
        return there;
    }
    // Whatever the stream does with the rows it was given.
    void done_with_rows() {
        Way& way = *ways_[turn_];
        way.used.order(stream_, way.session->stream.get());
        turn_ = 1 - turn_;
    }
    // The stream is done.
    void done() {
        for (std::optional<Way>& way : ways_) {
            if (!way) continue;
            way->session->scratch.start();
            way->session.done();
        }
    }

   private:
    struct Way {
        explicit Way(SessionPool& pool) : session(pool.lease()) {}
        SessionPool::Lease session;
        OwnEvent there, used;
    };
    SessionPool& pool_;
    const SlicedRows& rows_;
    simt::Stream stream_;
    int threads_;
    std::optional<Way> ways_[2];  // the second only if there is a second slice
    size_t turn_ = 0;
};

// Whether there was the memory that run() wants.
template <class Run>
bool has_memory(const Run& run) {
    try {
        run();
    } catch (const Error& error) {
        if (error.code() != StatusCode::OutOfMemory) throw;
        return false;
    }
    return true;
}

}  // namespace

bool CudaBackend::add_products(MatrixView<const float> x, const double* shift, double* sums,
                               double* products, int threads) const {
    const size_t dim = x.cols;
    const SlicedRows there(x, state_->kept);
    const size_t values = (there.is_kept() ? 0 : x.rows * dim) + 2 * dim * dim;
    if (x.rows == 0 || dim > kMostDim ||
        !is_worthwhile(kDoubleFactor * x.rows * dim * (dim + 1) / 2, values))
        return false;
    const DeviceScope scope(options_.ordinal);
    if ((parts_of(dim) + 1) * (dim + 1) * dim * sizeof(double) > simt::memory_state().free / 2)
        return false;
    return has_memory([&] {
        SessionPool::Lease session = state_->sessions.lease();
        const simt::Stream stream = session->stream.get();
        RowFeed feed(state_->sessions, there, stream, threads);
        ProductSums summed(*session, dim, shift);
        const WaitAtEnd wait(stream);  // before what is above goes
        // Slices are the same whether or not rows are kept, and so are the sums.
        const size_t slice = rows_of_slice(options_.slice_bytes, dim * sizeof(float));
        for (size_t first = 0; first < x.rows; first += slice) {
            summed.add(feed.next(first, std::min(slice, x.rows - first)));
            feed.done_with_rows();
        }
        summed.finish(sums, products);
        feed.done();
        session->scratch.clear();  // much, and seldom wanted
        session.done();
    });
}

bool CudaBackend::solve_symmetric(size_t dim, double* matrix, double* values) const {
    const LinearAlgebra* const library = library_for(dim);
    if (library == nullptr || dim < kLeastEigenDim) return false;
    const DeviceScope scope(options_.ordinal);
    if (2 * (dim + 1) * dim * sizeof(double) > simt::memory_state().free) return false;
    bool solved = false;
    const bool fits = has_memory([&] {
        SessionPool::Lease session = state_->sessions.lease();
        const simt::Stream stream = session->stream.get();
        auto* const there = session->scratch.take<double>(dim * dim);
        auto* const found = session->scratch.take<double>(dim);
        simt::copy_to_device(there, matrix, dim * dim * sizeof(double), stream);
        solved = library->solve_symmetric(dim, there, found, stream);
        if (!solved) return;
        simt::copy_to_host(matrix, there, dim * dim * sizeof(double), stream);
        simt::copy_to_host(values, found, dim * sizeof(double), stream);
        simt::synchronize(stream);
        session->scratch.clear();  // much, and seldom wanted
        session.done();
    });
    return fits && solved;
}

}  // namespace nearcell::gpu
