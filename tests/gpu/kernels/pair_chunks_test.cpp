// Pairs of queries and chunks: each of a round is in one tile, and a tile has pairs of one chunk.
#include <nearcell/gpu/kernels/pair_chunks.cuh>

#include <tuple>

#include "stored_case.h"

namespace nearcell::gpu {
namespace {

using simt::config;

class PairChunks : public simt::SimtTest {};

// Of a pair: chunk, query, and the key of the probe that it is of.
using Pair = std::tuple<unsigned, unsigned, float>;

unsigned blocks_of(size_t count, size_t threads) {
    return static_cast<unsigned>((count + threads - 1) / threads);
}

// A round's tiles, which may be written anew.
struct RoundCase {
    unsigned most;  // pairs of a tile
    DeviceArray<ScanPair> pairs;
    DeviceArray<PairTile> tiles, samples;
    DeviceArray<RoundCount> total, sampled;
    DeviceArray<unsigned long long> scanned;

    RoundCase(size_t most_pairs, size_t most_tiles, unsigned most_)
        : most(most_),
          pairs(most_pairs),
          tiles(most_tiles),
          samples(most_tiles),
          total(1, RoundCount{0}),
          sampled(1, RoundCount{0}),
          scanned(1, 0ull) {}
    RoundTiles to() const { return {tiles.data(), total.data()}; }
    RoundTiles to_samples() const { return {samples.data(), sampled.data()}; }

    // What the tiles have, in order; they must be made as they should.
    std::vector<Pair> listed(const std::vector<Chunk>& table) const {
        unsigned long long vectors = 0;
        std::vector<Pair> result = pairs_of(tiles, total, table);
        for (const Pair& pair : result)
            vectors += table[std::get<0>(pair)].vectors;
        EXPECT_EQ(scanned.to_host()[0], vectors);
        return result;
    }
    std::vector<Pair> listed_samples(const std::vector<Chunk>& table) const {
        return pairs_of(samples, sampled, table);
    }

   private:
    std::vector<Pair> pairs_of(const DeviceArray<PairTile>& from,
                               const DeviceArray<RoundCount>& count,
                               const std::vector<Chunk>& table) const {
        std::vector<PairTile> host_tiles = from.to_host();
        host_tiles.resize(count.to_host()[0].halves[1]);
        const std::vector<ScanPair> host_pairs = pairs.to_host();
        std::vector<Pair> result;
        for (const PairTile& tile : host_tiles) {
            EXPECT_LT(tile.begin, tile.end);
            EXPECT_LE(tile.end - tile.begin, most);
            // Tests give each chunk a first block of its own: three times its number.
            const unsigned chunk = tile.chunk.first_block / 3;
            EXPECT_EQ(tile.chunk.vectors, table[chunk].vectors);
            EXPECT_EQ(tile.chunk.cell, table[chunk].cell);
            for (unsigned p = tile.begin; p < tile.end; ++p)
                result.emplace_back(chunk, host_pairs[p].query, host_pairs[p].key);
        }
        std::sort(result.begin(), result.end());
        return result;
    }
};

// Cells of some chunks each, and queries that look into some of them.
struct ProbesCase {
    std::vector<unsigned> first{0};
    std::vector<Chunk> table;
    std::vector<unsigned> cells, ends;
    std::vector<float> keys;
    size_t queries, width, most_chunks = 0;
    DeviceArray<unsigned> device_first;
    DeviceArray<uint64_t> device_cells;
    DeviceArray<unsigned> device_ends, before;
    DeviceArray<Chunk> device_table;

    ProbesCase(size_t cell_count, unsigned most, size_t queries_, size_t width_, Random& random)
        : queries(queries_),
          width(width_),
          device_first(drawn_first(cell_count, most, random)),
          device_cells(drawn_cells(cell_count, random)),
          device_ends(ends),
          before(queries * width),
          device_table(table) {}

