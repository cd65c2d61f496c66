#include <nearcell/gpu/device_cells.h>

#include <algorithm>
#include <optional>
#include <string>

#include <nearcell/core/error.h>
#include <nearcell/gpu/cell_call.h>
#include <nearcell/gpu/launch_size.h>

namespace nearcell::gpu {

CudaCells::CudaCells(const SearchableCells& cells, const DeviceOptions& options, int ordinal,
                     size_t memory_limit)
    : ordinal_(ordinal),
      device_(simt::device_properties()),
      budget_(memory_limit),
      held_(options, budget_),
      sessions_(budget_) {
    held_.update(cells);
}

void CudaCells::update(const SearchableCells& cells) {
    const DeviceScope scope(ordinal_);
    sessions_.clear();
    held_.update(cells);
}

std::string CudaCells::plan(size_t batch) const {
    std::string text = "cuda:" + std::to_string(ordinal_);
    if (held_.parts() > 1)
        text += ", codes from host memory in " + std::to_string(held_.parts()) + " parts";
    return text + ", at most " + std::to_string(batch) + " queries at a time";
}

// Calls run(first, count) for some queries at a time. What may be in the way is other calls'
// scratch: with less, if that is possible.
template <class Run>
size_t CudaCells::in_batches(size_t queries, size_t most, Session& session, const Run& run) const {
    const size_t mark = session.scratch.mark();
    most = ceil_divide(queries, std::max<size_t>(1, ceil_divide(queries, most)));  // all alike
    for (size_t first = 0; first < queries;) {
        const size_t count = std::min(most, queries - first);
        try {
            run(first, count);
        } catch (const Error& error) {
            if (error.code() != StatusCode::OutOfMemory || count == 1) throw;
            simt::synchronize(session.stream.get());
            sessions_.clear();
            session.scratch.shrink(mark);
            most = (count + 1) / 2;
            continue;
        }
        session.scratch.rewind(mark);
        first += count;
    }
    return most;
}

SearchStats CudaCells::search(const DeviceBatch& batch, const DeviceSearch& search) const {
    const DeviceScope scope(ordinal_);
    SessionPool::Lease session = sessions_.lease();
    const simt::Stream caller = static_cast<simt::Stream>(batch.stream);
    std::optional<OwnEvent> event;
    if (batch.on_device) event.emplace().order(caller, session->stream.get());
    CellCall call(held_, *session, device_, search);
    const size_t most = in_batches(
        batch.queries.rows, call.batch_queries(), *session, [&](size_t first, size_t count) {
            try {
                call.search(batch, first, count);
            } catch (const Error& error) {  // of queries that are none, when all was done
                if (category(error.code()) == StatusCategory::Input) session.done();
                throw;
            }
        });
    if (event) event->order(session->stream.get(), caller);
    SearchStats stats = call.stats();
    stats.plan = plan(most);
    session.done();
    return stats;
}

SearchStats CudaCells::range_search(const Vectors& queries, float radius, float scan_radius,
                                    const DeviceSearch& search,
                                    std::span<std::vector<Candidate>> hits) const {
    const DeviceScope scope(ordinal_);
    SessionPool::Lease session = sessions_.lease();
    DeviceSearch settings = search;
    settings.k = 1;
    settings.depth = 0;
    settings.refine = false;
    DeviceBatch batch;
    batch.queries = queries;
    CellCall call(held_, *session, device_, settings);
    const size_t most =
        in_batches(queries.rows, call.batch_queries(), *session, [&](size_t first, size_t count) {
            for (std::vector<Candidate>& list : hits.subspan(first, count))
                list.clear();
            call.range(batch, first, count, radius, scan_radius, hits);
        });
    SearchStats stats = call.stats();
    stats.plan = plan(most);
    session.done();
    return stats;
}

}  // namespace nearcell::gpu
