#include <nearcell/ivf/cell_index.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <set>

#include <nearcell/core/error.h>
#include <nearcell/storage/container.h>

#include "ivf/model.h"

namespace nearcell {
namespace {

constexpr size_t kDim = 12;

struct Combination {
    std::string spec;
    Metric metric;
};

std::vector<Combination> combinations() {
    std::vector<Combination> all;
    for (const char* core : {"Flat",
                             "SQfp16",
                             "SQbf16",
                             "SQ8",
                             "IVF9,Flat",
                             "IVF9,SQfp16",
                             "IVF9,SQ8",
                             "IVF9,I8",
                             "I8",
                             "PQ4x4",
                             "IVF9,PQ5x4fs",
                             "IVF9,PQ5x4fsr",
                             "IVF9,PQ4",
                             "IVF9,Flat,Refine(SQ8)",
                             "RR,IVF9,SQ8",
                             "IVF9,PQ5x4fs,RFlat",
                             "RR,IVF9,Flat",
                             "OPQ4,IVF9,PQ4x4",
                             "IVF9,RaBitQ4,RFlat",
                             "IVF9,RaBitQ,RFlat",
                             "RaBitQ,Refine(SQ8)",
                             "PCA8,IVF9,RaBitQ,Refine(SQfp16)"}) {
        for (Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine}) {
            all.push_back({core, metric});
        }
    }
    for (const char* core : {"Flat", "SQ8", "SQfp16"})
        all.push_back({core, Metric::L1});
    return all;
}

class EveryCombination : public testing::TestWithParam<Combination> {
   protected:
    void SetUp() override { index_ = trained_index(GetParam().spec, kDim, GetParam().metric); }
    Metric metric() const { return GetParam().metric; }
    MatrixView<const float> rows(const std::vector<float>& x) const {
        return {x.data(), x.size() / kDim, kDim};
    }

    // A full search agrees with brute force over what is stored. With a re-rank store the scan may
    // miss a neighbour unless it re-ranks everything.
    void expect_exact(const IdFilter* filter = nullptr) {
        std::map<int64_t, std::vector<float>> stored = stored_vectors(*index_);
        if (filter != nullptr)
            std::erase_if(stored, [&](auto& s) { return !filter->allows(s.first); });
        const std::vector<float> queries = random_rows(20, kDim, 99);
        SearchOptions options;
        options.k = 7;
        options.probes = index_->options().cells;
        options.filter = filter;
        if (index_->options().rerank) options.rerank = index_->size() + 1;
        const SearchResult result = index_->search(rows(queries), options);
        // RaBitQ's bound, which saves re-ranking, may fail for a few vectors in a hundred.
        size_t may_miss = index_->options().codec.kind == CodeKind::Bits ? 7 : 0;
        for (size_t q = 0; q < 20; ++q) {
            const auto truth = brute_force(metric(), &queries[q * kDim], kDim, stored);
            const size_t expected = std::min<size_t>(7, truth.size());
            ASSERT_EQ(result.counts[q], expected);
            std::set<int64_t> seen;
            for (size_t i = 0; i < expected; ++i) {
                const double score = static_cast<double>(result.scores[q * 7 + i]);
                const int64_t id = result.ids[q * 7 + i];
                ASSERT_TRUE(seen.insert(id).second) << "id twice";
                const double own =
                    exact_score(metric(), &queries[q * kDim], stored.at(id).data(), kDim);
                ASSERT_TRUE(close(score, own)) << "not the score of its id";
                if (close(score, truth[i].score)) continue;
                ASSERT_GT(may_miss, 0u) << score << " at rank " << i << ", not " << truth[i].score;
                --may_miss;
                break;
            }
            for (size_t i = expected; i < 7; ++i) {
                ASSERT_EQ(result.ids[q * 7 + i], -1);
                ASSERT_EQ(result.scores[q * 7 + i], worst_score(metric()));
            }
        }
    }

    bool close(double score, double truth) const {
        if (metric() == Metric::Cosine) truth = std::clamp(truth, -1.0, 1.0);
        return std::fabs(score - truth) <= 2e-4 * (1 + std::fabs(truth));
    }

