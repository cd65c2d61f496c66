#include <nearcell/gpu/cell_call.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <nearcell/core/parallel.h>
#include <nearcell/gpu/launch_size.h>
#include <nearcell/gpu/kernels/filter_places.cuh>
#include <nearcell/gpu/kernels/shift_places.cuh>
#include <nearcell/gpu/kernels/write_answers.cuh>

namespace nearcell::gpu {
namespace {

constexpr unsigned kBadValue = 6, kCrowded = 7;  // of the counters
constexpr size_t kCopiedBytes = size_t{1} << 18;
// Up to so many bytes, kernels write to where the host reads them.
constexpr size_t kWrittenThere = size_t{1} << 15;
constexpr size_t kMostQueries = size_t{1} << 16;  // of a batch
// Of rounds: centroids lie in any order, cells are looked into nearest first, so that after the
// nearest not many vectors pass.
constexpr size_t kCoarseGrowth = 4, kCellGrowth = 8, kFewGrowth = size_t{1} << 30;
constexpr size_t kCoarseSample = 1024;
constexpr size_t kFewNeighbours = 16;
// Candidates that the host scores where codes' bounds would ask for the re-rank store at once.
constexpr size_t kLeastHostDepth = 128, kHostDepth = 16;

BestLists slice_of(BestLists lists, size_t first) {
    return {lists.keys + first * lists.k, lists.places + first * lists.k, lists.held + first,
            lists.k};
}

}  // namespace

CellCall::CellCall(const HeldCells& held, Session& session, const simt::DeviceProperties& device,
                   const DeviceSearch& search)
    : held_(held),
      session_(session),
      device_(device),
      search_(search),
      counters_(session.scratch.take<unsigned long long>(kCallCounters + 2 * kMostRounds)) {
    // One filling for all that has to be 0 at first.
    const size_t zeros = kCallCounters + 2 * kMostRounds;
    simt::fill_bytes(counters_, 0, zeros * sizeof(*counters_), session.stream.get());
    options_.rounds = reinterpret_cast<RoundCount*>(counters_ + kCallCounters);
    coarse_rounds_ = options_.rounds + kMostRounds;
    options_.counters = counters_;
    options_.metric = held.metric();
    options_.refined = search.refine && held.rerank_on_device();
    const bool host_decides = search.refine && !options_.refined;
    by_rows_ = search.depth > 0 || host_decides;
    size_t wanted = search.depth > 0 ? search.depth : search.k;
    if (host_decides) wanted = std::max(kLeastHostDepth, kHostDepth * search.k);
    options_.k = std::min(wanted, held.vectors());
    options_.margin = search.margin;
    options_.reach = search.reach;
    options_.room = held.options().candidates;
    options_.shared_queries = held.options().shared_queries;
    options_.scratch_bytes = held.options().scratch_bytes;
    // With a filter samples may give no limits.
    const bool filtered = search.filter != nullptr && !search.filter->allows_all();
    const bool few = options_.k <= kFewNeighbours && !filtered;
    options_.growth = few ? kFewGrowth : kCellGrowth;
    if (filtered) {
        const simt::Stream stream = session_.stream.get();
        rule_ = search.filter->rule();
        auto* const bits = session_.scratch.take<uint8_t>(rule_.bit_bytes + 1);
        auto* const ids = session_.scratch.take<int64_t>(rule_.id_count + 1);
        if (rule_.bit_bytes > 0) simt::copy_to_device(bits, rule_.bits, rule_.bit_bytes, stream);
        if (rule_.id_count > 0)
            simt::copy_to_device(ids, rule_.ids, rule_.id_count * sizeof(int64_t), stream);
        rule_.bits = bits;
        rule_.ids = ids;
    }
}

ChunkSearchOptions CellCall::coarse_options() const {
    ChunkSearchOptions options;
    options.rounds = coarse_rounds_;
    options.metric = held_.coarse_metric();
    options.k = search_.probes;
    options.scratch_bytes = held_.options().scratch_bytes;
    options.room = held_.options().candidates;
    options.shared_queries = held_.options().shared_queries;
    options.counters = counters_ + 2;
    options.probes = true;
    // Scans of byte tiles, which parts do not have, do not ask how near a cell is, a reach does.
    options.inexact_keys = held_.parts() == 1 &&
                           ChunkSearch::scans_tiles(held_.cells(), options_) &&
                           search_.reach == std::numeric_limits<float>::infinity();
    options.crowded = options_.crowded;
    options.roomy = options_.roomy;
    options.growth = kCoarseGrowth;
    options.sample = kCoarseSample;
    return options;
}

// Scratch of a query in a scan.
size_t CellCall::scan_bytes() const {
    const size_t coarse = ChunkSearch::bytes_per_query(held_.centroids(), coarse_options(), 1);
    const size_t fine = ChunkSearch::bytes_per_query(held_.cells(), options_, search_.probes);
    return std::max(coarse, fine);
}

// Pairs of a round are counted by 32 bits.
size_t CellCall::most_queries() const {
    const size_t chunks =
        std::max(held_.cells().most_chunks(search_.probes), held_.centroids().most_chunks(1));
    return std::clamp<size_t>(UINT32_MAX / std::max<size_t>(1, chunks), 1, kMostQueries);
}

// Where the cells come in parts, a part should serve many queries: then only what is kept of them
// counts, and scans take fewer.
size_t CellCall::batch_queries() const {
    const size_t kept = 3 * held_.steps().widest() * sizeof(float) +
                        search_.probes * 5 * sizeof(uint64_t) +
                        (options_.k + search_.k) * 3 * sizeof(uint64_t);
    const size_t each = held_.parts() > 1 ? 2 * kept : kept + scan_bytes();
    return std::clamp<size_t>(held_.options().scratch_bytes / each, 1, most_queries());
}

// Whether all candidates had room is seen in the end, so that nothing waits before; that is rarely
// not so. Then the search is done again with more room, and if that is too little, too, or there is
// no memory for it, it looks in between, for the crowded queries alone. Where the codes come in
// parts, it does so at once.
void CellCall::search(const DeviceBatch& batch, size_t first, size_t count) {
    const size_t mark = session_.scratch.mark();
    const auto before = counted_;
    const uint64_t scored_before = host_scored_;
    int crowding = held_.parts() > 1 ? HeldCells::kMostCrowding : held_.crowding();
    while (!search_at(crowding, batch, first, count)) {
        held_.note_crowding(++crowding);
        counted_ = before;
        host_scored_ = scored_before;
        session_.scratch.shrink(mark);
    }
}

// What one that did not come to its end has counted on the device does not count.
void CellCall::start_counting() {
    if (is_unfinished_)
        simt::copy_to_device(counters_, counted_.data(), sizeof(counted_), session_.stream.get());
    is_unfinished_ = true;
}

// Whether that was all: false where queries were crowded, or there was no memory for more room.
bool CellCall::search_at(int crowding, const DeviceBatch& batch, size_t first, size_t count) {
    const auto before = counted_;
    start_counting();
    options_.roomy = crowding == 1;
    options_.crowded = crowding < HeldCells::kMostCrowding ? counters_ + kCrowded : nullptr;
    try {
        search_once(batch, first, count);
    } catch (const Error& error) {
        if (error.code() != StatusCode::OutOfMemory || !options_.roomy) throw;
        simt::synchronize(session_.stream.get());
        return false;
    }
    is_unfinished_ = options_.crowded != nullptr && counted_[kCrowded] != before[kCrowded];
    return !is_unfinished_;
}

void CellCall::search_once(const DeviceBatch& batch, size_t first, size_t count) {
    const ChunkQueries queries = prepare(batch, first, count);
    BestLists best = make_lists(count, options_.k);
    if (options_.k == 0)
        empty_lists(best, count);
    else
        scan_parts(queries, best);
    if (by_rows_ && options_.k > 0) {
        if (!held_.rerank_on_device()) return rerank_on_host(batch, first, queries, best);
        const BestLists reranked = make_lists(count, std::min(search_.k, held_.vectors()));
        ChunkSearchOptions rows = options_;
        rows.counters = counters_ + 4;
        ChunkSearch(held_.cells(), session_, device_, rows).rerank(queries, best, reranked);
        best = reranked;
    }
    answer(batch, first, count, best);
}

// The best of all parts.
void CellCall::scan_parts(const ChunkQueries& queries, BestLists best) {
    if (held_.parts() == 1) {
        held_.load(0, search_.threads);
        make_masks();
        return scan_part(queries, best, nullptr);
    }
    const simt::Stream stream = session_.stream.get();
    auto* const limits = session_.scratch.take<float>(queries.count);
    const BestLists more = make_lists(queries.count, options_.k);
    const std::vector<float> none(queries.count, std::numeric_limits<float>::infinity());
    simt::copy_to_device(limits, none.data(), none.size() * sizeof(float), stream);
    empty_lists(best, queries.count);
    const std::lock_guard lock(held_.loading());
    const WaitAtEnd wait(stream);  // before others may load
    for (size_t part = 0; part < held_.parts(); ++part) {
        const size_t mark = session_.scratch.mark();
        simt::synchronize(stream);  // what reads the last part has ended
        held_.load(part, search_.threads);
        make_masks();
        scan_part(queries, more, limits);
        simt::launch({"shift_places", blocks_of(queries.count * more.k, kShiftThreads),
                      kShiftThreads, 0, stream},
                     shift_places, more, queries.count, held_.cells().cell_of_block(),
                     held_.place_shifts());
        ChunkSearch(held_.cells(), session_, device_, options_)
            .merge(queries.count, more, best, limits);
        simt::synchronize(stream);
        session_.scratch.rewind(mark);
    }
}

// As many queries at a time as there is scratch for.
void CellCall::scan_part(const ChunkQueries& queries, BestLists best, float* limits) {
    if (held_.cells().vectors() == 0) return empty_lists(best, queries.count);
    const size_t most =
        std::clamp<size_t>(held_.options().scratch_bytes / scan_bytes(), 1, most_queries());
    for (size_t first = 0; first < queries.count; first += most) {
        const size_t count = std::min(most, queries.count - first), mark = session_.scratch.mark();
        ChunkSearch scan(held_.cells(), session_, device_, options_);
        options_.rounds = nullptr;
        scan.search(queries.slice(first, count), slice_of(best, first),
                    limits == nullptr ? nullptr : limits + first);
        session_.scratch.rewind(mark);
    }
}

void CellCall::range(const DeviceBatch& batch, size_t first, size_t count, float radius,
                     float scan_radius, std::span<std::vector<Candidate>> hits) {
    constexpr float kBelow = -std::numeric_limits<float>::infinity();
    options_.k = 1;
    options_.refined = false;
    start_counting();
    const ChunkQueries queries = prepare(batch, first, count);
    const bool by_rows = held_.rerank_on_device();
    const float limit = std::nextafter(held_.has_rerank() ? scan_radius : radius, kBelow);
    std::unique_lock<std::mutex> lock;
    if (held_.parts() > 1) lock = std::unique_lock(held_.loading());
    const WaitAtEnd wait(session_.stream.get());
    for (size_t part = 0; part < held_.parts(); ++part) {
        const size_t mark = session_.scratch.mark();
        held_.load(part, search_.threads);
        make_masks();
        ChunkSearch scan(held_.cells(), session_, device_, options_);
        options_.rounds = nullptr;
        const std::vector<RangeHits> found = scan.range(queries, limit, by_rows);
        std::vector<unsigned> shifts(held_.place_shifts() == nullptr ? 0 : held_.cell_count());
        if (!shifts.empty()) {
            simt::copy_to_host(shifts.data(), held_.place_shifts(),
                               shifts.size() * sizeof(unsigned), session_.stream.get());
            simt::synchronize(session_.stream.get());
        }
        parallel_for(count, search_.threads, [&](size_t q, int) {
            for (size_t i = 0; i < found[q].keys.size(); ++i) {
                unsigned place = found[q].places[i];
                if (!shifts.empty()) place += shifts[held_.cells().locate(place).first];
                hits[first + q].push_back(candidate_of(found[q].keys[i], place));
            }
        });
        session_.scratch.rewind(mark);
    }
    see_counters(batch);
    is_unfinished_ = false;
    if (held_.has_rerank() && !by_rows) {
        for (std::vector<Candidate>& list : hits.subspan(first, count))
            std::sort(list.begin(), list.end(), nearer);
        score_on_host(queries, hits.subspan(first, count), 0);
    }
    for (std::vector<Candidate>& list : hits.subspan(first, count)) {
        for (Candidate& c : list)
            c.key = key_from_score(held_.metric(), reported_score(held_.metric(), c.key));
        std::erase_if(list, [&](const Candidate& c) { return !(c.key < radius); });
        std::sort(list.begin(), list.end(), nearer);
    }
}

// Which vectors of the part that is loaded the filter lets pass.
void CellCall::make_masks() {
    options_.masks = nullptr;
    if (rule_.kind == IdFilterKind::All && !rule_.negated) return;
    const CellStore& store = held_.cells();
    auto* const masks = session_.scratch.take<unsigned short>(store.blocks() + 1);
    simt::launch({"filter_places", blocks_of(store.blocks(), kFilterThreads), kFilterThreads, 0,
                  session_.stream.get()},
                 filter_places, rule_, store.codes().tags, held_.tags().device_ids(),
                 held_.tags().size(), store.blocks(), masks);
    options_.masks = masks;
}

ChunkQueries CellCall::prepare(const DeviceBatch& batch, size_t first, size_t count) {
    ChunkQueries queries;
    queries.count = count;
    queries.original_dim = held_.dim();
    queries.dim = held_.steps().coded_dim();
    queries.original = held_.steps().load(batch, first, count, held_.metric(), search_.threads,
                                          session_, counters_ + kBadValue);
    queries.coded = held_.steps().apply(queries.original, count, session_);
    queries.probes.width = 1;
    if (held_.centroids().vectors() == 0) return queries;
    const size_t probes = search_.probes;
    const BestLists best = make_lists(count, probes);
    // Where bounds are not known, a query that is none may find nothing, and looks into cell 0.
    if (held_.centroids().codes().tiles.terms == nullptr) {
        simt::fill_bytes(best.keys, 0, count * probes * sizeof(uint64_t), session_.stream.get());
    }
    const size_t most = std::max<size_t>(1, held_.options().scratch_bytes / scan_bytes());
    for (size_t begin = 0; begin < count; begin += most) {
        const size_t some = std::min(most, count - begin), mark = session_.scratch.mark();
        ChunkSearch coarse(held_.centroids(), session_, device_, coarse_options());
        coarse_rounds_ = nullptr;
        coarse.search(queries.slice(begin, some), slice_of(best, begin));
        session_.scratch.rewind(mark);
    }
    queries.probes = {best.keys, nullptr, probes};
    return queries;
}

// Unwritten: a search sets how many they hold.
BestLists CellCall::make_lists(size_t count, size_t k) {
    Scratch& scratch = session_.scratch;
    return {scratch.take<uint64_t>(count * k), scratch.take<unsigned>(count * k),
            scratch.take<unsigned>(count), k};
}

void CellCall::empty_lists(BestLists lists, size_t count) {
    simt::fill_bytes(lists.held, 0, count * sizeof(unsigned), session_.stream.get());
}

// Into the caller's arrays.
void CellCall::answer(const DeviceBatch& batch, size_t first, size_t count, BestLists best) {
    const simt::Stream stream = session_.stream.get();
    const size_t values = count * search_.k;
    const size_t bytes =
        values * (sizeof(int64_t) + sizeof(float)) + (count + kCallCounters) * sizeof(uint64_t);
    Answers answers{};
    answers.metric = held_.metric();
    answers.ids = held_.tags().device_ids();
    answers.k = search_.k;
    // What the host is told: ids, counts, counters, scores; of little the kernel does.
    const size_t told = batch.on_device ? kCallCounters * sizeof(uint64_t) : bytes;
    char* const pinned = session_.download.get<char>(told);
    char* const there = told > kWrittenThere ? session_.scratch.take<char>(told) : pinned;
    answers.counters = counters_;
    if (batch.on_device) {
        answers.out_scores = batch.scores + first * search_.k;
        answers.out_ids = batch.ids + first * search_.k;
        answers.out_counts = batch.counts == nullptr ? nullptr : batch.counts + first;
        answers.out_counters = reinterpret_cast<unsigned long long*>(there);
    } else {
        answers.out_ids = reinterpret_cast<int64_t*>(there);
        answers.out_counts = reinterpret_cast<uint64_t*>(answers.out_ids + values);
        answers.out_counters = reinterpret_cast<unsigned long long*>(answers.out_counts + count);
        answers.out_scores = reinterpret_cast<float*>(answers.out_counters + kCallCounters);
    }
    const size_t threads = std::max<size_t>(values, kCallCounters);
    simt::launch({"write_answers", blocks_of(threads, kAnswerThreads), kAnswerThreads, 0, stream,
                  starts_early(device_, count)},
                 write_answers, best, count, answers);
    if (there != pinned) simt::copy_to_host(pinned, there, told, stream);
    simt::synchronize(stream);
    if (batch.on_device)
        return take_counters(batch, reinterpret_cast<const unsigned long long*>(pinned));
    const auto* const ids = reinterpret_cast<const int64_t*>(pinned);
    const auto* const counts = reinterpret_cast<const uint64_t*>(ids + values);
    const auto* const counters = reinterpret_cast<const unsigned long long*>(counts + count);
    const auto* const scores = reinterpret_cast<const float*>(counters + kCallCounters);
    take_counters(batch, counters);
    const size_t part = kCopiedBytes / sizeof(int64_t);
    parallel_for(ceil_divide(values, part), search_.threads, [&](size_t task, int) {
        const size_t begin = task * part, some = std::min(part, values - begin);
        std::copy_n(ids + begin, some, batch.ids + first * search_.k + begin);
        std::copy_n(scores + begin, some, batch.scores + first * search_.k + begin);
    });
    if (batch.counts != nullptr) std::copy_n(counts, count, batch.counts + first);
}

void CellCall::see_counters(const DeviceBatch& batch) {
    auto* const pinned = session_.download.get<unsigned long long>(kCallCounters);
    simt::copy_to_host(pinned, counters_, sizeof(counted_), session_.stream.get());
    simt::synchronize(session_.stream.get());
    take_counters(batch, pinned);
}

void CellCall::take_counters(const DeviceBatch& batch, const unsigned long long* counters) {
    std::copy_n(counters, kCallCounters, counted_.begin());
    check_values(batch);
}

// The error that check_finite gives, from the value itself.
void CellCall::check_values(const DeviceBatch& batch) const {
    if (counted_[kBadValue] == 0) return;
    const uint64_t at = ~counted_[kBadValue];
    const size_t row = at / held_.dim(), col = at % held_.dim();
    const size_t bytes = element_size(batch.queries.type);
    const char* from = static_cast<const char*>(batch.queries.row(row)) + col * bytes;
    std::array<char, sizeof(float)> value{};
    if (batch.on_device) {
        simt::copy_to_host(value.data(), from, bytes, session_.stream.get());
        simt::synchronize(session_.stream.get());
        from = value.data();
    }
    float bad = 0;
    read_rows(Vectors(from, batch.queries.type, 1, 1), 0, {&bad, 1, 1});
    check(!std::isfinite(bad), StatusCode::InvalidArgument, "queries[", row, ", ", col, "] = ", bad,
          " is too large: values must be within +-", largest_value(held_.dim()),
          ", so that squared distances stay finite; scale the data down");
    throw_error(StatusCode::NonFinite, "queries[", row, ", ", col,
                "] is NaN or infinite; all values must be finite: drop or repair such rows first");
}

Candidate CellCall::candidate_of(uint64_t packed, unsigned place) const {
    Candidate candidate;
    candidate.key = candidate.lower = std::bit_cast<float>(key_bits(packed));
    candidate.id = held_.tags().id_of(tag_of(packed));
    const auto [cell, slot] = held_.locate(place);
    candidate.cell = cell;
    candidate.slot = slot;
    return candidate;
}

// The k best of some candidates, or all for 0, by the re-rank rows in host memory.
void CellCall::score_on_host(const ChunkQueries& queries, std::span<std::vector<Candidate>> lists,
                             size_t k) {
    std::vector<float> values(queries.count * held_.dim());
    simt::copy_to_host(values.data(), queries.original, values.size() * sizeof(float),
                       session_.stream.get());
    simt::synchronize(session_.stream.get());
    RerankJob job;
    job.queries = {values.data(), queries.count, held_.dim()};
    job.metric = held_.metric();
    job.code = held_.host_rerank_code();
    job.cell_rows = held_.host_rerank_rows();
    job.k = k;
    job.threads = search_.threads;
    host_scored_ += cpu_backend().rerank(job, lists).scored;
}

void CellCall::rerank_on_host(const DeviceBatch& batch, size_t first, const ChunkQueries& queries,
                              BestLists best) {
    const simt::Stream stream = session_.stream.get();
    const size_t count = queries.count, k = best.k;
    see_counters(batch);
    std::vector<uint64_t> keys(count * k);
    std::vector<unsigned> places(count * k), held(count);
    simt::copy_to_host(held.data(), best.held, count * sizeof(unsigned), stream);
    simt::copy_to_host(keys.data(), best.keys, keys.size() * sizeof(uint64_t), stream);
    simt::copy_to_host(places.data(), best.places, places.size() * sizeof(unsigned), stream);
    simt::synchronize(stream);
    std::vector<std::vector<Candidate>> lists(count);
    parallel_for(count, search_.threads, [&](size_t q, int) {
        for (size_t i = 0; i < held[q]; ++i)
            lists[q].push_back(candidate_of(keys[q * k + i], places[q * k + i]));
    });
    score_on_host(queries, lists, search_.k);
    std::vector<float> scores(count * search_.k, worst_score(held_.metric()));
    std::vector<int64_t> ids(count * search_.k, -1);
    std::vector<uint64_t> counts(count);
    for (size_t q = 0; q < count; ++q) {
        counts[q] = std::min(lists[q].size(), search_.k);
        for (size_t i = 0; i < counts[q]; ++i) {
            scores[q * search_.k + i] = reported_score(held_.metric(), lists[q][i].key);
            ids[q * search_.k + i] = lists[q][i].id;
        }
    }
    const auto hand_out = [&](auto* to, const auto& values) {
        if (to == nullptr) return;
        if (batch.on_device)
            simt::copy_to_device(to, values.data(), values.size() * sizeof(values[0]), stream);
        else
            std::copy(values.begin(), values.end(), to);
    };
    hand_out(batch.scores + first * search_.k, scores);
    hand_out(batch.ids + first * search_.k, ids);
    hand_out(batch.counts == nullptr ? nullptr : batch.counts + first, counts);
    if (batch.on_device) simt::synchronize(stream);
}

SearchStats CellCall::stats() const {
    SearchStats stats;
    stats.scanned = counted_[0];
    stats.reranked = host_scored_;
    stats.reranked += options_.refined ? counted_[1] : counted_[5];
    return stats;
}

}  // namespace nearcell::gpu
