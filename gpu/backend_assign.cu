// CudaBackend::assign: every key on CUDA cores, or, among many rows, an exact search on tensor
// cores for the few that come into question.
#include <algorithm>

#include <nearcell/core/error.h>
#include <nearcell/gpu/backend_state.h>
#include <nearcell/gpu/exact_search.h>
#include <nearcell/gpu/kernels/choose_label.cuh>

namespace nearcell::gpu {
namespace {

constexpr size_t kNarrowRows = 64;  // up to so many, tiles are narrow

using AssignKernel = void (*)(AssignJob);

AssignKernel assign_kernel(bool dot, bool few) {
    if (dot) {
        return few ? assign_rows<TileKey::Dot, kNarrowColumns>
                   : assign_rows<TileKey::Dot, kWideColumns>;
    }
    return few ? assign_rows<TileKey::L2, kNarrowColumns> : assign_rows<TileKey::L2, kWideColumns>;
}

struct AssignWork {
    const SlicedRows& x;
    RowOperand rows;
    std::shared_ptr<const DeviceFlat> flat;  // of the rows; null: they are compared directly
    bool dot;
    size_t processors;
    unsigned most_doubtful;  // that are compared directly at a time
    uint32_t* labels;
    float* keys;
    int threads;

    // A slice under way, of which there are two.
    struct Slice {
        RowOperand vectors;
        unsigned long long* best;
        unsigned *found, *doubtful;  // labels; and where the search could not tell, and how often
        float* found_keys;
    } slices[2] = {};
    size_t started = 0, finished = 0;

    // Only gives the stream work, so that a slice is copied while the one before is searched.
    void start(Session& session, size_t first, size_t count) {
        Slice& slice = slices[started++ % 2];
        slice.vectors = x.slice(session, first, count, threads);
        slice.best = session.scratch.take<unsigned long long>(count);
        slice.doubtful = session.scratch.take<unsigned>(count + 1);
        simt::fill_bytes(slice.doubtful + count, 0, sizeof(unsigned), session.stream.get());
        if (flat)
            assign_by_search(session, slice);
        else
            assign_directly(slice.vectors, slice.best, session.stream.get());
        slice.found = session.scratch.take<unsigned>(count);
        slice.found_keys = keys == nullptr ? nullptr : session.scratch.take<float>(count);
        download(session, slice);
    }
    void finish(Session& session, size_t first, size_t count) {
        const Slice& slice = slices[finished++ % 2];
        const auto* words = session.download.get<uint32_t>(2 * count + 1);
        if (words[2 * count] > 0) {
            const unsigned doubtful = words[2 * count];
            for (unsigned begin = 0; begin < doubtful; begin += most_doubtful)
                look_directly(session, slice, begin, std::min(most_doubtful, doubtful - begin));
            download(session, slice);
            simt::synchronize(session.stream.get());
        }
        copy_values(words, labels + first, count, threads);
        const auto* const found = reinterpret_cast<const float*>(words + count);
        if (keys != nullptr) copy_values(found, keys + first, count, threads);
    }

   private:
    void download(Session& session, const Slice& slice) const {
        const simt::Stream stream = session.stream.get();
        const size_t count = slice.vectors.count;
        simt::launch(
            {"write_labels", narrow(ceil_divide(count, kKeyThreads / 32)), kKeyThreads, 0, stream},
            dot ? write_labels<TileKey::Dot> : write_labels<TileKey::L2>,
            LabelJob{slice.vectors, rows, slice.best, slice.found, slice.found_keys});
        auto* const words = session.download.get<uint32_t>(2 * count + 1);
        simt::copy_to_host(words, slice.found, count * sizeof *words, stream);
        if (keys != nullptr)
            simt::copy_to_host(words + count, slice.found_keys, count * sizeof *words, stream);
        simt::copy_to_host(words + 2 * count, slice.doubtful + count, sizeof *words, stream);
    }

    // Few vectors: the rows are shared among so many blocks that every processor has some.
    void assign_directly(const RowOperand& vectors, unsigned long long* best,
                         simt::Stream stream) const {
        simt::fill_bytes(best, 0xff, vectors.count * sizeof *best, stream);
        const bool few = rows.count <= kNarrowRows;
        const auto tile = static_cast<size_t>(tile_rows(few ? kNarrowColumns : kWideColumns));
        const size_t blocks = ceil_divide(vectors.count, kTileVectors);
        const size_t parts = std::clamp<size_t>(ceil_divide(4 * processors, blocks), 1, kMostGridY);
        const size_t part_rows = ceil_divide(ceil_divide(rows.count, parts), tile) * tile;
        const dim3 grid(narrow(blocks), narrow(ceil_divide(rows.count, part_rows)));
        simt::launch({"assign_rows", grid, kTileThreads, 0, stream}, assign_kernel(dot, few),
                     AssignJob{vectors, rows, narrow(part_rows), best});
    }

