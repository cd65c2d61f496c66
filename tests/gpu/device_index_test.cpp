// Indexes moved to the emulated GPU: searches there against the same searches on the CPU, for every
// kind of code, metric and transform, with filters, changes and little memory.
#include <nearcell/gpu/cuda_device.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/gpu/session.h>
#include <nearcell/gpu/simt/emulator.h>
#include <nearcell/index/factory.h>

namespace nearcell::gpu {
namespace {

constexpr size_t kDim = 24, kRows = 500, kQueries = 9;

// Clustered, so that cells mean something.
std::vector<float> clustered(size_t rows, size_t dim, uint64_t seed) {
    Random random(seed), centres(7);
    std::vector<float> middle(8 * dim);
    for (float& value : middle)
        value = static_cast<float>(3 * centres.normal());
    std::vector<float> values(rows * dim);
    for (size_t i = 0; i < rows; ++i) {
        const size_t cluster = random.below(8);
        for (size_t j = 0; j < dim; ++j)
            values[i * dim + j] = middle[cluster * dim + j] + static_cast<float>(random.normal());
    }
    return values;
}

MatrixView<const float> view(const std::vector<float>& values, size_t dim = kDim) {
    return {values.data(), values.size() / dim, dim};
}

class DeviceIndexTest : public testing::Test {
   protected:
    DeviceIndexTest() : base_(clustered(kRows, kDim, 1)), queries_(clustered(kQueries, kDim, 2)) {
        simt::reset();
        set_device_source(&cuda_devices());
    }
    ~DeviceIndexTest() override {
        set_device_source(nullptr);
        simt::reset();
    }

    std::unique_ptr<CellIndex> make(const std::string& spec, Metric metric) const {
        auto index = make_index(spec, {kDim, metric, 5});
        index->train(view(base_));
        index->add(view(base_));
        return index;
    }