    std::unique_ptr<CellIndex> index_;
};

TEST_P(EveryCombination, IsExactOverWhatItStores) {
    expect_exact();  // empty
    const std::vector<float> x = random_rows(300, kDim, 2);
    index_->add(rows(x));
    expect_exact();
    EXPECT_EQ(index_->size(), 300u);
}

TEST_P(EveryCombination, RandomOperationsAgreeWithAModel) {
    Random random(5);
    std::map<int64_t, std::vector<float>> model;  // what was given in
    int64_t next = 0;
    for (int step = 0; step < 40; ++step) {
        const size_t count = 1 + random.below(40);
        const std::vector<float> x = random_rows(count, kDim, 100 + static_cast<uint64_t>(step));
        const auto row = [&](size_t i) {
            return std::vector<float>(x.begin() + static_cast<ptrdiff_t>(i * kDim),
                                      x.begin() + static_cast<ptrdiff_t>((i + 1) * kDim));
        };
        std::vector<int64_t> ids;
        switch (random.below(4)) {
            case 0:  // ids of our own, some beyond 2^60
                for (size_t i = 0; i < count; ++i) {
                    ids.push_back(next + static_cast<int64_t>(i) * 3 +
                                  (step % 2 == 0 ? 0 : (int64_t{1} << 60)));
                }
                next = ids.back() + 1;
                if (model.count(ids[0]) != 0) break;
                index_->add(rows(x), ids);
                for (size_t i = 0; i < count; ++i)
                    model[ids[i]] = row(i);
                break;
            case 1: {
                const int64_t first = index_->add(rows(x));
                for (size_t i = 0; i < count; ++i)
                    model[first + static_cast<int64_t>(i)] = row(i);
                next = first + static_cast<int64_t>(count);
                break;
            }
            case 2: {
                size_t present = 0;
                for (const auto& [id, unused] : model) {
                    if (random.below(3) == 0) ids.push_back(id);
                }
                present = ids.size();
                ids.push_back(123456789);
                EXPECT_EQ(index_->remove(ids), present);
                for (const int64_t id : ids)
                    model.erase(id);
                break;
            }
            case 3:
                for (const auto& [id, unused] : model) {
                    if (ids.size() < count && random.below(2) == 0) ids.push_back(id);
                }
                if (ids.empty()) break;
                index_->update(ids, rows(x).slice(0, ids.size()));
                for (size_t i = 0; i < ids.size(); ++i)
                    model[ids[i]] = row(i);
                break;
        }
        ASSERT_EQ(index_->size(), model.size());
    }
    const std::vector<int64_t> ids = index_->ids();
    ASSERT_EQ(ids.size(), model.size());
    size_t i = 0;
    for (const auto& [id, unused] : model)
        ASSERT_EQ(ids[i++], id);
    expect_exact();

    // The same vectors added at once to a new index: the same answers.
    auto rebuilt = trained_index(GetParam().spec, kDim, metric());
    std::vector<float> all;
    for (const auto& [id, x] : model)
        all.insert(all.end(), x.begin(), x.end());
    rebuilt->add(rows(all), ids);
    const std::vector<float> queries = random_rows(10, kDim, 77);
    const SearchOptions options{.k = 20};
    const SearchResult a = index_->search(rows(queries), options);
    const SearchResult b = rebuilt->search(rows(queries), options);
    EXPECT_EQ(a.ids, b.ids);
    EXPECT_EQ(a.scores, b.scores);

    // And through a file: the same answers again, and the same bytes.
    const std::vector<uint8_t> bytes = index_->to_bytes();
    const auto opened = CellIndex::from_bytes(bytes);
    const SearchResult c = opened->search(rows(queries), options);
    EXPECT_EQ(a.ids, c.ids);
    EXPECT_EQ(a.scores, c.scores);
    EXPECT_EQ(opened->to_bytes(), bytes);
    EXPECT_EQ(opened->spec(), index_->spec());
    const std::vector<float> extra = random_rows(50, kDim, 500);
    opened->add(rows(extra));  // an opened index goes on like any other
    index_->add(rows(extra));
    EXPECT_EQ(opened->search(rows(queries), options).ids,
              index_->search(rows(queries), options).ids);
}

TEST_P(EveryCombination, FiltersSeeOnlyWhatPasses) {
    const std::vector<float> x = random_rows(400, kDim, 3);
    index_->add(rows(x));
    const std::vector<int64_t> some{3, 5, 8, 399, 12345};
    const std::vector<uint8_t> bits{0xff, 0x00, 0x0f};
    for (const IdFilter& filter :
         {IdFilter::range(10, 200), IdFilter::list(some), IdFilter::bitset(bits),
          IdFilter::range(0, 0), IdFilter::list(some).complement(), IdFilter::range(-5, 1000)}) {
        expect_exact(&filter);
    }
}

TEST_P(EveryCombination, RangeSearchFindsTheSameAsSearch) {
    const std::vector<float> x = random_rows(300, kDim, 4);
    index_->add(rows(x));
    const std::vector<float> queries = random_rows(6, kDim, 98);
    SearchOptions options;
    options.k = 300;
    options.probes = index_->options().cells;
    const SearchResult all = index_->search(rows(queries), options);
    const float radius = all.scores[60];
    const RangeResult range = index_->range_search(rows(queries), radius, options);
    ASSERT_EQ(range.offsets.size(), 7u);
    for (size_t q = 0; q < 6; ++q) {
        size_t expected = 0;
        for (size_t i = 0; i < 300; ++i) {
            const float score = all.scores[q * 300 + i];
            expected += is_similarity(metric()) ? score > radius : score < radius;
        }
        const size_t found = range.offsets[q + 1] - range.offsets[q];
        if (index_->options().rerank) {  // codes may hide a hit from the scan, never invent one
            EXPECT_LE(found, expected);
        } else {
            ASSERT_EQ(found, expected);
        }
        for (size_t i = 0; i < found && !index_->options().rerank; ++i) {
            EXPECT_EQ(range.ids[range.offsets[q] + i], all.ids[q * 300 + i]);
            EXPECT_EQ(range.scores[range.offsets[q] + i], all.scores[q * 300 + i]);
        }
    }
}

TEST_P(EveryCombination, AnyNumberOfThreadsGivesTheSameBits) {
    const std::vector<float> x = random_rows(500, kDim, 5), queries = random_rows(40, kDim, 97);
    std::vector<SearchResult> results;
    std::vector<std::vector<uint8_t>> files;
    for (const int threads : {1, 2, 3, 4}) {
        auto index = make_index(GetParam().spec, {.dim = kDim, .metric = metric()});
        const std::vector<float> training = random_rows(1000, kDim, 6);
        index->train(rows(training), {.threads = threads});
        index->add(rows(x), {}, {.threads = threads});
        SearchOptions options{.k = 9, .threads = threads};
        results.push_back(index->search(rows(queries), options));
        options.k = 33;
        const SearchResult one = index->search(rows(queries).slice(0, 1), options);
        results.back().scores.insert(results.back().scores.end(), one.scores.begin(),
                                     one.scores.end());
        files.push_back(index->to_bytes());
        EXPECT_EQ(results.back().ids, results.front().ids);
        EXPECT_EQ(results.back().scores, results.front().scores);
        EXPECT_EQ(files.back(), files.front());
    }
}

std::string test_name(const testing::TestParamInfo<Combination>& info) {
    std::string name = info.param.spec + "_" + std::string(metric_name(info.param.metric));
    for (char& c : name) {
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    }
    return name;
}

INSTANTIATE_TEST_SUITE_P(Specs, EveryCombination, testing::ValuesIn(combinations()), test_name);

StatusCode code_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const Error& error) {
        EXPECT_FALSE(std::string(error.what()).empty());
        return error.code();
    }
    ADD_FAILURE() << "no error";
    return StatusCode::Io;
}

