// A progress callback may not call the index that is working: it is told, and nothing hangs.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include <nearcell/core/error.h>

#include "ivf/model.h"

namespace nearcell {
namespace {

constexpr size_t kDim = 12;

class Callback : public testing::Test {
   protected:
    using Call = std::function<void()>;

    void SetUp() override { index_->add(rows_); }
    // Calls once, from the first report.
    Progress calling(const Call& call) {
        called_ = false;
        return [this, call](std::string_view, double, double) {
            if (!called_) {
                called_ = true;
                call();
            }
            return true;
        };
    }
    void expect_refused(const Call& working) {
        try {
            working();
            ADD_FAILURE() << "not refused";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), StatusCode::Unsupported);
            EXPECT_NE(std::string(error.what()).find("may not call that index"), std::string::npos)
                << error.what();
        }
        EXPECT_TRUE(called_);
    }

    const std::vector<float> values_ = random_rows(60, kDim, 2);
    const MatrixView<const float> rows_{values_.data(), 60, kDim};
    const std::vector<int64_t> ids_{1, 2};
    const std::unique_ptr<CellIndex> index_ = trained_index("IVF9,SQ8", kDim, Metric::L2);
    const std::unique_ptr<CellIndex> empty_ = trained_index("IVF9,SQ8", kDim, Metric::L2);
    bool called_ = false;
};

TEST_F(Callback, MayNotCallAnIndexThatChanges) {
    const std::vector<uint8_t> before = index_->to_bytes(), none = empty_->to_bytes();
    for (CellIndex* const index : {index_.get(), empty_.get()}) {
        const Call calls[] = {
            [&] { index->stats(); },
            [&] { index->size(); },
            [&] { index->search(rows_, {}); },
            [&] { index->to_bytes(); },
            [&] { index->add(rows_); },
            [&] { index->remove(ids_); },
            [&] { index->set_defaults(1, 0); },
        };
        for (const Call& call : calls) {
            if (index == empty_.get()) {
                expect_refused([&] { index->train(rows_, {.progress = calling(call)}); });
            } else {
                expect_refused([&] { index->update(ids_, rows_.slice(0, 2), {0, calling(call)}); });
            }
            expect_refused([&] { index->add(rows_, {}, {.progress = calling(call)}); });
        }
    }
    EXPECT_EQ(index_->to_bytes(), before);
    EXPECT_EQ(empty_->to_bytes(), none);
    index_->add(rows_);
    EXPECT_EQ(index_->size(), 120u);
}

TEST_F(Callback, MayReadButNotChangeAnIndexThatSearches) {
    const Call changes[] = {
        [&] { index_->add(rows_); },
        [&] { index_->remove(ids_); },
        [&] { index_->update(ids_, rows_.slice(0, 2)); },
        [&] { index_->set_defaults(1, 0); },
        [&] { index_->to("cpu"); },
    };
    for (const Call& call : changes) {
        SearchOptions options;
        options.progress = calling(call);
        expect_refused([&] { index_->search(rows_, options); });
        options.progress = calling(call);
        expect_refused([&] { index_->range_search(rows_, 1.0f, options); });
    }
    const SearchResult usual = index_->search(rows_, {});
    SearchOptions options;
    SearchResult within;
    options.progress = calling([&] {
        within = index_->search(rows_, {});
        EXPECT_EQ(index_->stats().size, 60u);
        empty_->add(rows_);  // another index
    });
    EXPECT_EQ(index_->search(rows_, options).ids, usual.ids);
    EXPECT_EQ(within.ids, usual.ids);
    EXPECT_EQ(empty_->size(), 60u);
}

}  // namespace
}  // namespace nearcell
