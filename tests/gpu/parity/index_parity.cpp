// Indexes moved to a device: what searches find there against what they find on the CPU.
#include <map>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/kernels/device.h>
#include "parity_case.h"

namespace nearcell::parity {
namespace {

constexpr Metric kMetrics[] = {Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1};

constexpr size_t kNumbersOfNeighbours[] = {1, 10, 33, 100, 1000, 2048, 20000};

using IndexParity = ParityTest;

TEST_F(IndexParity, EveryCodeByEveryMetric) {
    const std::vector<std::string> patterns = {
        "Flat",
        "SQ8",
        "PQ#x4",
        "IVF%,Flat",
        "IVF%,SQfp16",
        "IVF%,SQfp16nr",
        "IVF%,SQbf16",
        "IVF%,SQ8",
        "IVF%,SQ8nr",
        "IVF%,I8",
        "IVF%,PQ#",
        "IVF%,PQ#nr",
        "IVF%,PQ#x4",
        "IVF%,PQ#x4fs",
        "IVF%,RaBitQ",
        "IVF%,RaBitQ2",
        "IVF%,RaBitQ8",
        "IVF%,PQ#,RFlat",
        "IVF%,PQ#x4,Refine(SQfp16)",
        "IVF%,RaBitQ,RFlat",
        "IVF%,RaBitQ4,Refine(SQ8)",
        "IVF%,SQ8,Refine(SQbf16)",
        "PCA12,IVF%,Flat",
        "OPQ#,IVF%,PQ#x4",
        "RR,IVF%,Flat",
        "L2norm,IVF%,SQ8",
    };
    size_t compared = 0;
    for (const Metric metric : kMetrics) {
        for (const std::string& pattern : patterns) {
            const std::string what = pattern + " " + std::string(metric_name(metric));
            std::unique_ptr<CellIndex> index;
            try {
                index = make(spec_of(pattern), metric);
            } catch (const Error& error) {
                ASSERT_EQ(error.code(), StatusCode::Unsupported) << what << ": " << error.what();
                continue;
            }
            SearchOptions options;
            options.k = 6;
            options.probes = std::min<size_t>(index->options().cells, 5);
            const SearchResult truth = search(*index, options);
            index->to("cuda:0", device_options());
            const SearchResult found = search(*index, options);
            expect_as_cpu(*index, found, truth, what);
            EXPECT_GT(found.stats.scanned, 0u) << what;
            ++compared;
        }
    }
    EXPECT_EQ(compared, 87u);  // of 104; the factory refuses what L1 cannot do
}

// Kernels of more than 128 dimensions are others than those above.
TEST_F(IndexParity, ManyDimensions) {
    const size_t dim = 10 * size().dim;
    const Rows base = clustered(size().rows / 2, dim, 1),
               queries = clustered(size().queries, dim, 2);
    for (const Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine}) {
        for (const char* pattern : {"IVF%,SQfp16nr", "IVF%,SQ8", "IVF%,PQ#x4fsr"}) {
            const std::string what = std::string(pattern) + " " + std::string(metric_name(metric));
            const auto index = make_index(spec_of(pattern), {dim, metric, 5});
            index->train(base.view());
            index->add(base.view());
            SearchOptions options;
            options.probes = size().cells / 2;
            const SearchResult truth = index->search(queries.view(), options);
            index->to("cuda:0", device_options());
            expect_close(index->search(queries.view(), options), truth, what);
        }
    }
}

TEST_F(IndexParity, KFrom1To20000) {
    for (const char* pattern : {"IVF%,Flat", "IVF%,PQ#,RFlat", "SQ8"}) {
        const auto index = make(spec_of(pattern), Metric::L2);
        for (const size_t k : kNumbersOfNeighbours) {
            const std::string what = std::string(pattern) + ", k = " + std::to_string(k);
            SearchOptions options;
            options.k = k;
            options.probes = index->options().cells;
            const Vectors few = Vectors(queries_.view()).slice(0, k > 1000 ? 5 : size().queries);
            index->to("cpu");
            const SearchResult truth = index->search(few, options);
            index->to("cuda:0", device_options());
            expect_close(index->search(few, options), truth, what);
        }
    }
}

TEST_F(IndexParity, Filters) {
    const auto rows = static_cast<int64_t>(size().rows);
    std::vector<int64_t> listed;
    for (int64_t id = 3; id < rows; id += 7)
        listed.push_back(id);
    std::vector<uint8_t> bits(size().rows / 10);
    for (size_t i = 0; i < bits.size(); ++i)
        bits[i] = static_cast<uint8_t>(37 * i + 11);
    const std::vector<IdFilter> filters = {IdFilter::list(listed),
                                           IdFilter::list(listed).complement(),
                                           IdFilter::range(rows / 5, rows / 2),
                                           IdFilter::bitset(bits),
                                           IdFilter().complement(),
                                           IdFilter()};
    for (const char* pattern : {"IVF%,SQ8", "IVF%,RaBitQ,RFlat"}) {
        const auto index = make(spec_of(pattern), Metric::L2);
        for (size_t i = 0; i < filters.size(); ++i) {
            SearchOptions options;
            options.probes = 4;
            options.filter = &filters[i];
            index->to("cpu");
            const SearchResult truth = search(*index, options);
            index->to("cuda:0", device_options());
            expect_as_cpu(*index, search(*index, options), truth,
                          std::string(pattern) + ", filter " + std::to_string(i));
        }
    }
}

TEST_F(IndexParity, ACutoffLeavesOutTheSameCells) {
    for (const Metric metric : {Metric::L2, Metric::Cosine}) {
        const auto index = make(spec_of("IVF%,Flat"), metric);
        SearchOptions options;
        options.k = 4;
        options.probes = size().cells;
        options.cutoff = 0.5f;
        const SearchResult truth = search(*index, options);
        index->to("cuda:0", device_options());
        const SearchResult found = search(*index, options);
        expect_close(found, truth, "cutoff", size().queries / 100);
        const auto scanned = static_cast<double>(truth.stats.scanned);
        EXPECT_NEAR(static_cast<double>(found.stats.scanned), scanned, scanned / 1000);
        EXPECT_LT(truth.stats.scanned, size().rows * size().queries);
    }
}

TEST_F(IndexParity, Changes) {
    const auto index = make(spec_of("IVF%,PQ#,RFlat"), Metric::L2);
    index->to("cuda:0", device_options());
    SearchOptions options;
    options.probes = 8;
    const auto expect_the_same_here = [&](const char* what) {
        const SearchResult found = search(*index, options);
        const auto here = CellIndex::from_bytes(index->to_bytes());
        expect_close(found, search(*here, options), what);
    };
    expect_the_same_here("at first");
    std::vector<int64_t> gone;
    for (int64_t id = 0; id < static_cast<int64_t>(size().rows * 3 / 4); id += 3)
        gone.push_back(id);
    EXPECT_EQ(index->remove(gone), gone.size());
    expect_the_same_here("removed");
    const Rows more = clustered(size().rows, size().dim, 9);
    index->add(more.view());
    expect_the_same_here("added");
    const std::vector<int64_t> changed = {1, 2, 4, 5};
    index->update(changed, Vectors(more.view()).slice(30, 4));
    expect_the_same_here("updated");
    index->remove(index->ids());
    EXPECT_EQ(search(*index, options).counts, std::vector<size_t>(size().queries, 0));
}

// Of an index that is trained on the CPU, to which rows are added there and on the device.
void expect_same_bytes_added(const char* pattern, const Rows& trained, const Rows& rows) {
    const auto index = make_index(spec_of(pattern), {size().dim, Metric::L2, 5});
    index->train(trained.view());
    const auto other = CellIndex::from_bytes(index->to_bytes());
    index->add(rows.view());
    other->to("cuda:0", device_options());
    other->add(rows.view());
    EXPECT_TRUE(other->to_bytes() == index->to_bytes()) << pattern;
}

// Assigned and encoded there. On the emulation so few rows are the CPU's: there
// tests/gpu/backend_encode_test.cpp has a device that takes all.
TEST_F(IndexParity, RowsAddedOnTheDeviceHaveTheBytesOfTheCpus) {
    if (cpu_backend().describe().starts_with("cpu base "))
        GTEST_SKIP() << "the CPU's kernels in use have no fused multiply-adds";
    for (const char* pattern :
         {"SQ8", "IVF%,Flat", "IVF%,SQfp16", "IVF%,SQbf16nr", "IVF%,SQ8", "IVF%,I8", "IVF%,PQ#",
          "IVF%,PQ#x4fs", "IVF%,RaBitQ", "IVF%,RaBitQ2", "IVF%,PQ#x4,Refine(SQfp16)",
          "RR,IVF%,PQ#nr,RFlat"}) {
        expect_same_bytes_added(pattern, base_, base_);
    }
}

// In slices of several threads at once.
TEST_F(IndexParity, ManyRowsAddedOnTheDeviceHaveTheBytesOfTheCpus) {
    if (cpu_backend().describe().starts_with("cpu base "))
        GTEST_SKIP() << "the CPU's kernels in use have no fused multiply-adds";
    const Rows many = clustered(5 * size().rows, size().dim, 3);
    for (const char* pattern : {"IVF%,SQfp16", "IVF%,PQ#,RFlat", "IVF%,RaBitQ"}) {
        expect_same_bytes_added(pattern, base_, many);
    }
}

// Among so many rows that the nearest are searched on tensor cores.
TEST_F(IndexParity, LabelsAreTheCpus) {
    if (cpu_backend().describe().starts_with("cpu base "))
        GTEST_SKIP() << "the CPU's kernels in use have no fused multiply-adds";
    const size_t rows = size().rows / 5;  // of the full size 10,000
    for (const size_t dim : {size().dim, 2 * size().dim}) {
        const Rows x = clustered(size().rows, dim, 4), nearest = clustered(rows, dim, 5);
        for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
            const auto labels = [&](const Backend& backend) {
                std::vector<uint32_t> found(size().rows);
                backend.assign(x.view(), nearest.view(), metric, found.data(), nullptr, 0);
                return found;
            };
            EXPECT_EQ(labels(find_device("cuda:0")->backend()), labels(cpu_backend())) << dim;
        }
    }
}