TEST(CellIndexErrors, LeaveTheIndexAsItWas) {
    auto index = trained_index("IVF9,SQ8", kDim, Metric::L2);
    std::vector<float> x = random_rows(50, kDim, 2);
    const MatrixView<const float> rows(x.data(), 50, kDim);
    index->add(rows);
    const std::vector<uint8_t> before = index->to_bytes();

    std::vector<float> bad = x;
    bad[49 * kDim + 3] = std::numeric_limits<float>::quiet_NaN();
    const MatrixView<const float> bad_rows(bad.data(), 50, kDim);
    EXPECT_EQ(code_of([&] { index->add(bad_rows); }), StatusCode::NonFinite);
    EXPECT_EQ(code_of([&] { index->search(bad_rows, {}); }), StatusCode::NonFinite);
    EXPECT_EQ(code_of([&] { index->add(MatrixView<const float>(x.data(), 10, kDim - 1)); }),
              StatusCode::InvalidArgument);
    const std::vector<int64_t> twice(50, 77), known{3}, negative{-1}, missing{1000};
    EXPECT_EQ(code_of([&] { index->add(rows, twice); }), StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] { index->add(rows.slice(0, 1), known); }), StatusCode::AlreadyExists);
    EXPECT_EQ(code_of([&] { index->add(rows.slice(0, 1), negative); }),
              StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] { index->update(missing, rows.slice(0, 1)); }), StatusCode::NotFound);
    EXPECT_EQ(code_of([&] { index->search(rows, {.k = 0}); }), StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] { index->search(rows, {.k = 1, .rerank = 10}); }),
              StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] { index->train(rows); }), StatusCode::InvalidArgument);
    const CallOptions cancel{.threads = 1,
                             .progress = [](auto, double done, double) { return done < 50; }};
    EXPECT_EQ(code_of([&] { index->add(rows, {}, cancel); }), StatusCode::Cancelled);
    EXPECT_EQ(index->to_bytes(), before);

    auto untrained = make_index("IVF9,SQ8", {.dim = kDim});
    EXPECT_EQ(code_of([&] { untrained->add(rows); }), StatusCode::NotTrained);
    EXPECT_EQ(code_of([&] { untrained->search(rows, {}); }), StatusCode::NotTrained);
    EXPECT_EQ(code_of([&] { untrained->train(rows.slice(0, 5)); }), StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] { untrained->train(bad_rows); }), StatusCode::NonFinite);
    EXPECT_FALSE(untrained->is_trained());
}

