#include <nearcell/gpu/query_steps.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/gpu/launch_size.h>
#include <nearcell/gpu/rotation.h>
#include <nearcell/kernels/fast_rotation.h>
#include <nearcell/kernels/kernel_table.h>
#include <nearcell/kernels/linear_map.h>
#include <nearcell/gpu/kernels/prepare_rows.cuh>

namespace nearcell::gpu {
namespace {

constexpr size_t kGatheredBytes = size_t{1} << 18;
constexpr size_t kCopiedBytes = size_t{1} << 20;  // together; meanwhile the next are gathered
// Of queries that kernels read where the host has them: a copy has its cost, too.
constexpr size_t kReadThere = size_t{1} << 15;

// Rows of a batch one after another in pinned memory, as they are given.
void gather_bytes(const Vectors& queries, char* to, int threads) {
    const size_t row_bytes = queries.cols * element_size(queries.type);
    const size_t rows = std::max<size_t>(1, kGatheredBytes / row_bytes);  // of a task
    parallel_for(ceil_divide(queries.rows, rows), threads, [&](size_t task, int) {
        const size_t end = std::min(queries.rows, (task + 1) * rows);
        if (queries.stride == queries.cols) {
            std::memcpy(to + task * rows * row_bytes, queries.row(task * rows),
                        (end - task * rows) * row_bytes);
            return;
        }
        for (size_t i = task * rows; i < end; ++i)
            std::memcpy(to + i * row_bytes, queries.row(i), row_bytes);
    });
}

}  // namespace

void QuerySteps::set(std::span<const VectorStep> steps, size_t dim, MemoryBudget& budget,
                     simt::Stream stream) {
    constexpr const char* kWhat = "the transforms of queries";
    const auto copy = [&](const std::vector<float>& values) {
        if (values.empty()) return DeviceArray<float>();
        DeviceArray<float> array(values.size(), stream, budget, kWhat);
        array.copy_from(values.data(), values.size());
        return array;
    };
    steps_.clear();
    dim_ = dim;
    for (const VectorStep& given : steps) {
        Step step;
        step.in_dim = step.out_dim = coded_dim();
        if (given.map != nullptr) {
            step.kind = Kind::Map;
            step.matrix = copy(given.map->matrix());
            step.bias = copy(given.map->bias());
            step.out_dim = given.map->out_dim();
        } else if (given.rotation != nullptr) {
            step.kind = Kind::Rotate;
            step.matrix = copy(given.rotation->factors());
        }
        steps_.push_back(std::move(step));
    }
    simt::synchronize(stream);
}

size_t QuerySteps::widest() const {
    size_t widest = dim_;
    for (const Step& step : steps_)
        widest = std::max(widest, step.out_dim);
    return widest;
}

const float* QuerySteps::load(const DeviceBatch& batch, size_t first, size_t count, Metric metric,
                              int threads, Session& session, unsigned long long* bad) const {
    const simt::Stream stream = session.stream.get();
    const Vectors queries = batch.queries.slice(first, count);
    GivenRows given{queries.data, queries.type, count, dim_, queries.stride};
    if (!batch.on_device) {
        const size_t row_bytes = dim_ * element_size(queries.type), bytes = count * row_bytes;
        // What was staged before has been copied: calls wait for the end of each batch.
        char* const staged = session.upload.get<char>(bytes);
        char* const rows = bytes > kReadThere ? session.scratch.take<char>(bytes) : staged;
        const size_t some = std::max<size_t>(1, kCopiedBytes / row_bytes);
        for (size_t row = 0; row < count; row += some) {
            const size_t part = std::min(some, count - row), at = row * row_bytes;
            gather_bytes(queries.slice(row, part), staged + at, threads);
            if (rows != staged)
                simt::copy_to_device(rows + at, staged + at, part * row_bytes, stream);
        }
        given.data = rows;
        given.stride = dim_;
    }
    float* const floats = session.scratch.take<float>(count * dim_);
    simt::launch(
        {"convert_rows", blocks_of(count * dim_, kPrepareThreads), kPrepareThreads, 0, stream},
        convert_rows, given, largest_value(dim_), first * dim_, floats, bad);
    if (metric != Metric::Cosine) return floats;
    float* const normal = session.scratch.take<float>(count * dim_);
    simt::launch({"normalize_rows", blocks_of(count, kPrepareThreads), kPrepareThreads, 0, stream},
                 normalize_rows, floats, count, dim_, normal);
    return normal;
}

const float* QuerySteps::apply(const float* rows, size_t count, Session& session) const {
    const simt::Stream stream = session.stream.get();
    for (const Step& step : steps_) {
        const size_t out_dim = step.out_dim;
        float* const out = session.scratch.take<float>(count * out_dim);
        switch (step.kind) {
            case Kind::Normalize:
                simt::launch({"normalize_rows", blocks_of(count, kPrepareThreads), kPrepareThreads,
                              0, stream},
                             normalize_rows, rows, count, out_dim, out);
                break;
            case Kind::Map: {
                const dim3 grid(blocks_of(count, kMapTile), blocks_of(out_dim, kMapTile));
                simt::launch({"map_rows", grid, {kMapTile, kMapTile}, 0, stream}, map_rows,
                             RowMap{step.matrix.data(), step.bias.data(), step.in_dim, out_dim},
                             rows, count, out);
                break;
            }
            case Kind::Rotate:
                launch_rotation(
                    {rows, count, out_dim, step.matrix.data(), kRotationRounds, false, out},
                    stream);
                break;
        }
        rows = out;
    }
    return rows;
}

}  // namespace nearcell::gpu