    void assign_by_search(Session& session, const Slice& slice) const {
        const simt::Stream stream = session.stream.get();
        const size_t count = slice.vectors.count;
        const LabelCandidates candidates =
            flat->find_candidates(slice.vectors.data, count, session);
        simt::launch({"choose_label", narrow(ceil_divide(count, kChooseThreads / kChooseLanes)),
                      kChooseThreads, 0, stream},
                     dot ? choose_label<TileKey::Dot> : choose_label<TileKey::L2>,
                     ChooseJob{slice.vectors, rows, candidates, slice.best, slice.doubtful,
                               slice.doubtful + count});
    }

    // Where the search could not tell: those from `begin` on.
    void look_directly(Session& session, const Slice& slice, unsigned begin, unsigned count) const {
        const simt::Stream stream = session.stream.get();
        const RowOperand& vectors = slice.vectors;
        const unsigned* const which = slice.doubtful + begin;
        const size_t mark = session.scratch.mark();
        auto* const values = session.scratch.take<float>(size_t{count} * vectors.dim);
        simt::launch({"gather_vectors", narrow(ceil_divide(count, kChooseThreads / 32)),
                      kChooseThreads, 0, stream},
                     gather_vectors, vectors, which, count, values);
        auto* const found = session.scratch.take<unsigned long long>(count);
        assign_directly({values, vectors.dim, count, vectors.dim}, found, stream);
        simt::launch(
            {"scatter_best", narrow(ceil_divide(count, kChooseThreads)), kChooseThreads, 0, stream},
            scatter_best, found, which, count, slice.best);
        session.scratch.rewind(mark);
    }
};

// Rows that an exact search takes; null for others, and where it would not pay.
std::shared_ptr<const DeviceFlat> flat_of(const KeptPart& kept, MatrixView<const float> rows,
                                          Metric metric, SessionPool& sessions, int threads) {
    try {
        if (kept && kept.offset == 0 && kept.copy->host.rows == rows.rows &&
            kept.copy->host.cols == rows.cols)
            return kept.copy->flat(metric, sessions, threads);
        const DeviceFlatOptions options{.threads = threads};
        return std::make_shared<const DeviceFlat>(rows, metric, options, &sessions);
    } catch (const Error& error) {
        const bool full = error.code() == StatusCode::OutOfMemory;
        if (!full && category(error.code()) != StatusCategory::Input) throw;
        return nullptr;  // no room; or values that are none, or too large
    }
}

}  // namespace

void CudaBackend::assign(MatrixView<const float> x, MatrixView<const float> rows, Metric metric,
                         uint32_t* labels, float* keys, int threads) const {
    const SlicedRows there(x, state_->kept), nearest(rows, state_->kept);
    const size_t values = x.rows * (there.is_kept() ? 2 : x.cols);
    if (x.rows == 0 || rows.rows == 0 || !is_worthwhile(x.rows * rows.rows * x.cols, values))
        return cpu_backend().assign(x, rows, metric, labels, keys, threads);
    const DeviceScope scope(options_.ordinal);
    const bool dot = is_similarity(metric);
    std::shared_ptr<const DeviceFlat> flat;
    if (rows.rows >= options_.searched_rows && there.is_dense())
        flat = flat_of(nearest.part(), rows, dot ? Metric::InnerProduct : Metric::L2,
                       state_->sessions, threads);
    CallOperands operands(state_->sessions);
    AssignWork work{.x = there,
                    .rows = nearest.all(operands, threads),
                    .flat = flat,
                    .dot = dot,
                    .processors = static_cast<size_t>(state_->device.processors),
                    .most_doubtful = narrow(rows_of_slice(options_.slice_bytes, 4 * x.cols)),
                    .labels = labels,
                    .keys = keys,
                    .threads = threads};
    operands.wait();
    const size_t each = there.row_bytes() + 3 * sizeof(uint64_t) +
                        (flat ? DeviceFlat::kLabelBytes + 2 * x.cols : 0);
    run_in_slices(state_->sessions, x.rows, rows_of_slice(options_.slice_bytes, each), work);
    operands.done();
}

}  // namespace nearcell::gpu