// Rows are encoded some at a time; an error names the caller's row, and says whether the value is
// his.
TEST(CellIndex, NamesTheRowThatDoesNotFit) {
    constexpr size_t kRows = 40000, kBad = 30000;
    std::vector<float> x = random_rows(kRows, kDim, 2);
    const MatrixView<const float> rows(x.data(), kRows, kDim);
    const auto message = [&](const char* spec, bool update) {
        auto index = trained_index(spec, kDim, Metric::L2);
        std::vector<int64_t> ids(kRows);
        for (size_t i = 0; i < kRows; ++i)
            ids[i] = static_cast<int64_t>(i);
        if (update) index->add(rows);
        const std::vector<uint8_t> before = index->to_bytes();
        x[kBad * kDim + 3] = 1e6f;
        std::string text;
        try {
            if (update) {
                index->update(ids, rows);
            } else {
                index->add(rows);
            }
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), StatusCode::InvalidArgument);
            text = error.what();
        }
        x[kBad * kDim + 3] = 0;
        EXPECT_EQ(index->to_bytes(), before);
        return text;
    };
    for (const char* spec : {"SQfp16", "RR,IVF9,PQ4,Refine(SQfp16)"}) {
        for (const bool update : {false, true}) {
            EXPECT_EQ(message(spec, update),
                      "x[30000, 3] = 1e+06 does not fit float16, whose largest value is 65504: "
                      "scale the vectors or store them as float32")
                << spec;
        }
    }
    for (const auto& [spec, start] :
         {std::pair{"RR,SQfp16", "transformed x[30000, "},
          std::pair{"IVF9,SQfp16", "residual of x[30000, 3] = "},
          std::pair{"RR,IVF9,SQfp16", "residual of transformed x[30000, "}}) {
        const std::string text = message(spec, false);
        EXPECT_TRUE(text.starts_with(start)) << text;
    }
}

// Ids that ascend above all that are stored are not looked up; whatever looks like them is.
TEST(CellIndex, TakesIdsThatFollow) {
    auto index = trained_index("IVF9,Flat", kDim, Metric::L2);
    const std::vector<float> x = random_rows(4, kDim, 2);
    const MatrixView<const float> rows(x.data(), 4, kDim);
    using Ids = std::vector<int64_t>;
    constexpr int64_t kLast = std::numeric_limits<int64_t>::max();
    EXPECT_EQ(index->add(rows, Ids{2, 5, 6, 9}), 2);
    EXPECT_EQ(index->add(rows.slice(0, 2), Ids{10, 40}), 10);
    for (const Ids& ids : {Ids{41, 41}, Ids{41, kLast}, Ids{-1, 41}, Ids{42, 41, 42}}) {
        const MatrixView<const float> some = rows.slice(0, ids.size());
        EXPECT_EQ(code_of([&] { index->add(some, ids); }), StatusCode::InvalidArgument);
    }
    EXPECT_EQ(code_of([&] {
                  index->add(rows.slice(0, 2), Ids{40, 41});
              }),
              StatusCode::AlreadyExists);
    EXPECT_EQ(index->add(rows.slice(0, 2), Ids{7, 41}), 7);  // looked up, and new
    EXPECT_EQ(index->add(rows.slice(0, 1)), 42);
    EXPECT_EQ(index->ids(), (Ids{2, 5, 6, 7, 9, 10, 40, 41, 42}));
    EXPECT_TRUE(index->contains(40));
    EXPECT_EQ(index->add(rows.slice(0, 1), Ids{43}), 43);  // the map is there now
    EXPECT_TRUE(index->contains(43));
}

