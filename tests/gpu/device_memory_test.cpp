// Searches of an index on the emulated GPU with little memory: room for few candidates, re-rank
// stores and codes that stay on the host, and what is said where there is too little.
#include "device_index_case.h"

namespace nearcell::gpu {
namespace {

class DeviceMemoryTest : public DeviceIndexTest {};

TEST_F(DeviceMemoryTest, RoomForFewCandidatesLosesNone) {
    const auto index = make("IVF8,Flat", Metric::L2);
    SearchOptions search;
    search.k = 3;
    search.probes = 8;
    const SearchResult truth = index->search(view(queries_), search);
    DeviceOptions options;
    options.chunk_blocks = 1;
    options.candidates = 16;  // a chunk's vectors
    index->to("cuda:0", options);
    expect_close(index->search(view(queries_), search), truth, "room for 16");
    options.scratch_bytes = 1;  // one query at a time
    index->to("cuda:0", options);
    expect_close(index->search(view(queries_), search), truth, "one at a time");
}

// An index, queries of which some find many candidates, and what the CPU finds.
struct CrowdedCase {
    CrowdedCase(std::unique_ptr<CellIndex> index_, size_t count)
        : index(std::move(index_)), queries(clustered(count, kDim, 2)) {
        search.k = 3;
        search.probes = 8;
        truth = index->search(view(queries), search);
    }
    void expect_found(const std::string& what) const {
        const SearchResult found = index->search(view(queries), search);
        expect_close(found, truth, what);
        EXPECT_EQ(found.stats.scanned, truth.stats.scanned) << what;
    }

    std::unique_ptr<CellIndex> index;
    std::vector<float> queries;
    SearchOptions search;
    SearchResult truth;
};

// Of centroids as of vectors: seen in the end at first, then there is more room, which may be too
// little, too, and then it is seen at once.
TEST_F(DeviceMemoryTest, CrowdedQueriesOfManyLoseNone) {
    const CrowdedCase crowded(make("IVF128,Flat", Metric::L2), 300);
    for (const size_t candidates : {36, 44}) {
        for (const size_t scratch : {size_t{1} << 30, size_t{1} << 17}) {
            DeviceOptions options;
            options.chunk_blocks = 1;
            options.candidates = candidates;
            options.scratch_bytes = scratch;
            crowded.index->to("cuda:0", options);
            const std::string what =
                "room for " + std::to_string(candidates) + " in " + std::to_string(scratch);
            crowded.expect_found(what + ", in the end");
            crowded.expect_found(what + ", crowding is known");
        }
    }
}

// Where there is no memory for more room, or for all queries at once, the rest goes on, and what
// was begun does not count.
TEST_F(DeviceMemoryTest, CrowdedQueriesInLittleMemoryLoseNone) {
    const CrowdedCase crowded(make("IVF128,Flat", Metric::L2), 150);
    size_t found_in = 0;
    for (size_t left = 128 << 10; left < 4 << 20; left *= 2) {
        for (const bool there : {false, true}) {  // the cells are, which there was much memory for
            simt::reset();
            DeviceOptions options;
            options.chunk_blocks = 1;
            options.candidates = 36;
            crowded.index->to("cuda:0", options);
            SearchOptions nearest;
            nearest.k = nearest.probes = 1;
            const MatrixView<const float> one(crowded.queries.data(), 1, kDim);
            if (there) crowded.index->search(one, nearest);
            simt::config().device_bytes = simt::counters().device_bytes + left;
            try {
                crowded.expect_found(std::to_string(left) + " bytes left, first");
                crowded.expect_found(std::to_string(left) + " bytes left, again");
                ++found_in;
            } catch (const Error& error) {
                EXPECT_EQ(error.code(), StatusCode::OutOfMemory) << error.what();
            }
            crowded.index->to("cpu");
        }
    }
    EXPECT_GT(found_in, 4u);
}

TEST_F(DeviceMemoryTest, TheReRankStoreMayStayOnTheHost) {
    for (const char* spec : {"IVF8,PQ8,RFlat", "IVF8,SQ8,Refine(SQfp16)", "IVF8,RaBitQ,RFlat"}) {
        const auto index = make(spec, Metric::Cosine);
        SearchOptions search;
        search.probes = 6;
        search.rerank = 40;
        const SearchResult truth = index->search(view(queries_), search);
        DeviceOptions options = small_chunks();
        options.rerank_on_host = true;
        index->to("cuda:0", options);
        const SearchResult found = index->search(view(queries_), search);
        if (index->reranks_by_bound())
            expect_as_near(found, truth, spec);
        else
            expect_close(found, truth, spec);
        search.rerank = 0;
        index->to("cpu");
        const SearchResult by_rule = index->search(view(queries_), search);
        index->to("cuda:0", options);
        expect_as_near(index->search(view(queries_), search), by_rule, spec);
    }
}

// With memory for all queries, but not for what they find, it is done again by some at a time.
TEST_F(DeviceMemoryTest, RangeSearchInLittleMemoryCountsOnce) {
    const auto index = make("IVF8,Flat", Metric::L2);
    SearchOptions search;
    search.probes = 8;
    const MatrixView<const float> queries = view(base_).slice(0, 20);
    const RangeResult truth = index->range_search(queries, 1e6f, search);
    size_t again = 0;
    for (const size_t left : {17 << 9, 18 << 9, 19 << 9}) {
        simt::reset();
        DeviceOptions options;
        options.chunk_blocks = 1;
        options.candidates = 16;
        index->to("cuda:0", options);
        index->search(queries.slice(0, 1), search);  // so that the cells are there
        simt::config().device_bytes = simt::counters().device_bytes + left;
        try {
            const RangeResult found = index->range_search(queries, 1e6f, search);
            EXPECT_EQ(found.ids, truth.ids) << left;
            EXPECT_EQ(found.stats.scanned, truth.stats.scanned) << left;
            again += found.stats.plan.find("at most 20 ") == std::string::npos;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), StatusCode::OutOfMemory) << error.what();
        }
        index->to("cpu");
    }
    EXPECT_GT(again, 1u);
}