    // With chunks before each probe, as start_search says them.
    RoundPairs round(const RoundCase& to, bool with_ends) const {
        RoundPairs job{};
        job.probes = {device_cells.data(), with_ends ? device_ends.data() : nullptr, width};
        job.chunks = {device_first.data()};
        job.before = before.data();
        job.queries = queries;
        job.tile = to.most;
        job.pairs = to.pairs.data();
        return job;
    }
    std::vector<Pair> expected(const RoundPairs& job) const {
        std::vector<Pair> result;
        for (size_t q = 0; q < queries; ++q) {
            unsigned number = 0;  // of the query's chunks
            for (size_t rank = 0; rank < width; ++rank) {
                const unsigned cell = cells[q * width + rank];
                const bool looks =
                    rank >= job.first_rank && (job.probes.ends == nullptr || rank < ends[q]);
                for (unsigned chunk = first[cell]; chunk < first[cell + 1]; ++chunk, ++number) {
                    if (looks && number >= job.begin && number < job.end)
                        result.emplace_back(chunk, static_cast<unsigned>(q),
                                            keys[q * width + rank]);
                }
            }
        }
        std::sort(result.begin(), result.end());
        return result;
    }

   private:
    const std::vector<unsigned>& drawn_first(size_t cell_count, unsigned most, Random& random) {
        for (unsigned cell = 0; cell < cell_count; ++cell) {
            const auto count = static_cast<unsigned>(random.below(most + 1));  // or none
            for (unsigned i = 0; i < count; ++i) {
                const auto number = static_cast<unsigned>(table.size());
                table.push_back({3 * number, static_cast<unsigned>(1 + random.below(900)), cell});
            }
            first.push_back(first.back() + count);
        }
        return first;
    }
    std::vector<uint64_t> drawn_cells(size_t cell_count, Random& random) {
        for (size_t q = 0; q < queries; ++q) {
            size_t total = 0;
            for (const size_t cell : random_sample(cell_count, width, random)) {
                cells.push_back(static_cast<unsigned>(cell));
                keys.push_back(static_cast<float>(random.uniform()));
                total += first[cell + 1] - first[cell];
            }
            ends.push_back(static_cast<unsigned>(random.below(width + 1)));
            most_chunks = std::max(most_chunks, total);
        }
        std::vector<uint64_t> packed;
        for (size_t i = 0; i < cells.size(); ++i)
            packed.push_back(pack_key(keys[i], cells[i]));
        return packed;
    }
};

// The arrays of queries, and what a search starts them with.
struct StartCase {
    const ProbesCase& probes;
    DeviceArray<float> limits;
    DeviceArray<unsigned> wanted, held, counts, before;