// Beside the largest id that is allowed there are no others left to give.
TEST(CellIndex, RefusesToCountBeyondTheLargestId) {
    auto index = trained_index("IVF9,Flat", kDim, Metric::L2);
    const std::vector<float> x = random_rows(2, kDim, 2);
    const MatrixView<const float> rows(x.data(), 2, kDim);
    constexpr int64_t kLargest = std::numeric_limits<int64_t>::max() - 1;
    EXPECT_EQ(index->add(rows.slice(0, 1), std::vector<int64_t>{kLargest}), kLargest);
    EXPECT_EQ(code_of([&] { index->add(rows); }), StatusCode::InvalidArgument);
    EXPECT_EQ(code_of([&] { index->add(rows.slice(0, 1)); }), StatusCode::InvalidArgument);
    index->add(rows.slice(0, 0));
    EXPECT_EQ(index->ids(), std::vector<int64_t>{kLargest});
    index->remove(std::vector<int64_t>{kLargest});
    try {
        index->add(rows);
        ADD_FAILURE();
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(),
                     "x has 2 rows, but only 0 ids are left from the next one, "
                     "9223372036854775807, to 2^63 - 2; ids of removed vectors are not given "
                     "again: pass ids");
    }
    auto another = trained_index("IVF9,Flat", kDim, Metric::L2);
    another->add(rows.slice(0, 1), std::vector<int64_t>{kLargest - 1});
    EXPECT_EQ(code_of([&] { another->add(rows); }), StatusCode::InvalidArgument);
    EXPECT_EQ(another->add(rows.slice(0, 1)), kLargest);
}

// With so large a margin the scan scores every code again, as the deepest re-ranking does; with
// none it trusts the estimates.
TEST(CellIndex, MarginsOfRaBitQCodes) {
    for (const char* spec : {"IVF9,RaBitQ,RFlat", "RaBitQ,Refine(SQ8)", "RR,RaBitQ,Refine(SQfp16)",
                             "PCA8,IVF9,RaBitQ,RFlat", "IVF9,RaBitQ,Refine(SQbf16)"}) {
        for (const Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine}) {
            if (metric != Metric::L2 && std::string(spec).starts_with("PCA")) continue;
            SCOPED_TRACE(std::string(spec) + " " + std::string(metric_name(metric)));
            auto index = trained_index(spec, kDim, metric);
            const std::vector<float> x = random_rows(700, kDim, 2), q = random_rows(60, kDim, 3);
            index->add(MatrixView<const float>(x.data(), 700, kDim));
            const MatrixView<const float> queries(q.data(), 60, kDim);
            SearchOptions options{.k = 10, .probes = 4};
            options.rerank = 700;
            const SearchResult deep = index->search(queries, options);
            options.rerank = 0;
            options.margin = 1000;
            const SearchResult wide = index->search(queries, options);
            EXPECT_EQ(wide.stats.reranked, wide.stats.scanned);
            // Deep re-ranking skips by a bound that may fail, so it is no better at any rank.
            for (size_t i = 0; i < wide.ids.size(); ++i) {
                EXPECT_LE(key_from_score(metric, wide.scores[i]),
                          key_from_score(metric, deep.scores[i]));
            }
            options.margin = 1;
            const SearchResult usual = index->search(queries, options);
            EXPECT_LT(usual.stats.reranked, usual.stats.scanned);
            size_t same = 0;
            for (size_t i = 0; i < usual.ids.size(); ++i)
                same += usual.ids[i] == wide.ids[i];
            EXPECT_GE(same, usual.ids.size() * 8 / 10);
            options.margin = 0;
            EXPECT_LT(index->search(queries, options).stats.reranked, usual.stats.reranked);
            // Opened from a file it gives the same.
            options.margin = 1;
            EXPECT_EQ(CellIndex::from_bytes(index->to_bytes())->search(queries, options).scores,
                      usual.scores);
        }
    }
    auto index = trained_index("IVF9,RaBitQ,RFlat", kDim, Metric::L2);
    const std::vector<float> q = random_rows(1, kDim, 3);
    for (const float margin : {-1.0f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
        const MatrixView<const float> query(q.data(), 1, kDim);
        SearchOptions options;
        options.margin = margin;
        EXPECT_EQ(code_of([&] { index->search(query, options); }), StatusCode::InvalidArgument);
        EXPECT_EQ(code_of([&] { index->range_search(query, 1.0f, options); }),
                  StatusCode::InvalidArgument);
    }
}

