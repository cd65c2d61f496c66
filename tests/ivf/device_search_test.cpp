// An index and its device: what the device is given, and when. (Searches on an emulated GPU:
// tests/gpu/.)
#include <nearcell/ivf/device_search.h>

#include <gtest/gtest.h>

#include <algorithm>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>

#include "kernels/fake_device.h"

namespace nearcell {
namespace {

struct Seen {
    size_t updates = 0, searches = 0, vectors = 0;
    std::vector<uint64_t> versions;
    DeviceSearch search;
    bool full = false;  // the next update fails
};

// Answers every query with id 7.
class FakeCells : public DeviceCells {
   public:
    explicit FakeCells(Seen& seen) : seen_(seen) {}
    void update(const SearchableCells& cells) override {
        if (seen_.full) throw_error(StatusCode::OutOfMemory, "the fake device is full");
        ++seen_.updates;
        seen_.vectors = 0;
        seen_.versions.clear();
        for (const CellView& cell : cells.cells) {
            seen_.vectors += cell.size;
            seen_.versions.push_back(cell.version);
        }
    }
    size_t memory_bytes() const override { return 0; }
    SearchStats search(const DeviceBatch& batch, const DeviceSearch& search) const override {
        check_finite(batch.queries, "queries", 1);
        ++seen_.searches;
        seen_.search = search;
        for (size_t q = 0; q < batch.queries.rows; ++q) {
            batch.ids[q * search.k] = 7;
            batch.scores[q * search.k] = 0.5f;
            if (batch.counts != nullptr) batch.counts[q] = 1;
        }
        SearchStats stats;
        stats.plan = "fake";
        return stats;
    }
    SearchStats range_search(const Vectors&, float radius, float scan_radius, const DeviceSearch&,
                             std::span<std::vector<Candidate>> hits) const override {
        for (std::vector<Candidate>& hit : hits) {
            hit.resize(1);
            hit[0].id = 7;
            hit[0].key = 0.5f * (radius + scan_radius);
        }
        return {};
    }

   private:
    Seen& seen_;
};

class HoldingDevice : public checks::FakeDevice {
   public:
    std::unique_ptr<DeviceCells> hold(const SearchableCells& cells,
                                      const DeviceOptions&) const override {
        auto held = std::make_unique<FakeCells>(seen);
        held->update(cells);
        return held;
    }

    mutable Seen seen;
};

class DeviceSearchTest : public testing::Test {
   protected:
    DeviceSearchTest() : values_(kRows * kDim) {
        Random random(3);
        for (float& value : values_)
            value = static_cast<float>(random.normal());
        set_device_source(&device_);
    }
    ~DeviceSearchTest() override { set_device_source(nullptr); }

    static constexpr size_t kRows = 200, kDim = 6;
    MatrixView<const float> rows() const { return {values_.data(), kRows, kDim}; }
    void fill(CellIndex& index) const {
        index.train(rows());
        index.add(rows());
    }
    CellIndexOptions options() const {
        CellIndexOptions options;
        options.dim = kDim;
        options.cells = 4;
        return options;
    }

    std::vector<float> values_;
    HoldingDevice device_;
};

TEST_F(DeviceSearchTest, SearchesWhereTheIndexIs) {
    CellIndex index(options());
    fill(index);
    EXPECT_EQ(index.device(), "cpu");
    const SearchResult here = index.search(rows().slice(0, 3), {});
    index.to("cuda:0");
    EXPECT_EQ(index.device(), "cuda:0");
    EXPECT_EQ(device_.seen.updates, 0u);  // the first search copies
    SearchOptions search;
    search.k = 5;
    search.probes = 3;
    const SearchResult there = index.search(rows().slice(0, 3), search);
    EXPECT_EQ(there.ids[0], 7);
    EXPECT_EQ(there.ids[1], -1);
    EXPECT_EQ(there.counts, std::vector<size_t>(3, 1));
    EXPECT_EQ(there.stats.plan, "fake");
    EXPECT_EQ(there.stats.probes, 3u);
    EXPECT_EQ(device_.seen.search.k, 5u);
    EXPECT_EQ(device_.seen.search.probes, 3u);
    EXPECT_EQ(device_.seen.search.depth, 0u);
    EXPECT_EQ(device_.seen.vectors, kRows);
    const RangeResult range = index.range_search(rows().slice(0, 2), 4.0f, {});
    EXPECT_EQ(range.offsets, (std::vector<size_t>{0, 1, 2}));
    EXPECT_EQ(range.scores[1], 4.0f);
    index.to("cpu");
    EXPECT_EQ(index.search(rows().slice(0, 3), {}).ids, here.ids);
}

TEST_F(DeviceSearchTest, CopiesOnceAfterEachChange) {
    CellIndex index(options());
    fill(index);
    index.to("cuda:0");
    index.search(rows(), {});
    index.search(rows(), {});
    EXPECT_EQ(device_.seen.updates, 1u);
    EXPECT_EQ(device_.seen.searches, 2u);
    const std::vector<uint64_t> before = device_.seen.versions;
    const int64_t id = 17;
    index.remove({&id, 1});
    index.search(rows(), {});
    EXPECT_EQ(device_.seen.updates, 2u);
    EXPECT_EQ(device_.seen.vectors, kRows - 1);
    size_t changed = 0;
    for (size_t c = 0; c < before.size(); ++c)
        changed += device_.seen.versions[c] != before[c];
    EXPECT_EQ(changed, 1u);
    index.add(rows().slice(0, 1));
    index.search(rows(), {});
    EXPECT_EQ(device_.seen.updates, 3u);
    EXPECT_EQ(device_.seen.vectors, kRows);
}

TEST_F(DeviceSearchTest, AFullDeviceChangesNothing) {
    CellIndex index(options());
    fill(index);
    const std::vector<uint8_t> before = index.to_bytes();
    index.to("cuda:0");
    device_.seen.full = true;
    EXPECT_THROW(index.search(rows(), {}), Error);
    EXPECT_THROW(index.search(rows(), {}), Error);
    device_.seen.full = false;
    EXPECT_EQ(index.search(rows(), {}).ids[0], 7);
    device_.seen.full = true;
    index.add(rows().slice(0, 1));
    EXPECT_THROW(index.search(rows(), {}), Error);
    EXPECT_EQ(index.size(), kRows + 1);
    device_.seen.full = false;
    index.search(rows(), {});
    EXPECT_EQ(device_.seen.vectors, kRows + 1);
}

TEST_F(DeviceSearchTest, AMissingDeviceChangesNothing) {
    CellIndex index(options());
    fill(index);
    EXPECT_THROW(index.to("cuda:1"), Error);
    EXPECT_THROW(index.to("gpu"), Error);
    EXPECT_EQ(index.device(), "cpu");
    DeviceBatch batch;
    batch.queries = rows();
    try {
        index.search_into(batch, {});
        ADD_FAILURE() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::NoDevice);
    }
}

}  // namespace
}  // namespace nearcell