    explicit StartCase(const ProbesCase& probes_)
        : probes(probes_),
          limits(probes.queries),
          wanted(probes.queries),
          held(probes.queries),
          counts(probes.queries),
          before(probes.queries * probes.width) {}
    SearchStart job(const float* known, const DeviceArray<unsigned>& to_before) const {
        return {{probes.device_cells.data(), nullptr, probes.width},
                {probes.device_first.data()},
                probes.queries,
                known,
                limits.data(),
                wanted.data(),
                held.data(),
                counts.data(),
                to_before.data()};
    }
    void expect_started(const float* known, const DeviceArray<unsigned>& seen_before) const {
        const size_t queries = probes.queries;
        const std::vector<unsigned> sums = seen_before.to_host(), zeros(queries, 0);
        for (size_t q = 0; q < queries; ++q) {
            unsigned sum = 0;
            for (size_t i = q * probes.width; i < (q + 1) * probes.width; ++i) {
                EXPECT_EQ(sums[i], sum) << "query " << q;
                sum += probes.first[probes.cells[i] + 1] - probes.first[probes.cells[i]];
            }
        }
        for (const DeviceArray<unsigned>* array : {&wanted, &held, &counts})
            EXPECT_EQ(array->to_host(), zeros);
        std::vector<float> expected(queries, kInfinity);
        if (known != nullptr)
            simt::copy_to_host(expected.data(), known, queries * sizeof(float), {});
        EXPECT_EQ(limits.to_host(), expected);
    }
};

// Starts a search, and expects what it starts with.
void start(const ProbesCase& probes, const float* known) {
    const StartCase started(probes);
    simt::launch({"start_search", blocks_of(probes.queries * 32, kPairThreads), kPairThreads},
                 start_search, started.job(known, probes.before));
    started.expect_started(known, probes.before);
}

// With samples, which are those of the first chunk of each query, if the round has them. The first
// round starts the queries.
std::vector<Pair> by_list(const ProbesCase& probes, RoundPairs job, const RoundCase& to) {
    const StartCase started(probes);
    const bool starts = job.begin == 0;
    if (starts) job.before = started.before.data();
    simt::launch({"list_pairs", blocks_of(probes.queries * 32, kPairThreads), kPairThreads},
                 list_pairs, job, starts ? started.job(nullptr, started.before) : SearchStart{},
                 probes.device_table.data(), to.to(), to.to_samples(), to.scanned.data());
    if (starts) started.expect_started(nullptr, started.before);
    RoundPairs first = job;
    first.end = std::min(1u, job.end);
    EXPECT_EQ(to.listed_samples(probes.table), probes.expected(first));
    return to.listed(probes.table);
}

std::vector<Pair> by_chunk(const ProbesCase& probes, RoundPairs job, const RoundCase& to) {
    const auto chunks = static_cast<unsigned>(probes.table.size());
    const DeviceArray<unsigned> counts(chunks, 0u), starts(chunks);
    job.counts = counts.data();
    job.starts = starts.data();
    const unsigned grid = blocks_of(probes.queries * probes.width, kPairThreads);
    simt::launch({"count_pairs", grid, kPairThreads}, count_pairs, job);
    simt::launch({"add_up_pairs", blocks_of(chunks, kSumThreads), kSumThreads}, add_up_pairs,
                 job.counts, probes.device_table.data(), chunks, job.tile, starts.data(), to.to(),
                 to.scanned.data());
    simt::launch({"place_pairs", grid, kPairThreads}, place_pairs, job);
    EXPECT_EQ(to.total.to_host()[0].halves[0], probes.expected(job).size());
    return to.listed(probes.table);
}

// Rounds of a search: up to `first` chunks of each query, then the others.
void check_rounds(const ProbesCase& probes, unsigned first, unsigned first_rank, bool with_ends) {
    const auto most = static_cast<unsigned>(probes.most_chunks);
    const size_t pairs = probes.queries * most;
    for (const auto& [begin, end] : {std::pair{0u, first}, {first, most}, {most, most + 1}}) {
        SCOPED_TRACE(testing::Message() << "chunks " << begin << " to " << end);
        for (const bool sorted : {false, true}) {
            const RoundCase to(pairs + 1, pairs + 1, sorted ? 100 : 64);
            RoundPairs job = probes.round(to, with_ends);
            job.first_rank = first_rank;
            job.begin = begin;
            job.end = end;
            ASSERT_EQ(sorted ? by_chunk(probes, job, to) : by_list(probes, job, to),
                      probes.expected(job));
        }
    }
}

TEST_F(PairChunks, OfProbes) {
    Random random(1);
    for (uint64_t turn = 1; turn <= 6; ++turn) {
        config().seed = turn;
        config().resident_blocks = turn % 2 == 0 ? 1 : 3;
        const ProbesCase probes(20, 5, 30, turn % 3 == 0 ? 1 : 12, random);
        start(probes, nullptr);
        check_rounds(probes, 4, turn > 3 ? 1 : 0, turn % 2 == 0);
    }
}

// Blocks of 1024 chunks, and more cells than a warp has lanes.
TEST_F(PairChunks, OfManyChunks) {
    Random random(2);
    const ProbesCase probes(1000, 5, 12, 70, random);
    ASSERT_GT(probes.table.size(), 2 * size_t{kSumThreads});
    start(probes, nullptr);
    config().resident_blocks = 3;
    check_rounds(probes, 30, 0, false);
}

// Of whose pairs there are several tiles.
TEST_F(PairChunks, OfChunksThatManyQueriesShare) {
    Random random(3);
    const ProbesCase probes(3, 2, 200, 2, random);
    const DeviceArray<float> known(Matrix(1, 200, random).data);
    start(probes, known.data());
    check_rounds(probes, 1, 0, false);
}

TEST_F(PairChunks, OfAllQueriesAndOneCell) {
    Random random(4);
    for (const size_t queries : {1, 64, 65, 300}) {
        std::vector<Chunk> table;
        for (unsigned c = 0; c < 9; ++c)
            table.push_back({3 * c, 1 + c * 7, 0});
        const DeviceArray<Chunk> device_table(table);
        for (const auto& [begin, end] : {std::pair{0u, 9u}, {2u, 7u}, {4u, 4u}}) {
            const RoundCase to(queries, 5 * 9, 64);
            RoundPairs job{};
            job.queries = queries;
            job.begin = begin;
            job.end = end;
            job.tile = 64;
            job.pairs = to.pairs.data();
            const DeviceArray<float> limits(queries);
            const DeviceArray<unsigned> wanted(queries), held(queries), counts(queries),
                before(queries);
            const SearchStart starting{{},
                                       {},
                                       queries,
                                       nullptr,
                                       limits.data(),
                                       wanted.data(),
                                       held.data(),
                                       counts.data(),
                                       before.data()};
            simt::launch(
                {"pair_all", blocks_of(std::max<size_t>(queries, 45), kPairThreads), kPairThreads},
                pair_all, job, begin == 0 ? starting : SearchStart{}, device_table.data(), to.to(),
                begin == end ? RoundTiles{} : to.to_samples(), to.scanned.data());
            if (begin == 0) {
                EXPECT_EQ(limits.to_host(), std::vector<float>(queries, kInfinity));
                for (const DeviceArray<unsigned>* array : {&wanted, &held, &counts, &before})
                    EXPECT_EQ(array->to_host(), std::vector<unsigned>(queries, 0));
            }
            std::vector<Pair> expected;
            for (unsigned chunk = begin; chunk < end; ++chunk) {
                for (unsigned q = 0; q < queries; ++q)
                    expected.emplace_back(chunk, q, 0.0f);
            }
            std::vector<Pair> first = expected;
            first.resize(begin == end ? 0 : queries);
            EXPECT_EQ(to.listed_samples(table), first);
            ASSERT_EQ(to.listed(table), expected) << queries << " queries from " << begin;
        }
    }
}

TEST_F(PairChunks, IsTheSameInEveryOrder) {
    Random random(5);
    const ProbesCase probes(9, 4, 90, 5, random);
    start(probes, nullptr);
    config().resident_blocks = 4;
    config().preempt_one_in = 40;
    simt::for_each_order([&] { check_rounds(probes, 5, 0, true); }, 1);
}

TEST_F(PairChunks, NoticesEveryMissingBarrier) {
    Random random(6);
    const ProbesCase probes(30, 4, 40, 5, random);
    start(probes, nullptr);
    const auto is_right = [&] {
        const size_t pairs = probes.queries * probes.most_chunks;
        const RoundCase to(pairs, pairs, 100);
        RoundPairs job = probes.round(to, false);
        job.end = static_cast<unsigned>(probes.most_chunks);
        return by_chunk(probes, job, to) == probes.expected(job);
    };
    ASSERT_TRUE(is_right());
    EXPECT_EQ(expect_barriers_needed(is_right), 2u);
}

}  // namespace
}  // namespace nearcell::gpu
