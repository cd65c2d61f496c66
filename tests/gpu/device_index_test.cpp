// Indexes moved to the emulated GPU: searches there against the same searches on the CPU, for every
// kind of code, metric and transform, with filters and changes.
#include "device_index_case.h"

namespace nearcell::gpu {
namespace {

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
            const size_t bytes = index->stats().device_bytes;
            options.byte_tiles = false;  // codes are rounded in each search
            index->to("cuda:0", options);
            const SearchResult without = index->search(view(queries_), search);
            if (index->reranks_by_bound()) {
                expect_as_near(without, truth, what);
            } else {
                EXPECT_EQ(without.ids, found.ids) << what;
                EXPECT_EQ(without.scores, found.scores) << what;
            }
            EXPECT_LE(index->stats().device_bytes, bytes) << what;
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

// More dimensions than codes are rounded of in each search, and no byte tiles.
TEST_F(DeviceIndexTest, ManyDimensionsWithoutTiles) {
    constexpr size_t kWide = 136;
    const auto base = clustered(kRows, kWide, 1), queries = clustered(kQueries, kWide, 2);
    for (const char* spec : {"Flat", "IVF8,SQfp16", "IVF8,SQbf16", "IVF8,SQ8", "IVF8,PQ17",
                             "IVF8,PQ17x4", "IVF8,RaBitQ,RFlat"}) {
        for (const Metric metric : {Metric::L2, Metric::Cosine}) {
            const std::string what = std::string(spec) + " " + std::string(metric_name(metric));
            const auto index = make_index(spec, {kWide, metric, 5});
            index->train(view(base, kWide));
            index->add(view(base, kWide));
            SearchOptions search;
            search.probes = 4;
            const SearchResult truth = index->search(view(queries, kWide), search);
            DeviceOptions options = small_chunks();
            options.byte_tiles = false;
            options.shared_queries = 1;
            index->to("cuda:0", options);
            const SearchResult found = index->search(view(queries, kWide), search);
            if (index->reranks_by_bound())
                expect_as_near(found, truth, what);
            else
                expect_close(found, truth, what);
        }
    }
    const std::vector<simt::Site> sites = simt::sites();
    EXPECT_TRUE(std::any_of(sites.begin(), sites.end(), [](const simt::Site& site) {
        return site.file.find("scan_chunks_mma.cuh") != std::string::npos;
    }));
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

// Bits with a re-rank store: byte tiles of its rows, and no bound of theirs fails: what is found is
// what a margin finds with which everything is scored, to the bit; through changes, too.
TEST_F(DeviceIndexTest, BitsWithRowsAreExactByTiles) {
    const IdFilter some = IdFilter::range(20, 420);
    std::vector<int64_t> gone(60);
    std::iota(gone.begin(), gone.end(), int64_t{100});
    for (const char* spec : {"RaBitQ,RFlat", "IVF8,RaBitQ,RFlat", "IVF8,RaBitQ,Refine(SQ8)",
                             "IVF8,RaBitQ,Refine(SQfp16)", "RR24,IVF8,RaBitQ,RFlat"}) {
        for (const Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine}) {
            const auto index = make(spec, metric);
            ASSERT_TRUE(index->reranks_by_bound());
            SearchOptions search;
            search.probes = 5;
            const auto check = [&](const std::string& what) {
                SearchOptions all = search;
                all.margin = 1e6f;
                index->to("cpu");
                const SearchResult truth = index->search(view(queries_), all);
                index->to("cuda:0", small_chunks());
                const SearchResult found = index->search(view(queries_), search);
                const std::string where =
                    std::string(spec) + " " + std::string(metric_name(metric)) + " " + what;
                EXPECT_EQ(found.ids, truth.ids) << where;
                EXPECT_EQ(found.scores, truth.scores) << where;
                if (all.filter == nullptr) {  // else the CPU counts what passes
                    EXPECT_EQ(found.stats.scanned, truth.stats.scanned) << where;
                }
            };
            search.k = 7;
            check("first");
            search.filter = &some;
            check("filtered");
            search.filter = nullptr;
            index->to("cuda:0", small_chunks());
            index->search(view(queries_), search);
            index->remove(gone);
            index->add(view(queries_));
            check("changed");
            search.k = 300;
            check("many");
        }
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
