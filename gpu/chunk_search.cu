#include <nearcell/gpu/chunk_search.h>

#include <algorithm>
#include <utility>

#include <nearcell/gpu/byte_scan.h>
#include <nearcell/gpu/launch_size.h>
#include <nearcell/gpu/kernels/arrays.cuh>
#include <nearcell/gpu/kernels/narrow_lists.cuh>
#include <nearcell/gpu/kernels/pair_chunks.cuh>
#include <nearcell/gpu/kernels/scan_chunks_mma.cuh>
#include <nearcell/gpu/kernels/score_candidates.cuh>
#include <nearcell/gpu/kernels/select_keys.cuh>
#include <nearcell/gpu/kernels/settle_probes.cuh>
#include <nearcell/gpu/kernels/settle_rows.cuh>

namespace nearcell::gpu {
namespace {

constexpr unsigned kGrowth = 8;  // of the rounds
constexpr size_t kAtOnce = size_t{1} << 30;
constexpr size_t kSampleShare = 2;   // vectors of a sample for each that is wanted, at least
constexpr size_t kLeastRoom = 2048;  // candidates of a query
constexpr size_t kCandidateBytes = sizeof(unsigned) + sizeof(uint64_t);
constexpr size_t kAllShare = 2;  // of scratch, where all that queries can find has room
constexpr unsigned kFewTile = 16;
constexpr size_t kFewQueries = 256;  // that care more for the number of rounds than for candidates
// Of a chunk, from which on tensor cores scan it: an estimate: half of a product's
// columns of eight queries are in use then, or more. Not measured.
constexpr size_t kSharedQueries = 8;
constexpr size_t kBlocksPerProcessor = 8;
constexpr size_t kScoreBlocks = 4096;  // to share the candidates of few queries

// What is scanned.
StoredCodes stored_codes(const CellStore& store, const ChunkSearchOptions& options) {
    const StoredCodes rows = store.rows();
    return options.refined && rows.tiles.terms != nullptr ? rows : store.codes();
}

// Some times what a round is expected to find, and no less than the first chunk has.
size_t chosen_room(const CellStore& store, const ChunkSearchOptions& options) {
    const bool narrowed = stored_codes(store, options).tiles.terms != nullptr;
    const size_t chosen =
        narrowed ? store.chunk_vectors() + 8 * options.k : 4 * kGrowth * options.k;
    const size_t wanted = options.room != 0 ? options.room : std::max(kLeastRoom, chosen);
    return std::max(std::min(wanted, store.blocks() * kBlock), store.chunk_vectors());
}

// Queries of a tile of byte tiles' scans, where all queries look into all chunks. Of few queries
// full tiles would be too few for all blocks.
unsigned shared_tile(size_t queries) { return queries > kFewQueries ? kPairTile : kFewTile; }

// Tiles that so many pairs can be cut into.
size_t most_tiles(size_t pairs, size_t chunks) {
    return std::min(pairs, pairs / kFewTile + chunks) + 1;
}

}  // namespace

// Arrays of one batch of queries, in the session's scratch.
struct ChunkSearch::Buffers {
    float *limits, *lengths;
    unsigned *wanted, *before, *ends;
    SearchStart start;  // with limits: still to be done
    RoundCount* rounds;
    ScanPair* pairs;
    PairTile *tiles, *sample_tiles;
    CandidateLists lists;
    uint64_t* keys;  // of lists
    BestLists best;
    size_t most_chunks;
    unsigned round;  // that is next