TEST_F(DeviceMemoryTest, LittleMemoryIsSaidAndChangesNothing) {
    const auto index = make("IVF8,Flat", Metric::L2);
    const std::vector<uint8_t> before = index->to_bytes();
    const SearchResult truth = index->search(view(queries_), {});
    DeviceOptions options = small_chunks();
    options.memory_bytes = 2000;
    index->to("cuda:0", options);
    try {
        index->search(view(queries_), {});
        ADD_FAILURE() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::OutOfMemory);
        EXPECT_NE(std::string(error.what()).find("2000"), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find("memory_bytes"), std::string::npos);
    }
    EXPECT_EQ(index->to_bytes(), before);
    index->to("cpu");
    EXPECT_EQ(index->search(view(queries_), {}).ids, truth.ids);
    EXPECT_EQ(simt::counters().device_bytes, 0u);
}

TEST_F(DeviceMemoryTest, StatsSayWhatTheDeviceHolds) {
    const auto index = make("IVF8,SQ8", Metric::L2);
    index->to("cuda:0");
    EXPECT_EQ(index->stats().device_bytes, 0u);
    index->search(view(queries_), {});
    const IndexStats stats = index->stats();
    EXPECT_GT(stats.device_bytes, kRows * stats.code_bytes);
    EXPECT_LE(stats.device_bytes, simt::counters().device_bytes);
    index->to("cpu");
    EXPECT_EQ(index->stats().device_bytes, 0u);
}

