#include <nearcell/gpu/device_cells.h>

#include <algorithm>
#include <string>

#include <nearcell/core/error.h>
#include <nearcell/gpu/cell_call.h>

namespace nearcell::gpu {
namespace {

// An event that goes when its owner does.
class OwnEvent {
   public:
    OwnEvent() : event_(simt::create_event()) {}
    ~OwnEvent() {
        try {
            simt::destroy_event(event_);
        } catch (...) {  // after a failure that was thrown already
        }
    }
    OwnEvent(const OwnEvent&) = delete;
    OwnEvent& operator=(const OwnEvent&) = delete;
    // What `later` is given from now on runs after what `earlier` has been given.
    void order(simt::Stream earlier, simt::Stream later) {
        simt::record_event(event_, earlier);
        simt::wait_for_event(later, event_);
    }

   private:
    simt::Event event_;
};

}  // namespace

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
    simt::select_device(ordinal_);
    sessions_.clear();
    held_.update(cells);
}

std::string CudaCells::plan(size_t batch) const {
    std::string text = "cuda:" + std::to_string(ordinal_);
    if (held_.parts() > 1)
        text += ", codes from host memory in " + std::to_string(held_.parts()) + " parts";
    return text + ", at most " + std::to_string(batch) + " queries at a time";
}

SearchStats CudaCells::search(const DeviceBatch& batch, const DeviceSearch& search) const {
    simt::select_device(ordinal_);
    SessionPool::Lease session = sessions_.lease();
    const simt::Stream caller = static_cast<simt::Stream>(batch.stream);
    OwnEvent event;
    if (batch.on_device) event.order(caller, session->stream.get());
    CellCall call(held_, *session, device_, search);
    const size_t mark = session->scratch.mark();
    size_t most = call.batch_queries();
    for (size_t first = 0; first < batch.queries.rows;) {
        const size_t count = std::min(most, batch.queries.rows - first);
        try {
            call.search(batch, first, count);
        } catch (const Error& error) {
            // Other calls' scratch may be in the way: with less, if that is possible.
            if (error.code() != StatusCode::OutOfMemory || count == 1) throw;
            sessions_.clear();
            session->scratch.rewind(mark);
            most = (count + 1) / 2;
            continue;
        }
        session->scratch.rewind(mark);
        first += count;
    }
    if (batch.on_device) event.order(session->stream.get(), caller);
    session.done();
    SearchStats stats = call.stats();
    stats.plan = plan(most);
    return stats;
}

SearchStats CudaCells::range_search(const Vectors& queries, float radius, float scan_radius,
                                    const DeviceSearch& search,
                                    std::span<std::vector<Candidate>> hits) const {
    simt::select_device(ordinal_);
    SessionPool::Lease session = sessions_.lease();
    DeviceSearch settings = search;
    settings.k = 1;
    settings.depth = 0;
    settings.refine = false;
    DeviceBatch batch;
    batch.queries = queries;
    CellCall call(held_, *session, device_, settings);
    const size_t mark = session->scratch.mark(), most = call.batch_queries();
    for (size_t first = 0; first < queries.rows; first += most) {
        call.range(batch, first, std::min(most, queries.rows - first), radius, scan_radius, hits);
        session->scratch.rewind(mark);
    }
    session.done();
    SearchStats stats = call.stats();
    stats.plan = plan(most);
    return stats;
}

}  // namespace nearcell::gpu