TEST(CellIndex, FarFromTheOriginNothingCancels) {
    std::vector<float> x = random_rows(500, 16, 11);
    for (float& value : x)
        value = std::round(value * 8) / 8 + 12345;
    for (const char* spec : {"Flat", "IVF7,Flat"}) {
        auto index = make_index(spec, {.dim = 16});
        const MatrixView<const float> rows(x.data(), 500, 16);
        index->train(rows);
        index->add(rows);
        const SearchResult result = index->search(rows, {.k = 5, .probes = 7});
        for (size_t q = 0; q < 500; ++q) {
            ASSERT_EQ(result.scores[q * 5], 0.0f);
            for (size_t i = 1; i < 5; ++i) {
                const double truth =
                    exact_score(Metric::L2, &x[q * 16],
                                &x[static_cast<size_t>(result.ids[q * 5 + i]) * 16], 16);
                ASSERT_NEAR(static_cast<double>(result.scores[q * 5 + i]), truth, 1e-5 * truth);
            }
        }
    }
}

TEST(CellIndex, OpensMappedAndChangesItsOwnCopy) {
    auto index = trained_index("IVF9,PQ4,RFlat", kDim, Metric::L2);
    const std::vector<float> x = random_rows(300, kDim, 2);
    const MatrixView<const float> rows(x.data(), 300, kDim);
    index->add(rows);
    const std::string path = testing::TempDir() + "nearcell_mapped.nc";
    index->save(path);
    const auto mapped = CellIndex::open(path, true);
    EXPECT_EQ(mapped->search(rows, {.k = 5}).ids, index->search(rows, {.k = 5}).ids);
    const std::vector<int64_t> gone{0, 7, 299};
    EXPECT_EQ(mapped->remove(gone), 3u);
    EXPECT_EQ(CellIndex::open(path)->to_bytes(), index->to_bytes());  // the file is as it was
    index->remove(gone);
    EXPECT_EQ(mapped->to_bytes(), index->to_bytes());
}

TEST(CellIndex, StatsCountWhatIsInMemory) {
    const std::vector<float> x = random_rows(300, kDim, 2);
    const MatrixView<const float> rows(x.data(), 300, kDim);
    const std::string path = testing::TempDir() + "nearcell_memory.nc";
    for (const char* spec : {"Flat", "IVF9,PQ4,RFlat"}) {
        const auto built = trained_index(spec, kDim, Metric::L2);
        const size_t empty = built->stats().memory_bytes;
        built->add(rows);
        built->save(path);
        const auto opened = CellIndex::open(path), mapped = CellIndex::open(path, true);
        const auto bytes_of = [](const auto& index) { return index->stats().memory_bytes; };
        const size_t file = Container::open(path).file_bytes();
        EXPECT_GE(bytes_of(built), empty + 300 * (built->stats().code_bytes + sizeof(int64_t)));
        EXPECT_EQ(bytes_of(opened), empty + file);
        EXPECT_EQ(bytes_of(mapped), empty);
        EXPECT_TRUE(mapped->contains(5));
        const size_t map = bytes_of(mapped) - empty;
        EXPECT_GE(map, 300 * 16u) << "the map of ids";

        const int64_t one = 17;
        for (const auto* index : {&built, &opened, &mapped})
            EXPECT_EQ((*index)->remove({&one, 1}), 1u);
        const bool whole = built->options().cells == 1;  // the removal copied all
        const size_t own = bytes_of(mapped);
        EXPECT_EQ(bytes_of(opened), own + (whole ? 0 : file));
        EXPECT_EQ(bytes_of(built) == own, whole);  // else most cells are views
        EXPECT_EQ(opened->search(rows, {.k = 5}).ids, built->search(rows, {.k = 5}).ids);
        EXPECT_EQ(mapped->search(rows, {.k = 5}).ids, built->search(rows, {.k = 5}).ids);

        const int64_t last = 299;
        for (const auto* index : {&built, &opened, &mapped}) {
            for (const int64_t id : (*index)->ids()) {
                EXPECT_EQ((*index)->remove({&id, id != last}), id != last);
            }
            EXPECT_EQ((*index)->search(rows, {.k = 1, .probes = 1}).ids[299], last);
            EXPECT_EQ((*index)->remove({&last, 1}), 1u);
            EXPECT_EQ(bytes_of(*index), empty);
            (*index)->add(rows);
            EXPECT_EQ((*index)->size(), 300u);
        }
        EXPECT_EQ(opened->to_bytes(), built->to_bytes());
        EXPECT_EQ(mapped->to_bytes(), built->to_bytes());
    }
}

