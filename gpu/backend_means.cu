// CudaBackend::move_to_means. Only rows that are kept on the device are summed there: the way takes
// longer than the sums.
#include <vector>

#include <nearcell/gpu/backend_state.h>
#include <nearcell/gpu/kernels/sum_rows.cuh>

namespace nearcell::gpu {
namespace {

// What adding a value of a row from anywhere in memory costs the CPU, in multiplications that are
// in a tile.
constexpr size_t kProductsAValue = 16;

struct MeanWork {
    RowOperand x;
    // On the device, of all groups.
    const float* weights;
    const unsigned* order;
    const unsigned long long* begins;
    bool unit;
    MatrixView<float> means;
    int threads;

    void start(Session& session, size_t first, size_t count) const {
        const simt::Stream stream = session.stream.get();
        auto* const moved = session.scratch.take<float>(count * means.cols);
        upload_rows(session, means.slice(first, count), moved, threads);

        auto* const sums = session.scratch.take<double>(count * means.cols);
        auto* const totals = session.scratch.take<double>(count);
        const dim3 grid(narrow(count), narrow(ceil_divide(means.cols, kMeanThreads)));
        simt::launch({"sum_rows", grid, kMeanThreads, 0, stream}, sum_rows,
                     SumJob{x, weights, order, begins + first, sums, totals});
        simt::launch({"finish_means", narrow(ceil_divide(count, kMeanThreads / 32)), kMeanThreads,
                      0, stream},
                     finish_means,
                     MeanJob{sums, totals, narrow(count), narrow(means.cols), unit, moved});
        download_rows(session, moved, count * means.cols);
    }
    void finish(Session& session, size_t first, size_t count) const {
        take_rows(session, means.slice(first, count), threads);
    }
};

}  // namespace

void CudaBackend::move_to_means(MatrixView<const float> x, const float* weights,
                                const RowGroups& groups, bool unit, MatrixView<float> means,
                                int threads) const {
    const SlicedRows there(x, state_->kept);
    const size_t summed = groups.count == 0 ? 0 : groups.begin[groups.count] - groups.begin[0];
    if (!there.is_kept() || summed == 0 ||
        !is_worthwhile(kProductsAValue * summed * x.cols, summed + groups.count * x.cols))
        return cpu_backend().move_to_means(x, weights, groups, unit, means, threads);
    const DeviceScope scope(options_.ordinal);
    CallOperands operands(state_->sessions);
    const std::vector<unsigned long long> begins(groups.begin, groups.begin + groups.count + 1);
    const WaitAtEnd wait(operands.session().stream.get());  // before what is copied goes
    MeanWork work{there.all(operands, threads),
                  weights == nullptr ? nullptr : operands.copy(weights, x.rows),
                  operands.copy(groups.order, begins.back()),
                  operands.copy(begins.data(), begins.size()),
                  unit,
                  {means.data, groups.count, x.cols, means.stride},
                  threads};
    operands.wait();
    const size_t each = x.cols * (sizeof(float) + sizeof(double));
    run_in_slices(state_->sessions, groups.count, rows_of_slice(options_.slice_bytes, each), work);
    operands.done();
}

}  // namespace nearcell::gpu
