// What the operations of CudaBackend share: its state, and rows on their way to a kernel. Private
// to gpu/cuda_backend.cu and the files beside it that have its other operations.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>

#include <nearcell/gpu/cuda_backend.h>
#include <nearcell/gpu/kept_rows.h>
#include <nearcell/gpu/launch_size.h>
#include <nearcell/gpu/row_slices.h>
#include <nearcell/gpu/kernels/tile_product.cuh>

namespace nearcell::gpu {

constexpr unsigned narrow(size_t number) { return static_cast<unsigned>(number); }

// Memory of calls is bounded by what slices take, so there is no other budget.
struct CudaBackend::State {
    explicit State(int ordinal) {
        const DeviceScope scope(ordinal);
        device = simt::device_properties();
        keeping = std::make_shared<OwnStream>();
    }
    simt::DeviceProperties device;
    std::shared_ptr<OwnStream> keeping;  // of what keep() keeps
    MemoryBudget budget{std::numeric_limits<size_t>::max()};
    SessionPool sessions{budget};
    KeptRows kept;
};

// What all slices of a call need on the device, there before the first one starts.
class CallOperands {
   public:
    explicit CallOperands(SessionPool& pool) : session_(pool.lease()) {}

    template <class T>
    T* copy(const T* values, size_t count) {
        auto* const there = session_->scratch.template take<T>(count);
        simt::copy_to_device(there, values, count * sizeof(T), session_->stream.get());
        return there;
    }
    RowOperand copy(MatrixView<const float> rows, int threads) {
        auto* const there = session_->scratch.template take<float>(rows.rows * rows.cols);
        upload_rows(*session_, rows, there, threads);
        return {there, rows.cols, narrow(rows.rows), narrow(rows.cols)};
    }
    Session& session() { return *session_; }
    void wait() { simt::synchronize(session_->stream.get()); }
    void done() {
        session_->scratch.start();  // on the emulation nothing stays between calls
        session_.done();
    }

   private:
    SessionPool::Lease session_;
};

// Rows that kernels take slice by slice: where they are kept, or from the host.
class SlicedRows {
   public:
    SlicedRows(MatrixView<const float> rows, const KeptRows& kept)
        : rows_(rows), part_(kept.find(rows)) {}

    bool is_kept() const { return static_cast<bool>(part_); }
    const KeptPart& part() const { return part_; }
    // Whether rows follow one another on the device.
    bool is_dense() const { return !is_kept() || part_.stride() == rows_.cols; }
    // Bytes that a row of a slice takes.
    size_t row_bytes() const { return is_kept() ? 0 : rows_.cols * sizeof(float); }
    MatrixView<const float> host() const { return rows_; }

    RowOperand slice(Session& session, size_t first, size_t count, int threads) const {
        const unsigned dim = narrow(rows_.cols);
        if (is_kept()) {
            const size_t stride = part_.stride();
            return {part_.data() + first * stride, stride, narrow(count), dim};
        }
        auto* const there = session.scratch.take<float>(count * rows_.cols);
        upload_rows(session, rows_.slice(first, count), there, threads);
        return {there, rows_.cols, narrow(count), dim};
    }
    // All of them, for all slices of a call.
    RowOperand all(CallOperands& operands, int threads) const {
        if (is_kept()) return slice(operands.session(), 0, rows_.rows, threads);
        return operands.copy(rows_, threads);
    }

   private:
    MatrixView<const float> rows_;
    KeptPart part_;
};

}  // namespace nearcell::gpu