// A file of a few kilobytes may name a rotation that would take hours and gigabytes to make: it is
// read from the file, which has no room for it.
TEST(CellIndex, OpeningMakesNoRotations) {
    const auto index = make_index("RR12,Flat", {.dim = 8});
    const std::vector<float> x = random_rows(5, 8, 2);
    index->add(MatrixView<const float>(x.data(), 5, 8));
    EXPECT_EQ(CellIndex::from_bytes(index->to_bytes())->to_bytes(), index->to_bytes());

    const Container file = Container::from_bytes(index->to_bytes());
    const auto given = file.get<uint64_t>("options", file.info("options").rows);
    std::vector<uint64_t> options(given.begin(), given.end());
    std::replace(options.begin(), options.end(), uint64_t{12}, uint64_t{65535});
    options[0] = 65536;
    const uint64_t counters[] = {0, 0, 0, 0, 0x7f800000}, sizes[] = {0};
    ContainerWriter hostile("index");
    hostile.add("options", SectionType::U64, options.size(), 1, options.data());
    hostile.add("counters", SectionType::U64, 5, 1, counters);
    hostile.add("cell_sizes", SectionType::U64, 1, 1, sizes);
    hostile.add("ids", SectionType::I64, 0, 1, nullptr);
    hostile.add("transform.0", SectionType::F32, 0, 1, nullptr);
    try {
        CellIndex::from_bytes(hostile.to_bytes());
        FAIL() << "was accepted";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::Corrupt);
        EXPECT_NE(std::string(error.what()).find("65536 to 65535 dimensions has 0 parameters"),
                  std::string::npos)
            << error.what();
    }
}

// The file with other values in one section, and checksums that fit.
std::vector<uint8_t> with_section(const std::vector<uint8_t>& bytes, std::string_view name,
                                  const void* values) {
    const Container file = Container::from_bytes(bytes);
    ContainerWriter writer("index");
    for (const SectionInfo& info : file.sections()) {
        writer.add(info.name, info.type, info.rows, info.cols,
                   info.name == name ? values : bytes.data() + info.offset);
    }
    return writer.to_bytes();
}

// Rows would be written by one dimension where there is room for another.
TEST(CellIndex, TransformsOfDimensionsThatCannotBeAreCorrupt) {
    for (const char* spec : {"L2norm,Flat", "PCA12,Flat", "OPQ4_12,PQ4x4", "RR12,Flat"}) {
        const auto index = trained_index(spec, kDim, Metric::L2);
        const std::vector<uint8_t> bytes = index->to_bytes();
        const Container file = Container::from_bytes(bytes);
        const auto given = file.get<uint64_t>("options", file.info("options").rows);
        for (const uint64_t dim : {uint64_t{1}, uint64_t{11}, uint64_t{13}, uint64_t{1} << 63}) {
            std::vector<uint64_t> options(given.begin(), given.end());
            options[options.size() - 2] = dim;
            try {
                CellIndex::from_bytes(with_section(bytes, "options", options.data()));
                ADD_FAILURE() << spec << " was accepted with a dimension of " << dim;
            } catch (const Error& error) {
                EXPECT_EQ(error.code(), StatusCode::Corrupt) << error.what();
            }
        }
    }
}