TEST_F(DeviceMemoryTest, CodesMayBeMoreThanTheDeviceHolds) {
    const auto expect_found = [](const CellIndex& index, const SearchResult& found,
                                 const SearchResult& truth, const char* spec) {
        if (index.options().codec.kind == CodeKind::Bits)
            expect_as_near(found, truth, spec);
        else
            expect_close(found, truth, spec);
    };
    const IdFilter odd = IdFilter::range(50, 300);
    for (const char* spec :
         {"Flat", "IVF8,Flat", "IVF8,SQ8", "IVF8,PQ8,RFlat", "IVF8,RaBitQ,RFlat"}) {
        const auto index = make_index(spec, {kDim, Metric::L2, 5});
        index->train(view(base_));
        std::vector<int64_t> ids(kRows);
        const size_t large = std::string(spec) == "IVF8,SQ8" ? size_t{1} << 40 : 0;
        for (size_t i = 0; i < kRows; ++i)
            ids[i] = static_cast<int64_t>(i + large);
        index->add(view(base_), ids);
        SearchOptions search;
        search.probes = 8;
        search.rerank = index->options().rerank ? 40 : 0;
        const SearchResult truth = index->search(view(queries_), search);
        const RangeResult range = index->range_search(view(queries_), 50.0f, search);
        search.filter = &odd;
        const SearchResult filtered = index->search(view(queries_), search);
        search.filter = nullptr;
        DeviceOptions options = small_chunks();
        options.memory_bytes = 45000;
        options.candidates = 32;
        index->to("cuda:0", options);
        const SearchResult found = index->search(view(queries_), search);
        if (std::string(spec) == "Flat" || std::string(spec) == "IVF8,Flat") {
            EXPECT_NE(found.stats.plan.find("parts"), std::string::npos) << found.stats.plan;
        }
        expect_found(*index, found, truth, spec);
        expect_found(*index, index->search(view(queries_), search), truth, spec);
        EXPECT_EQ(index->range_search(view(queries_), 50.0f, search).ids, range.ids) << spec;
        search.filter = &odd;
        expect_found(*index, index->search(view(queries_), search), filtered, spec);
        search.filter = nullptr;
        index->add(view(queries_));
        const SearchResult more = index->search(view(queries_), search);
        index->to("cpu");
        expect_found(*index, more, index->search(view(queries_), search), spec);
    }
}

TEST_F(DeviceMemoryTest, RoomToGrowIsNotTakenFromWhatIsThere) {
    const auto index = make("Flat", Metric::L2);
    DeviceOptions options = small_chunks();
    options.memory_bytes = 90000;  // the codes and their tags take 51,200
    index->to("cuda:0", options);
    const SearchResult before = index->search(view(queries_), {});
    EXPECT_EQ(before.stats.plan.find("parts"), std::string::npos) << before.stats.plan;
    index->add(view(queries_));
    const SearchResult after = index->search(view(queries_), {});
    EXPECT_EQ(after.stats.plan.find("parts"), std::string::npos) << after.stats.plan;
    for (size_t q = 0; q < kQueries; ++q)
        EXPECT_EQ(after.ids[q * 10], static_cast<int64_t>(kRows + q));
}

// With less and less memory the values of byte tiles, then their terms, then codes are not held.
// What is found is the same.
TEST_F(DeviceMemoryTest, ByteTilesTakeWhatIsLeft) {
    for (const char* spec : {"IVF8,SQfp16", "IVF8,PQ24x4", "IVF8,RaBitQ,RFlat"}) {
        const auto index = make(spec, Metric::L2);
        SearchOptions search;
        search.probes = 4;
        DeviceOptions options = small_chunks();
        options.scratch_bytes = 20000;
        SearchResult first;
        size_t most = 0, levels = 0, last = 0;
        for (size_t bytes = 260000; bytes >= 60000; bytes -= 4000) {
            options.memory_bytes = bytes;
            index->to("cuda:0", options);
            const SearchResult found = index->search(view(queries_), search);
            if (first.ids.empty()) first = found;
            if (index->reranks_by_bound())
                expect_as_near(found, first, spec);
            else
                expect_close(found, first, spec);
            const size_t held = index->stats().device_bytes;
            EXPECT_LE(held, bytes) << spec;
            most = std::max(most, held);
            if (held + 4000 < last || last == 0) ++levels;
            last = held;
            index->to("cpu");
        }
        EXPECT_GE(levels, 3u) << spec << " " << most;
    }
}

}  // namespace
}  // namespace nearcell::gpu