    RoundTiles round_tiles() const { return {tiles, rounds + round}; }
    RoundTiles sample_round() const { return {sample_tiles, rounds + kMostRounds - 1}; }
    ScanPairs pairs_of(const RoundTiles& some) const {
        return {pairs, some.tiles, &some.count->halves[1]};
    }
};

ChunkSearch::ChunkSearch(const CellStore& store, Session& session,
                         const simt::DeviceProperties& device, const ChunkSearchOptions& options)
    : store_(store),
      session_(session),
      device_(device),
      options_(options),
      stored_(stored_codes(store, options)),
      product_scan_(scan_chunks_mma_kernel(stored_.code.kind, options.metric, device.architecture)),
      by_tiles_(scans_tiles(store, options)),
      by_rows_(by_tiles_ && stored_.blocks == store.rerank_rows()),
      room_(chosen_room(store, options)) {
    stored_.masks = options.masks;
}

bool ChunkSearch::scans_tiles(const CellStore& store, const ChunkSearchOptions& options) {
    return stored_codes(store, options).tiles.terms != nullptr && options.metric != Metric::L1;
}

size_t ChunkSearch::bytes_per_query(const CellStore& store, const ChunkSearchOptions& options,
                                    size_t width) {
    const size_t pairs =
        store.most_chunks(width) * (sizeof(ScanPair) + sizeof(PairTile) / kFewTile + 1);
    const size_t samples = std::max(options.sample, kSampleShare * options.k) * sizeof(unsigned);
    const size_t candidates = chosen_room(store, options) * kCandidateBytes;
    const size_t best = options.k * (sizeof(unsigned) + sizeof(uint64_t));
    return pairs + samples + candidates + 2 * best + width * 3 * sizeof(unsigned) + 64;
}

ChunkSearch::Buffers ChunkSearch::make_buffers(const ChunkQueries& queries, size_t room,
                                               size_t most_chunks, BestLists best,
                                               const float* limits) {
    Scratch& scratch = session_.scratch;
    const size_t count = queries.count, chunks = store_.chunk_count();
    Buffers buffers{};
    buffers.limits = scratch.take<float>(count);
    const bool needs_lengths = options_.refined && !by_tiles_;
    buffers.lengths = needs_lengths ? scratch.take<float>(count) : nullptr;
    buffers.wanted = scratch.take<unsigned>(count);
    buffers.before = scratch.take<unsigned>(count * queries.probes.width);
    buffers.ends = scratch.take<unsigned>(count);
    buffers.rounds = zero_rounds();
    buffers.pairs = scratch.take<ScanPair>(count * most_chunks);
    buffers.tiles = scratch.take<PairTile>(most_tiles(count * most_chunks, chunks));
    buffers.sample_tiles = scratch.take<PairTile>(count);
    buffers.keys = scratch.take<uint64_t>(count * room);
    buffers.lists = {scratch.take<unsigned>(count), scratch.take<unsigned>(count * room),
                     buffers.keys, room};
    buffers.best = best;
    buffers.most_chunks = most_chunks;
    buffers.start = {queries.probes, {store_.chunk_first()}, count,
                     limits,         buffers.limits,         buffers.wanted,
                     best.held,      buffers.lists.counts,   buffers.before};
    if (needs_lengths) {
        simt::launch({"row_lengths", blocks_of(count, kArrayThreads), kArrayThreads, 0,
                      session_.stream.get()},
                     row_lengths, queries.coded, count, stored_.code.dim, buffers.lengths);
    }
    return buffers;
}

RoundCount* ChunkSearch::zero_rounds() {
    if (options_.rounds != nullptr) return std::exchange(options_.rounds, nullptr);
    auto* const rounds = session_.scratch.take<RoundCount>(kMostRounds);
    simt::fill_bytes(rounds, 0, kMostRounds * sizeof *rounds, session_.stream.get());
    return rounds;
}

void ChunkSearch::start(const SearchStart& job) {
    simt::launch(
        shape("start_search", blocks_of(job.queries * 32, kPairThreads), kPairThreads, job.queries),
        start_search, job);
}

// Of a kernel that calls simt::wait_for_previous.
simt::LaunchShape ChunkSearch::shape(const char* kernel, dim3 grid, unsigned threads,
                                     size_t queries, size_t shared_bytes) const {
    const bool early = starts_early(device_, queries);
    return {kernel, grid, threads, shared_bytes, session_.stream.get(), early};
}

ChunkQueries ChunkQueries::slice(size_t first, size_t some) const {
    ChunkQueries part = *this;
    part.count = some;
    part.coded += first * dim;
    if (part.original != nullptr) part.original += first * original_dim;
    if (part.probes.cells != nullptr) part.probes.cells += first * probes.width;
    return part;
}

ChunkQueries ChunkQueries::as_rows() const {
    ChunkQueries rows = *this;
    rows.coded = std::exchange(rows.original, nullptr);
    rows.dim = original_dim;
    return rows;
}

// Candidates that each query has room for; all that it can find, where half of the scratch that is
// left has room for that.
size_t ChunkSearch::room_of(size_t queries, size_t width, size_t all) const {
    const size_t beside =
        queries * (bytes_per_query(store_, options_, width) - room_ * kCandidateBytes);
    const size_t left = options_.scratch_bytes - std::min(options_.scratch_bytes, beside);
    const size_t fitting = left / kAllShare / (queries * kCandidateBytes);
    if (options_.room == 0 && fitting >= all) return all;
    return options_.roomy ? std::clamp(fitting, room_, std::max(room_, all)) : room_;
}

void ChunkSearch::search(const ChunkQueries& given, BestLists best, const float* limits) {
    if (given.count == 0) return;
    const ChunkQueries queries = by_rows_ ? given.as_rows() : given;
    Scratch& scratch = session_.scratch;
    const size_t mark = scratch.mark();
    const size_t all = store_.most_chunks(queries.probes.width) * store_.chunk_vectors();
    const size_t room = room_of(queries.count, queries.probes.width, all);
    unsigned* const wanted = search_with(queries, room, best, limits);
    if (room < all && (!by_tiles_ || options_.crowded == nullptr)) {
        const std::vector<unsigned> found = download(wanted, queries.count);
        std::vector<unsigned> crowded;
        size_t most = 0;
        for (size_t q = 0; q < queries.count; ++q) {
            if (found[q] <= room) continue;
            crowded.push_back(static_cast<unsigned>(q));
            most = std::max<size_t>(most, found[q]);
        }
        scratch.rewind(mark);
        if (!crowded.empty()) search_crowded(queries, crowded, most, best, limits);
    }
    scratch.rewind(mark);
    if (!by_tiles_) sort(queries.count, best);
}

void ChunkSearch::sort(size_t queries, BestLists best) {
    simt::launch(shape("sort_keys", static_cast<unsigned>(queries), kSelectThreads, queries),
                 sort_keys, best);
}

// Few queries go in other rounds, and may want still more room then.
void ChunkSearch::search_crowded(const ChunkQueries& queries, const std::vector<unsigned>& which,
                                 size_t room, BestLists best, const float* limits) {
    Scratch& scratch = session_.scratch;
    const simt::Stream stream = session_.stream.get();
    const size_t mark = scratch.mark();
    again_ = true;
    for (size_t first = 0; first < which.size();) {
        const size_t part = std::max<size_t>(1, options_.scratch_bytes / (room * kCandidateBytes));
        const size_t count = std::min(part, which.size() - first);
        unsigned* const rows = scratch.take<unsigned>(count);
        simt::copy_to_device(rows, which.data() + first, count * sizeof(unsigned), stream);
        const ChunkQueries some = gather(queries, rows, count);
        const BestLists lists{scratch.take<uint64_t>(count * best.k),
                              scratch.take<unsigned>(count * best.k), scratch.take<unsigned>(count),
                              best.k};
        const std::vector<unsigned> wanted =
            download(search_with(some, room, lists, gather_values(limits, rows, count, 1)), count);
        const size_t most = *std::max_element(wanted.begin(), wanted.end());
        if (most <= room) {
            simt::launch({"replace_lists", static_cast<unsigned>(count), kSelectThreads, 0, stream},
                         replace_lists, lists, rows, best);
            simt::synchronize(stream);
            first += count;
        }
        room = std::max(room, most);
        scratch.rewind(mark);
    }
    again_ = false;
}

template <class T>
const T* ChunkSearch::gather_values(const T* from, const unsigned* rows, size_t count,
                                    size_t width) {
    if (from == nullptr) return nullptr;
    T* const to = session_.scratch.take<T>(count * width);
    simt::launch({"gather_rows", blocks_of(count * 32, kArrayThreads), kArrayThreads, 0,
                  session_.stream.get()},
                 gather_rows<T>, from, rows, count, width, to);
    return to;
}

ChunkQueries ChunkSearch::gather(const ChunkQueries& queries, const unsigned* rows, size_t count) {
    ChunkQueries some = queries;
    some.count = count;
    some.coded = gather_values(queries.coded, rows, count, queries.dim);
    some.original = gather_values(queries.original, rows, count, queries.original_dim);
    some.probes.cells = gather_values(queries.probes.cells, rows, count, queries.probes.width);
    return some;
}

// Returns how many candidates each query had at most in a round.
unsigned* ChunkSearch::search_with(const ChunkQueries& queries, size_t room, BestLists best,
                                   const float* limits) {
    const size_t most = store_.most_chunks(queries.probes.width);
    Buffers buffers = make_buffers(queries, room, most, best, limits);
    // Before there are limits, no more than there is room for at first: with more room the rounds
    // are the same.
    const size_t per_chunk = store_.chunk_vectors();
    const auto first = static_cast<unsigned>(
        std::clamp<size_t>(ceil_divide(2 * options_.k, per_chunk), 1, room_ / per_chunk));
    const bool limited = options_.reach < std::numeric_limits<float>::infinity() &&
                         queries.probes.cells != nullptr && queries.probes.width > 1;
    unsigned first_rank = 0;
    if (limited) {  // what is in reach is decided by what the nearest cell has
        ChunkQueries only = queries;
        simt::launch({"fill_ends", blocks_of(queries.count, kArrayThreads), kArrayThreads, 0,
                      session_.stream.get()},
                     fill_values<unsigned>, buffers.ends, queries.count, 1u);
        only.probes.ends = buffers.ends;
        run_rounds(only, buffers, 0, first, store_.most_chunks(1));
        simt::launch({"limit_probes", blocks_of(queries.count, kPairThreads), kPairThreads, 0,
                      session_.stream.get()},
                     limit_probes, queries.probes, queries.count, buffers.limits, options_.reach,
                     is_similarity(options_.metric), buffers.ends);
        first_rank = 1;
    }
    ChunkQueries rest = queries;
    if (limited) rest.probes.ends = buffers.ends;
    run_rounds(rest, buffers, first_rank, first, most);
    return buffers.wanted;
}

void ChunkSearch::run_rounds(const ChunkQueries& queries, Buffers& buffers, unsigned first_rank,
                             unsigned first, size_t most_chunks) {
    if (first_rank > 0) {
        simt::fill_bytes(buffers.lists.counts, 0, queries.count * sizeof(unsigned),
                         session_.stream.get());
    }
    const size_t sample = first_rank > 0 ? 0 : sample_size();
    const bool sorts = sorts_pairs(queries, buffers);
    if (sample > 0 && sorts) {
        make_pairs(queries, buffers, {0, 0, 1}, nullptr);  // they count when they are scanned
        take_samples(queries, buffers, sample);
    }
    const size_t growth = growth_of(queries.count);
    size_t begin = 0;
    while (begin < most_chunks) {
        const size_t end = begin != 0 ? growth * begin : sample > 0 ? growth : first;
        const Round round{first_rank, static_cast<unsigned>(begin),
                          static_cast<unsigned>(std::min(end, most_chunks))};
        make_pairs(queries, buffers, round, again_ ? nullptr : options_.counters);
        if (begin == 0 && sample > 0 && !sorts) take_samples(queries, buffers, sample);
        run_round(queries, buffers, round);
        begin = round.end;
        if (by_tiles_ && begin < most_chunks) narrow(queries, buffers);
    }
    if (by_tiles_) settle(queries, buffers);
}

// Between two rounds: a limit of so many chunks lets about k times it pass.
size_t ChunkSearch::growth_of(size_t queries) const {
    if (by_tiles_) return queries > kFewQueries ? options_.growth : kAtOnce;
    if (queries > kFewQueries) return kGrowth;
    return std::max<size_t>(kGrowth, room_ / (4 * options_.k));
}

// How many vectors of each query's nearest chunk give it a limit; 0: too few.
size_t ChunkSearch::sample_size() const {
    const size_t least = kSampleShare * options_.k;
    const size_t most = std::min<size_t>(store_.chunk_vectors(), kShortList);
    return by_tiles_ && least <= most ? std::min(std::max(options_.sample, least), most) : 0;
}

void ChunkSearch::take_samples(const ChunkQueries& queries, const Buffers& buffers, size_t size) {
    const size_t mark = session_.scratch.mark();
    auto* const uppers = session_.scratch.take<unsigned>(queries.count * size);
    scan_tiles(queries, buffers, {0, 0, 1}, static_cast<unsigned>(size), uppers);
    // A warp, where that leaves processors something to do.
    const bool small = size <= kKeptKeys * 32 && queries.count > kFewQueries;
    const int threads = small ? 32 : kSelectThreads;
    simt::launch(
        shape("limit_by_samples", static_cast<unsigned>(queries.count), threads, queries.count),
        limit_by_samples, uppers, static_cast<unsigned>(size), options_.k, buffers.lists.counts,
        buffers.limits);
    session_.scratch.rewind(mark);
}

// Not where all queries look into all chunks, or few into the same.
bool ChunkSearch::sorts_pairs(const ChunkQueries& queries, const Buffers& buffers) const {
    return queries.probes.cells != nullptr &&
           queries.count * buffers.most_chunks > store_.chunk_count();
}

void ChunkSearch::run_round(const ChunkQueries& queries, Buffers& buffers, const Round& round) {
    const simt::Stream stream = session_.stream.get();
    if (by_tiles_) return scan_tiles(queries, buffers, round, 0, nullptr);
    simt::fill_bytes(buffers.lists.counts, 0, queries.count * sizeof(unsigned), stream);
    const bool by_products = uses_products(queries, round);
    scan(queries, buffers, by_products);
    if (options_.refined || by_products) score(queries, buffers.lists, options_.refined);
    simt::launch(
        shape("select_keys", static_cast<unsigned>(queries.count), kSelectThreads, queries.count),
        select_keys, buffers.lists, buffers.best, buffers.limits, buffers.wanted,
        options_.counters + 1);
}

// Candidates of the rounds so far: those that cannot be among the k best leave.
void ChunkSearch::narrow(const ChunkQueries& queries, const Buffers& buffers) {
    simt::launch(
        shape("narrow_lists", static_cast<unsigned>(queries.count), kSelectThreads, queries.count),
        narrow_lists, buffers.lists, options_.k, buffers.limits, buffers.wanted);
}

// The best of what the rounds have left, in order.
void ChunkSearch::settle(const ChunkQueries& queries, const Buffers& buffers) {
    const Settling job{{stored_, store_.cell_of_block(), buffers.lists, queries.coded},
                       buffers.best,
                       buffers.limits,
                       buffers.wanted,
                       options_.counters + 1,
                       options_.crowded};
    const int threads = queries.count > kFewQueries ? kSelectThreads : kMostSelectThreads;
    const auto grid = static_cast<unsigned>(queries.count);
    if (options_.probes) {
        simt::launch(shape("settle_probes", grid, threads, queries.count),
                     settle_probes_kernel(options_.metric),
                     ProbeSettling{job, options_.inexact_keys});
    } else if (by_rows_) {
        simt::launch(shape("settle_rows", grid, threads, queries.count),
                     settle_rows_kernel(stored_.code.kind, options_.metric), job);
    } else {
        simt::launch(shape("settle_lists", grid, threads, queries.count),
                     settle_lists_kernel(stored_.code.kind, options_.metric), job);
    }
    if (options_.k > kSettledKeys) sort(queries.count, buffers.best);
}

void ChunkSearch::make_pairs(const ChunkQueries& queries, Buffers& buffers, const Round& round,
                             unsigned long long* scanned) {
    const simt::Stream stream = session_.stream.get();
    buffers.round = (buffers.round + 1) % (kMostRounds - 1);  // the last one is that of samples
    const RoundTiles round_tiles = buffers.round_tiles();
    const RoundTiles samples =
        round.begin == 0 && sample_size() > 0 ? buffers.sample_round() : RoundTiles{};
    const unsigned chunks = store_.chunk_count();
    RoundPairs job{};
    job.probes = queries.probes;
    job.chunks = {store_.chunk_first()};
    job.before = buffers.before;
    job.queries = queries.count;
    job.first_rank = round.first_rank;
    job.begin = round.begin;
    job.end = round.end;
    job.pairs = buffers.pairs;
    const bool sorted = sorts_pairs(queries, buffers);
    const SearchStart starting = std::exchange(buffers.start, {});
    job.tile = !by_tiles_ ? kPairTile : sorted ? kByteTile : shared_tile(queries.count);
    if (queries.probes.cells == nullptr) {
        const size_t tiles = ceil_divide(queries.count, size_t{job.tile}) * round.chunks();
        const unsigned grid = blocks_of(std::max(tiles, queries.count), kPairThreads);
        simt::launch(shape("pair_all", grid, kPairThreads, queries.count), pair_all, job, starting,
                     stored_.chunks, round_tiles, samples, scanned);
        return;
    }
    if (!sorted) {
        const unsigned grid = blocks_of(queries.count * 32, kPairThreads);
        simt::launch(shape("list_pairs", grid, kPairThreads, queries.count), list_pairs, job,
                     starting, stored_.chunks, round_tiles, samples, scanned);
        return;
    }
    if (starting.limits != nullptr) start(starting);
    const unsigned grid = blocks_of(queries.count * queries.probes.width, kPairThreads);
    const size_t mark = session_.scratch.mark();
    job.counts = session_.scratch.take<unsigned>(chunks);
    unsigned* const starts = session_.scratch.take<unsigned>(chunks);
    job.starts = starts;
    simt::fill_bytes(job.counts, 0, chunks * sizeof(unsigned), stream);
    simt::launch({"count_pairs", grid, kPairThreads, 0, stream}, count_pairs, job);
    simt::launch({"add_up_pairs", blocks_of(chunks, kSumThreads), kSumThreads, 0, stream},
                 add_up_pairs, job.counts, stored_.chunks, chunks, job.tile, starts, round_tiles,
                 scanned);
    simt::launch({"place_pairs", grid, kPairThreads, 0, stream}, place_pairs, job);
    session_.scratch.rewind(mark);
}

void ChunkSearch::scan(const ChunkQueries& queries, const Buffers& buffers, bool by_products) {
    ChunkScan job{};
    job.stored = stored_;
    job.pairs = buffers.pairs_of(buffers.round_tiles());
    job.lists = buffers.lists;
    if (options_.refined || by_products) job.lists.keys = nullptr;
    job.queries = queries.coded;
    job.limits = buffers.limits;
    job.refined = options_.refined;
    job.margin = options_.margin;
    job.lengths = buffers.lengths;
    // Tiles that there can be; blocks step through them.
    const size_t pairs = queries.count * buffers.most_chunks;
    const size_t most = static_cast<size_t>(device_.processors) * kBlocksPerProcessor;
    const auto grid =
        static_cast<unsigned>(std::clamp<size_t>(pairs, 1, std::max<size_t>(most, 1)));
    const simt::Stream stream = session_.stream.get();
    if (by_products) {
        simt::launch({"scan_chunks_mma", grid, kProductThreads, 0, stream}, product_scan_, job);
    } else {
        simt::launch({"scan_chunks", grid, kChunkThreads, 0, stream},
                     scan_chunks_kernel(stored_.code.kind, options_.metric), job);
    }
}

void ChunkSearch::scan_tiles(const ChunkQueries& queries, const Buffers& buffers,
                             const Round& round, unsigned sample, unsigned* uppers) {
    ByteScan job{};
    job.stored = stored_;
    const bool listed = sample != 0 && !sorts_pairs(queries, buffers);
    job.pairs = buffers.pairs_of(listed ? buffers.sample_round() : buffers.round_tiles());
    job.lists = buffers.lists;
    job.queries = queries.coded;
    job.limits = buffers.limits;
    job.sample = sample;
    job.uppers = uppers;
    const size_t tiles =
        queries.probes.cells == nullptr
            ? ceil_divide(queries.count, size_t{shared_tile(queries.count)}) * round.chunks()
            : queries.count * std::min(queries.probes.width, round.chunks());
    const bool early = starts_early(device_, queries.count);
    launch_byte_scan(job, options_.metric, tiles, device_,
                     {"", {}, {}, 0, session_.stream.get(), early});
}

void ChunkSearch::score(const ChunkQueries& queries, const CandidateLists& lists, bool by_rows) {
    const simt::Stream stream = session_.stream.get();
    const auto split =
        static_cast<unsigned>(std::clamp<size_t>(kScoreBlocks / queries.count, 1, 64));
    const dim3 grid(static_cast<unsigned>(queries.count), split);
    if (by_rows) {
        const RowScoring job{store_.rerank_code(), store_.rerank_rows(), stored_.tags, lists,
                             queries.original};
        simt::launch(shape("score_by_rows", grid, kScoreThreads, queries.count),
                     score_by_rows_kernel(job.code.kind, options_.metric), job);
    } else {
        const CodeScoring job{stored_, store_.cell_of_block(), lists, queries.coded};
        if (by_tiles_) {
            simt::launch({"score_in_rows", grid, kSelectThreads, 0, stream},
                         score_in_rows_kernel(stored_.code.kind, options_.metric), job);
            return;
        }
        simt::launch({"score_by_codes", grid, kScoreThreads, 0, stream},
                     score_by_codes_kernel(stored_.code.kind, options_.metric), job);
    }
}

void ChunkSearch::rerank(const ChunkQueries& queries, BestLists from, BestLists to) {
    if (queries.count == 0) return;
    Scratch& scratch = session_.scratch;
    const size_t mark = scratch.mark();
    const CandidateLists lists{from.held, from.places,
                               scratch.take<uint64_t>(queries.count * from.k), from.k};
    float* const limits = scratch.take<float>(queries.count);
    unsigned* const wanted = scratch.take<unsigned>(queries.count);
    SearchStart all{};
    all.queries = queries.count;
    all.limits = limits;
    all.wanted = wanted;
    all.held = to.held;
    all.counts = scratch.take<unsigned>(queries.count);
    start(all);
    score(queries, lists, true);
    const auto grid = static_cast<unsigned>(queries.count);
    simt::launch(shape("select_keys", grid, kSelectThreads, queries.count), select_keys, lists, to,
                 limits, wanted, options_.counters + 1);
    sort(queries.count, to);
    scratch.rewind(mark);
}

void ChunkSearch::merge(size_t queries, BestLists more, BestLists best, float* limits) {
    const simt::Stream stream = session_.stream.get();
    const size_t mark = session_.scratch.mark();
    auto* const wanted = session_.scratch.take<unsigned>(queries);
    auto* const scored = session_.scratch.take<unsigned long long>(1);
    simt::fill_bytes(wanted, 0, queries * sizeof(unsigned), stream);
    simt::fill_bytes(scored, 0, sizeof(*scored), stream);
    const auto grid = static_cast<unsigned>(queries);
    simt::launch(shape("select_keys", grid, kSelectThreads, queries), select_keys,
                 CandidateLists{more.held, more.places, more.keys, more.k}, best, limits, wanted,
                 scored);
    sort(queries, best);
    session_.scratch.rewind(mark);
}

std::vector<RangeHits> ChunkSearch::range(const ChunkQueries& queries, float limit, bool by_rows) {
    std::vector<RangeHits> hits(queries.count);
    Scratch& scratch = session_.scratch;
    const simt::Stream stream = session_.stream.get();
    const size_t mark = scratch.mark();
    const std::vector<unsigned> counts = range_with(queries, limit, by_rows, room_, hits);
    scratch.rewind(mark);
    for (size_t q = 0; q < queries.count; ++q) {
        if (counts[q] <= room_) continue;
        const auto row = static_cast<unsigned>(q);
        unsigned* const rows = scratch.take<unsigned>(1);
        simt::copy_to_device(rows, &row, sizeof(row), stream);
        std::vector<RangeHits> one(1);
        again_ = true;
        range_with(gather(queries, rows, 1), limit, by_rows, counts[q], one);
        hits[q] = std::move(one[0]);
        scratch.rewind(mark);
    }
    return hits;
}

// Fills in the hits of queries that had room; returns how many each has.
std::vector<unsigned> ChunkSearch::range_with(const ChunkQueries& queries, float limit,
                                              bool by_rows, size_t room,
                                              std::vector<RangeHits>& hits) {
    const simt::Stream stream = session_.stream.get();
    const size_t most = store_.most_chunks(queries.probes.width), count = queries.count;
    const BestLists none{nullptr, nullptr, session_.scratch.take<unsigned>(count), 0};
    Buffers buffers = make_buffers(queries, room, most, none, nullptr);
    const Round whole{0, 0, static_cast<unsigned>(most)};
    make_pairs(queries, buffers, whole, again_ ? nullptr : options_.counters);
    simt::launch({"fill_limits", blocks_of(count, kArrayThreads), kArrayThreads, 0, stream},
                 fill_values<float>, buffers.limits, count, limit);
    if (by_tiles_)
        scan_tiles(queries, buffers, whole, 0, nullptr);
    else
        scan(queries, buffers, false);
    if (by_tiles_) {  // as scans decide it
        score(queries, buffers.lists, false);
        simt::launch({"drop_beyond", static_cast<unsigned>(count), kSelectThreads, 0, stream},
                     drop_beyond, buffers.lists, buffers.limits);
    }
    if (by_rows) score(queries, buffers.lists, true);
    const std::vector<unsigned> counts = download(buffers.lists.counts, count);
    for (size_t q = 0; q < count; ++q) {
        if (counts[q] > room) continue;
        hits[q].keys.resize(counts[q]);
        hits[q].places.resize(counts[q]);
        if (counts[q] == 0) continue;
        simt::copy_to_host(hits[q].keys.data(), buffers.keys + q * room,
                           counts[q] * sizeof(uint64_t), stream);
        simt::copy_to_host(hits[q].places.data(), buffers.lists.places + q * room,
                           counts[q] * sizeof(unsigned), stream);
    }
    simt::synchronize(stream);
    return counts;
}

// Tensor cores pay where a chunk's codes are decoded for many queries; not without limits, where
// all would have to be scored.
bool ChunkSearch::uses_products(const ChunkQueries& queries, const Round& round) const {
    if (round.begin == 0 || product_scan_ == nullptr) return false;
    const size_t pairs = queries.count * (round.end - round.begin);
    const size_t wanted = options_.shared_queries == 0 ? kSharedQueries : options_.shared_queries;
    return pairs >= wanted * store_.chunk_count();
}

std::vector<unsigned> ChunkSearch::download(const unsigned* values, size_t count) const {
    unsigned* const pinned = session_.download.get<unsigned>(count);
    simt::copy_to_host(pinned, values, count * sizeof(unsigned), session_.stream.get());
    simt::synchronize(session_.stream.get());
    return {pinned, pinned + count};
}

}  // namespace nearcell::gpu