    std::vector<float> base_, queries_;
};

DeviceOptions small_chunks() {
    DeviceOptions options;
    options.chunk_blocks = 2;
    return options;
}

// Scores within the roundings of float32; where neighbours differ, their scores must not.
void expect_close(const SearchResult& found, const SearchResult& truth, const std::string& what) {
    ASSERT_EQ(found.counts, truth.counts) << what;
    ASSERT_EQ(found.ids.size(), truth.ids.size()) << what;
    for (size_t i = 0; i < truth.ids.size(); ++i) {
        const float wanted = truth.scores[i];
        ASSERT_NEAR(found.scores[i], wanted, 2e-5f * (1 + std::fabs(wanted)))
            << what << " query " << i / truth.k << " place " << i % truth.k;
    }
    size_t others = 0;
    for (size_t i = 0; i < truth.ids.size(); ++i)
        others += found.ids[i] != truth.ids[i];
    ASSERT_LE(others, truth.ids.size() / 20) << what;
}

// Where codes' bounds may fail, devices let others pass: as near in all, or nearer.
void expect_as_near(const SearchResult& found, const SearchResult& truth, const std::string& what) {
    ASSERT_EQ(found.counts, truth.counts) << what;
    const double sum = std::accumulate(found.scores.begin(), found.scores.end(), 0.0);
    const double wanted = std::accumulate(truth.scores.begin(), truth.scores.end(), 0.0);
    ASSERT_NEAR(sum, wanted, 0.01 * std::fabs(wanted)) << what;
}

TEST_F(DeviceIndexTest, FindsWhatTheCpuFinds) {
    const std::vector<std::string> specs = {
        "Flat",
        "IVF8,Flat",
        "IVF8,SQfp16",
        "IVF8,SQ8",
        "SQ8",
        "IVF8,PQ8",
        "PQ8x4",
        "IVF8,PQ8x4,RFlat",
        "IVF8,RaBitQ",
        "IVF8,RaBitQ4",
        "IVF8,RaBitQ,RFlat",
        "PCA12,IVF8,Flat",
        "OPQ8,IVF8,PQ8",
        "RR24,IVF8,Flat",
        "L2norm,IVF8,SQ8",
        "IVF8,SQ8,Refine(SQfp16)",
    };
    size_t compared = 0;
    for (const Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1}) {
        for (const std::string& spec : specs) {
            const std::string what = spec + " " + std::string(metric_name(metric));
            std::unique_ptr<CellIndex> index;
            try {
                index = make(spec, metric);
            } catch (const Error& error) {
                ASSERT_EQ(error.code(), StatusCode::Unsupported) << what << ": " << error.what();
                continue;
            }
            SearchOptions search;
            search.k = 6;
            search.probes = 4;
            const SearchResult truth = index->search(view(queries_), search);
            DeviceOptions options = small_chunks();
            options.shared_queries = size_t{1} << 40;
            index->to("cuda:0", options);
            const SearchResult found = index->search(view(queries_), search);
            if (index->reranks_by_bound())
                expect_as_near(found, truth, what);
            else
                expect_close(found, truth, what);
            options.shared_queries = 1;  // by products, the same to the bit
            index->to("cuda:0", options);
            const SearchResult by_products = index->search(view(queries_), search);
            EXPECT_EQ(by_products.ids, found.ids) << what;
            EXPECT_EQ(by_products.scores, found.scores) << what;
            EXPECT_GT(found.stats.scanned, 0u) << what;
            ++compared;
        }
    }
    const std::vector<simt::Site> sites = simt::sites();  // barriers of what has run
    EXPECT_TRUE(std::any_of(sites.begin(), sites.end(), [](const simt::Site& site) {
        return site.file.find("scan_chunks_mma.cuh") != std::string::npos;
    }));
    EXPECT_EQ(compared, 54u);  // of 64; the factory refuses what L1 cannot do
}

TEST_F(DeviceIndexTest, FindsAsManyAsThereAre) {
    for (const size_t k : {1, 40, 200, 700}) {
        for (const char* spec : {"Flat", "IVF8,SQ8", "IVF8,PQ8,RFlat"}) {
            const auto index = make(spec, Metric::L2);
            SearchOptions search;
            search.k = k;
            search.probes = 8;
            const SearchResult truth = index->search(view(queries_), search);
            index->to("cuda:0", small_chunks());
            expect_close(index->search(view(queries_), search), truth,
                         std::string(spec) + " k = " + std::to_string(k));
        }
    }
}

TEST_F(DeviceIndexTest, RoomForFewCandidatesLosesNone) {
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
TEST_F(DeviceIndexTest, CrowdedQueriesOfManyLoseNone) {
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
TEST_F(DeviceIndexTest, CrowdedQueriesInLittleMemoryLoseNone) {
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

TEST_F(DeviceIndexTest, OrdersOfThreadsAndBatchesChangeNothing) {
    const auto index = make("IVF8,PQ8", Metric::L2);
    SearchOptions search;
    search.k = 10;
    search.probes = 5;
    SearchResult first;
    for (uint64_t seed = 1; seed <= 6; ++seed) {
        simt::reset();
        simt::config().seed = seed;
        simt::config().resident_blocks = static_cast<int>(seed % 3 + 1);
        DeviceOptions options;
        options.chunk_blocks = seed % 2 + 1;
        options.scratch_bytes = seed % 2 == 0 ? 1 : size_t{1} << 20;
        index->to("cuda:0", options);
        const SearchResult found = index->search(view(queries_), search);
        if (seed == 1) first = found;
        EXPECT_EQ(found.ids, first.ids) << seed;
        EXPECT_EQ(found.scores, first.scores) << seed;
        index->to("cpu");
    }
}

TEST_F(DeviceIndexTest, FiltersOnTheDevice) {
    std::vector<int64_t> listed;
    for (int64_t id = 3; id < static_cast<int64_t>(kRows); id += 7)
        listed.push_back(id);
    std::vector<uint8_t> bits(40);
    for (size_t i = 0; i < bits.size(); ++i)
        bits[i] = static_cast<uint8_t>(37 * i + 11);
    const std::vector<IdFilter> filters = {
        IdFilter::list(listed),    IdFilter::list(listed).complement(),
        IdFilter::range(100, 180), IdFilter::bitset(bits),
        IdFilter().complement(),   IdFilter()};
    const auto index = make("IVF8,SQ8", Metric::L2);
    std::vector<SearchResult> truth;
    SearchOptions search;
    search.probes = 3;
    for (const IdFilter& filter : filters) {
        search.filter = &filter;
        truth.push_back(index->search(view(queries_), search));
    }
    index->to("cuda:0", small_chunks());
    for (size_t i = 0; i < filters.size(); ++i) {
        search.filter = &filters[i];
        expect_close(index->search(view(queries_), search), truth[i],
                     "filter " + std::to_string(i));
    }
}

TEST_F(DeviceIndexTest, ACutoffLeavesOutTheSameCells) {
    for (const Metric metric : {Metric::L2, Metric::Cosine}) {
        const auto index = make("IVF32,Flat", metric);
        SearchOptions search;
        search.k = 4;
        search.probes = 20;
        search.cutoff = 0.5f;
        const SearchResult truth = index->search(view(queries_), search);
        index->to("cuda:0", small_chunks());
        const SearchResult found = index->search(view(queries_), search);
        expect_close(found, truth, "cutoff");
        EXPECT_EQ(found.stats.scanned, truth.stats.scanned);
    }
}

TEST_F(DeviceIndexTest, ChangesReachTheDevice) {
    const auto index = make("IVF8,PQ8,RFlat", Metric::L2);
    index->to("cuda:0", small_chunks());
    SearchOptions search;
    search.probes = 8;
    const auto expect_as_cpu = [&](const char* what) {
        const auto there = index->search(view(queries_), search);
        const auto here = CellIndex::from_bytes(index->to_bytes());
        expect_close(there, here->search(view(queries_), search), what);
    };
    expect_as_cpu("at first");
    std::vector<int64_t> gone;
    for (int64_t id = 0; id < 300; id += 3)
        gone.push_back(id);
    EXPECT_EQ(index->remove(gone), gone.size());
    expect_as_cpu("removed");
    const std::vector<float> more = clustered(400, kDim, 9);
    index->add(view(more));
    expect_as_cpu("added, laid out anew");
    index->add(view(more).slice(0, 20));
    expect_as_cpu("added, in what room there was");
    const std::vector<int64_t> changed = {1, 2, 4, 5};
    index->update(changed, view(more).slice(30, 4));
    expect_as_cpu("updated");
    index->remove(index->ids());
    const SearchResult none = index->search(view(queries_), search);
    EXPECT_EQ(none.counts, std::vector<size_t>(kQueries, 0));
    EXPECT_EQ(none.ids, std::vector<int64_t>(kQueries * search.k, -1));
}

TEST_F(DeviceIndexTest, IdsOf64Bits) {
    const auto index = make_index("IVF8,SQ8", {kDim, Metric::L2, 5});
    index->train(view(base_));
    std::vector<int64_t> ids(kRows);
    for (size_t i = 0; i < kRows; ++i)
        ids[i] = static_cast<int64_t>((i * 7919) % kRows + (size_t{1} << 40));
    index->add(view(base_).slice(0, 300), std::span(ids).first(300));
    SearchOptions search;
    search.probes = 8;
    SearchResult truth = index->search(view(queries_), search);
    index->to("cuda:0", small_chunks());
    expect_close(index->search(view(queries_), search), truth, "large ids");
    const IdFilter filter = IdFilter::range(int64_t{1} << 40, (int64_t{1} << 40) + 99);
    search.filter = &filter;
    const SearchResult filtered = index->search(view(queries_), search);
    index->add(view(base_).slice(300, 200), std::span(ids).subspan(300));
    const SearchResult after = index->search(view(queries_), search);
    index->to("cpu");
    expect_close(after, index->search(view(queries_), search), "large ids, filtered");
    EXPECT_NE(filtered.ids, after.ids);
}

TEST_F(DeviceIndexTest, TheReRankStoreMayStayOnTheHost) {
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

TEST_F(DeviceIndexTest, RangeSearch) {
    for (const char* spec : {"IVF8,Flat", "IVF8,PQ8", "IVF8,SQ8,RFlat", "IVF8,RaBitQ4"}) {
        for (const bool on_host : {false, true}) {
            const auto index = make(spec, Metric::L2);
            SearchOptions search;
            search.probes = 8;
            const RangeResult truth = index->range_search(view(queries_), 60.0f, search);
            DeviceOptions options = small_chunks();
            options.candidates = 16;  // the others are asked for again
            options.rerank_on_host = on_host;
            index->to("cuda:0", options);
            const RangeResult found = index->range_search(view(queries_), 60.0f, search);
            EXPECT_EQ(found.offsets, truth.offsets) << spec;
            EXPECT_EQ(found.ids, truth.ids) << spec;
            EXPECT_EQ(found.stats.scanned, truth.stats.scanned) << spec;  // once each
            EXPECT_GT(truth.ids.size(), 200u);
        }
    }
}

// With memory for all queries, but not for what they find, it is done again by some at a time.
TEST_F(DeviceIndexTest, RangeSearchInLittleMemoryCountsOnce) {
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

TEST_F(DeviceIndexTest, LittleMemoryIsSaidAndChangesNothing) {
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

// Of many dimensions keys of probes need not be exact, unless a cutoff asks for them.
TEST_F(DeviceIndexTest, ProbesOfManyDimensions) {
    constexpr size_t kWide = 200, kMany = 900, kAsking = 60;
    const auto base = clustered(kMany, kWide, 1), queries = clustered(kAsking, kWide, 2);
    struct Case {
        const char* spec;
        Metric metric;
        float cutoff;
    };
    for (const auto& [spec, metric, cutoff] : std::vector<Case>{
             {"IVF64,Flat", Metric::L2, 0},
             {"IVF64,Flat", Metric::L2, 0.05f},
             {"IVF64,Flat", Metric::L2, 0.1f},
             {"IVF64,Flat", Metric::Cosine, 0.05f},
             {"IVF64,Flat", Metric::Cosine, 0.1f},
             {"IVF64,SQ8", Metric::InnerProduct, 0},
             {"IVF64,RaBitQ,RFlat", Metric::L2, 0},
         }) {
        const std::string what = std::string(spec) + " " + std::string(metric_name(metric));
        const auto index = make_index(spec, {kWide, metric, 5});
        index->train(view(base, kWide));
        index->add(view(base, kWide));
        SearchOptions search;
        search.k = 4;
        search.probes = 48;
        search.cutoff = cutoff;
        const SearchResult truth = index->search(view(queries, kWide), search);
        for (const bool tiles : {true, false}) {
            DeviceOptions options = small_chunks();
            options.byte_tiles = tiles;
            index->to("cuda:0", options);
            const SearchResult found = index->search(view(queries, kWide), search);
            if (index->reranks_by_bound())
                expect_as_near(found, truth, what);
            else
                expect_close(found, truth, what);
            EXPECT_EQ(found.stats.scanned, truth.stats.scanned) << what;
        }
    }
}

TEST_F(DeviceIndexTest, CodesMayBeMoreThanTheDeviceHolds) {
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

// Codes that are bfloat16 already, and queries that all round downwards: what bounds products of
// many dimensions, in several slices, must hold for every vector of a chunk.
TEST_F(DeviceIndexTest, ProductsOfManyDimensionsLoseNone) {
    constexpr size_t kWide = 300, kMany = 420;
    Random random(21);
    std::vector<float> base(kMany * kWide), queries(9 * kWide, 1 + 0x1p-8f - 0x1p-12f);
    for (float& value : base)
        value = 1 + static_cast<float>(random.below(3)) * 0x1p-7f;
    for (const char* spec : {"SQbf16nr", "Flat"}) {
        for (const Metric metric : {Metric::InnerProduct, Metric::L2}) {
            const auto index = make_index(spec, {kWide, metric, 5});
            index->train(view(base, kWide));
            index->add(view(base, kWide));
            SearchResult found[2];
            for (const bool by_products : {false, true}) {
                DeviceOptions options;
                options.chunk_blocks = 12;
                options.shared_queries = by_products ? 1 : size_t{1} << 40;
                index->to("cuda:0", options);
                found[by_products ? 1 : 0] = index->search(view(queries, kWide), {});
            }
            EXPECT_EQ(found[1].ids, found[0].ids) << spec;
            EXPECT_EQ(found[1].scores, found[0].scores) << spec;
        }
    }
}

TEST_F(DeviceIndexTest, RoomToGrowIsNotTakenFromWhatIsThere) {
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

// What one batch has staged is there until it was copied, however late that is.
TEST_F(DeviceIndexTest, BatchesFromTheHost) {
    const auto index = make("IVF8,SQ8", Metric::L2);
    SearchOptions search;
    search.k = 7;
    search.probes = 4;
    DeviceOptions options = small_chunks();
    options.scratch_bytes = 1;  // one query at a time
    index->to("cuda:0", options);
    const SearchResult truth = index->search(view(queries_), search);
    simt::config().deferred_streams = true;
    const SearchResult found = index->search(view(queries_), search);
    EXPECT_EQ(found.ids, truth.ids);
    EXPECT_EQ(found.scores, truth.scores);
}

TEST_F(DeviceIndexTest, ArraysOnTheDevice) {
    const auto index = make("IVF8,SQ8", Metric::L2);
    SearchOptions search;
    search.k = 7;
    search.probes = 4;
    index->to("cuda:0", small_chunks());
    const SearchResult truth = index->search(view(queries_), search);
    simt::config().deferred_streams = true;
    const OwnStream own;
    const simt::Stream stream = own.get();
    DeviceArray<float> queries(queries_.size(), stream), scores(kQueries * 7, stream);
    DeviceArray<int64_t> ids(kQueries * 7, stream);
    queries.copy_from(queries_.data(),
                      queries_.size());  // not yet done when the search is asked for
    DeviceBatch batch;
    batch.queries = Vectors(queries.data(), ElementType::Float32, kQueries, kDim);
    batch.scores = scores.data();
    batch.ids = ids.data();
    batch.on_device = true;
    batch.stream = stream;
    const SearchStats stats = index->search_into(batch, search);
    EXPECT_EQ(stats.probes, 4u);
    std::vector<float> found_scores(kQueries * 7);
    std::vector<int64_t> found_ids(kQueries * 7);
    scores.copy_to(found_scores.data(), found_scores.size());
    ids.copy_to(found_ids.data(), found_ids.size());
    simt::synchronize(stream);
    EXPECT_EQ(found_scores, truth.scores);
    EXPECT_EQ(found_ids, truth.ids);

    // With and without byte tiles, also of the centroids.
    std::vector<float> bad = queries_;
    bad[3 * kDim + 5] = std::numeric_limits<float>::quiet_NaN();
    queries.copy_from(bad.data(), bad.size());
    size_t refused = 0;
    for (const size_t memory : {0, 20000, 30000, 45000, 60000, 80000}) {
        DeviceOptions options = small_chunks();
        options.memory_bytes = memory;
        index->to("cuda:0", options);
        try {
            index->search_into(batch, search);
            ADD_FAILURE() << "no error";
        } catch (const Error& error) {
            if (error.code() == StatusCode::OutOfMemory) continue;
            ++refused;
            EXPECT_EQ(error.code(), StatusCode::NonFinite) << error.what();
            EXPECT_NE(std::string(error.what()).find("queries[3, 5]"), std::string::npos);
        }
    }
    EXPECT_GE(refused, 3u);
    simt::synchronize(stream);
}

// More than are read where the host has them, and more than a copy's piece has.
TEST_F(DeviceIndexTest, ManyQueriesFromTheHost) {
    const auto index = make("IVF8,SQ8nr", Metric::L2);
    const size_t many = 12000;
    const std::vector<float> queries = clustered(many, kDim, 3);
    SearchOptions search;
    search.k = 2;
    search.probes = 1;
    index->to("cuda:0");
    for (const bool deferred : {false, true}) {
        simt::config().deferred_streams = deferred;
        const SearchResult found = index->search(view(queries), search);
        for (const size_t first : {0, 5461, 11999}) {  // pieces have 10922 rows
            const SearchResult some = index->search(view(queries).slice(first, 1), search);
            EXPECT_EQ(found.ids[first * 2], some.ids[0]) << first;
            EXPECT_EQ(found.scores[first * 2], some.scores[0]) << first;
        }
    }
}

// The device looks at them; what is said names the row of the call.
TEST_F(DeviceIndexTest, QueriesThatAreNone) {
    std::vector<float> bad = queries_;
    bad[3 * kDim + 5] = std::numeric_limits<float>::quiet_NaN();
    DeviceOptions by_ones = small_chunks(), elsewhere = small_chunks(), in_parts = small_chunks();
    by_ones.scratch_bytes = 1;
    elsewhere.rerank_on_host = true;
    in_parts.memory_bytes = 45000;
    for (const char* spec : {"IVF8,Flat", "SQ8", "IVF8,PQ8,RFlat", "IVF8,RaBitQ,RFlat"}) {
        const auto index = make(spec, Metric::L2);
        for (const DeviceOptions& options : {small_chunks(), by_ones, elsewhere, in_parts}) {
            index->to("cuda:0", options);
            const uint64_t streams = simt::counters().streams;
            for (const bool filtered : {false, true}) {
                const IdFilter none = IdFilter::range(100000, 100001);
                SearchOptions search;
                if (filtered) search.filter = &none;
                try {
                    index->search(view(bad), search);
                    ADD_FAILURE() << spec << ": no error";
                } catch (const Error& error) {
                    if (error.code() == StatusCode::OutOfMemory) continue;
                    EXPECT_EQ(error.code(), StatusCode::NonFinite) << spec << error.what();
                    EXPECT_NE(std::string(error.what()).find("queries[3, 5]"), std::string::npos)
                        << error.what();
                }
            }
            EXPECT_LE(simt::counters().streams, streams + 3) << spec;  // sessions are kept
        }
    }
    auto empty = make_index("IVF8,Flat", {kDim, Metric::L2, 5});
    empty->train(view(base_));
    empty->to("cuda:0");
    EXPECT_THROW(empty->search(view(bad), {}), Error);
}

TEST_F(DeviceIndexTest, QueriesOfEveryType) {
    const auto index = make("IVF8,Flat", Metric::InnerProduct);
    std::vector<int8_t> bytes(kQueries * kDim);
    for (size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<int8_t>(static_cast<int>(i * 31 % 255) - 127);
    Vectors queries(bytes.data(), ElementType::Int8, kQueries, kDim);
    const SearchResult truth = index->search(queries, {});
    index->to("cuda:0", small_chunks());
    expect_close(index->search(queries, {}), truth, "int8");
    EXPECT_EQ(index->search(queries.slice(0, 0), {}).ids.size(), 0u);
}

TEST_F(DeviceIndexTest, SaysWhatItIs) {
    const std::vector<const Device*> all = devices();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0]->name(), "cuda:0");
    EXPECT_NE(all[0]->describe().find("emulation, sm_90"), std::string::npos) << all[0]->describe();
    EXPECT_GT(all[0]->memory().total, 0u);
    const SearchResult truth = all[0]->exact_search(view(base_), view(queries_), Metric::L2, 3, 1);
    EXPECT_EQ(truth.counts, std::vector<size_t>(kQueries, 3));
}

}  // namespace
}  // namespace nearcell::gpu