TEST_F(IndexParity, TheReRankStoreStaysOnTheHost) {
    for (const char* pattern : {"IVF%,PQ#,RFlat", "IVF%,SQ8,Refine(SQfp16)", "IVF%,RaBitQ,RFlat"}) {
        const auto index = make(spec_of(pattern), Metric::Cosine);
        for (const size_t depth : {size_t{0}, size_t{40}}) {
            SearchOptions options;
            options.probes = 6;
            options.rerank = depth;
            index->to("cpu");
            const SearchResult truth = search(*index, options);
            DeviceOptions on_host = device_options();
            on_host.rerank_on_host = true;
            index->to("cuda:0", on_host);
            const SearchResult found = search(*index, options);
            const std::string what = std::string(pattern) + ", depth " + std::to_string(depth);
            if (depth == 0)
                expect_as_near(found, truth, what);
            else
                expect_as_cpu(*index, found, truth, what);
        }
    }
}

// Of two range searches: what is in one of them only, and not at the very edge of the radius.
size_t differences(const RangeResult& found, const RangeResult& truth, float radius) {
    size_t count = 0;
    for (size_t q = 0; q < truth.queries; ++q) {
        std::map<int64_t, std::pair<float, int>> seen;  // score, and in how many of the two
        for (const RangeResult* result : {&found, &truth}) {
            for (size_t i = result->offsets[q]; i < result->offsets[q + 1]; ++i) {
                auto& entry = seen[result->ids[i]];
                entry = {result->scores[i], entry.second + 1};
            }
        }
        for (const auto& [id, entry] : seen) {
            const bool at_edge = std::fabs(entry.first - radius) <= 2e-5f * std::fabs(radius);
            count += entry.second == 1 && !at_edge;
        }
    }
    return count;
}

TEST_F(IndexParity, RangeSearch) {
    for (const char* pattern : {"IVF%,Flat", "IVF%,PQ#", "IVF%,SQ8,RFlat", "IVF%,RaBitQ4"}) {
        const auto index = make(spec_of(pattern), Metric::L2);
        SearchOptions options;
        options.probes = 8;
        options.k = 40;
        const SearchResult nearest = search(*index, options);
        const float radius = nearest.scores[nearest.k / 2];  // of the first query
        const RangeResult truth = index->range_search(queries_.view(), radius, options);
        EXPECT_GT(truth.ids.size(), size().queries) << pattern;
        for (const bool on_host : {false, true}) {
            DeviceOptions crowded = device_options();
            crowded.candidates = 16;  // the others are asked for again
            crowded.rerank_on_host = on_host;
            index->to("cuda:0", crowded);
            const RangeResult found = index->range_search(queries_.view(), radius, options);
            // A code at the edge of the wider radius of codes may fall on either side.
            EXPECT_LE(differences(found, truth, radius), truth.ids.size() / 10000) << pattern;
        }
    }
}

}  // namespace
}  // namespace nearcell::parity