// Opening does not look: what finds vectors by id does, before it changes anything.
TEST(CellIndex, AnIdThatAFileHasTwiceIsCorrupt) {
    const auto whole = trained_index("IVF9,SQfp16", kDim, Metric::L2);
    const std::vector<float> x = random_rows(100, kDim, 2);
    const MatrixView<const float> rows(x.data(), 100, kDim);
    whole->add(rows);
    const std::vector<uint8_t> bytes = whole->to_bytes();
    const Container file = Container::from_bytes(bytes);
    const auto stored = file.get<int64_t>("ids", 100);
    const auto sizes = file.get<uint64_t>("cell_sizes", 9);
    ASSERT_GT(sizes[0], 2u);
    ASSERT_GT(sizes[8], 0u);
    std::vector<int64_t> ids(stored.begin(), stored.end());
    ids.back() = ids[2];
    const auto index = CellIndex::from_bytes(with_section(bytes, "ids", ids.data()));
    EXPECT_EQ(index->size(), 100u);
    const std::string problem = "holds the id " + std::to_string(ids[2]) +
                                " twice, at place 2 of cell 0 and at place " +
                                std::to_string(sizes[8] - 1) + " of cell 8;";
    const std::vector<int64_t> other{ids[0]}, low{stored.back()};
    std::vector<float> out(kDim);
    const MatrixView<const float> one(x.data(), 1, kDim);
    const std::vector<uint8_t> before = index->to_bytes();
    const std::function<void()> calls[] = {
        [&] { index->contains(ids[0]); },
        [&] { index->remove(other); },
        [&] { index->update(other, one); },
        [&] { index->add(one, low); },
        [&] {
            index->reconstruct(other, {out.data(), 1, kDim});
        },
    };
    for (const auto& call : calls) {
        try {
            call();
            ADD_FAILURE() << "was accepted";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), StatusCode::Corrupt);
            EXPECT_NE(std::string(error.what()).find(problem), std::string::npos) << error.what();
        }
        EXPECT_EQ(index->to_bytes(), before);
    }
}

// A value that would be a bad argument is damage in a file.
TEST(CellIndex, CentroidsThatCannotBeAreCorrupt) {
    const auto index = trained_index("IVF9,SQfp16", kDim, Metric::L2);
    const std::vector<uint8_t> bytes = index->to_bytes();
    for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity(), 1e30f}) {
        std::vector<float> centroids = index->centroids();
        centroids[17] = value;
        try {
            CellIndex::from_bytes(with_section(bytes, "centroids", centroids.data()));
            FAIL() << "was accepted";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), StatusCode::Corrupt);
            EXPECT_NE(
                std::string(error.what()).find("section centroids is impossible: value[1, 5]"),
                std::string::npos)
                << error.what();
        }
    }
}

// Bit flips, truncations, extensions, numbers overwritten, halves swapped: 10,000 of each kind of
// index.
TEST(CellIndex, RefusesEveryMutantOfItsFile) {
    for (const char* spec :
         {"Flat", "IVF9,SQfp16", "IVF9,SQ8,Refine(SQbf16)", "IVF9,I8", "PQ4x4",
          "OPQ4,IVF9,PQ4x4fsr,Refine(SQ8)", "PCA6,IVF9,PQ3", "IVF9,RaBitQ3,RFlat"}) {
        auto index = trained_index(spec, kDim, Metric::L2, 500);
        const std::vector<float> x = random_rows(60, kDim, 2);
        index->add(MatrixView<const float>(x.data(), 60, kDim));
        const std::vector<uint8_t> bytes = index->to_bytes();
        Random random(3);
        for (int trial = 0; trial < 10000; ++trial) {
            std::vector<uint8_t> mutant = bytes;
            const size_t at = random.below(mutant.size());
            const uint64_t values[] = {
                0, 1, 255, 0x7fffffff, 0xffffffff, ~uint64_t{0} >> 1, ~uint64_t{0}};
            switch (trial % 5) {
                case 0: mutant[at] ^= static_cast<uint8_t>(1u << random.below(8)); break;
                case 1: mutant.resize(at); break;
                case 2: mutant.insert(mutant.end(), 1 + at % 9, 0); break;
                case 3:
                    std::memcpy(mutant.data() + at / 8 * 8, &values[random.below(7)],
                                std::min<size_t>(8, mutant.size() - at / 8 * 8));
                    break;
                case 4:
                    std::rotate(mutant.begin(), mutant.begin() + static_cast<ptrdiff_t>(at),
                                mutant.end());
                    break;
            }
            if (mutant == bytes) continue;  // the number was there already
            try {
                CellIndex::from_bytes(mutant);
                FAIL() << spec << ": trial " << trial << " was accepted";
            } catch (const Error& error) {
                ASSERT_EQ(category(error.code()), StatusCategory::Data) << error.what();
            }
        }
    }
}

}  // namespace
}  // namespace nearcell
