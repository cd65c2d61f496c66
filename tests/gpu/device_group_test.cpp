// Several devices as one, as replicas and as shards: two contexts on the emulated GPU, against one.
#include <nearcell/kernels/device_group.h>

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/gpu/cuda_device.h>
#include <nearcell/gpu/simt/emulator.h>
#include <nearcell/index/factory.h>

namespace nearcell::gpu {
namespace {

constexpr size_t kDim = 16, kRows = 400, kQueries = 11;

// A second name for the one device that the emulation has.
class TwoDevices : public DeviceSource {
   public:
    std::vector<const Device*> list() const override { return {&first_, &second_, &third_}; }
    std::string why() const override { return ""; }

   private:
    CudaDevice first_{0}, second_{0}, third_{0};
};

std::vector<float> normals(size_t count, uint64_t seed) {
    Random random(seed);
    std::vector<float> values(count);
    for (float& value : values)
        value = static_cast<float>(random.normal());
    return values;
}

class DeviceGroupTest : public testing::Test {
   protected:
    DeviceGroupTest() {
        simt::reset();
        set_device_source(&source_);
    }
    ~DeviceGroupTest() override {
        set_device_source(nullptr);
        simt::reset();
    }
    MatrixView<const float> base() const { return {base_.data(), kRows, kDim}; }
    MatrixView<const float> queries() const { return {queries_.data(), kQueries, kDim}; }

    TwoDevices source_;
    std::vector<float> base_ = normals(kRows * kDim, 1), queries_ = normals(kQueries * kDim, 2);
};

TEST_F(DeviceGroupTest, ReplicasAndShardsFindWhatOneDeviceFinds) {
    const IdFilter filter = IdFilter::range(30, 320);
    for (const char* spec : {"Flat", "IVF8,SQ8", "IVF8,PQ4,RFlat"}) {
        for (const Metric metric : {Metric::L2, Metric::InnerProduct}) {
            const auto index = make_index(spec, {kDim, metric, 7});
            index->train(base());
            index->add(base());
            SearchOptions search;
            search.probes = 8;
            search.k = 9;
            search.rerank = index->options().rerank ? kRows : 0;  // shards re-rank their own best
            const float radius = metric == Metric::L2 ? 14.0f : 5.0f;
            index->to("cuda:0");
            const SearchResult truth = index->search(queries(), search);
            const RangeResult range = index->range_search(queries(), radius, search);
            search.filter = &filter;
            const SearchResult filtered = index->search(queries(), search);
            for (const bool shard : {false, true}) {
                DeviceOptions options;
                options.shard = shard;
                index->to(shard ? "cuda:0,1,2" : "cuda:all", options);
                EXPECT_EQ(index->device(), "cuda:0,0,0");  // one by three names
                search.filter = nullptr;
                const SearchResult found = index->search(queries(), search);
                EXPECT_EQ(found.ids, truth.ids) << spec << shard;
                EXPECT_EQ(found.scores, truth.scores) << spec << shard;
                EXPECT_EQ(found.counts, truth.counts) << spec << shard;
                EXPECT_EQ(found.stats.scanned, truth.stats.scanned) << spec << shard;
                EXPECT_EQ(index->range_search(queries(), radius, search).ids, range.ids);
                search.filter = &filter;
                EXPECT_EQ(index->search(queries(), search).ids, filtered.ids);
                search.filter = nullptr;
                const std::vector<int64_t> gone = {1, 2, 3, 60};
                if (shard) index->remove(gone);
            }
            const SearchResult after = index->search(queries(), search);
            index->to("cuda:1");
            EXPECT_EQ(index->search(queries(), search).ids, after.ids);
        }
    }
}

TEST_F(DeviceGroupTest, FewerNeighboursThanAsked) {
    const auto index = make_index("IVF4,Flat", {kDim, Metric::L2, 7});
    index->train(base());
    index->add(base().slice(0, 5));
    DeviceOptions options;
    options.shard = true;
    index->to("cuda:0,1", options);
    SearchOptions search;
    search.probes = 4;
    const SearchResult found = index->search(queries().slice(0, 2), search);
    EXPECT_EQ(found.counts, std::vector<size_t>(2, 5));
    EXPECT_EQ(found.ids[9], -1);
    EXPECT_EQ(found.scores[9], worst_score(Metric::L2));
}

TEST_F(DeviceGroupTest, ExactSearchAndWhatAGroupCannot) {
    const Device* const all = find_device("cuda:all");
    const SearchResult one = devices()[0]->exact_search(base(), queries(), Metric::L2, 3, 1);
    const SearchResult several = all->exact_search(base(), queries(), Metric::L2, 3, 1);
    EXPECT_EQ(several.ids, one.ids);
    EXPECT_EQ(several.counts, one.counts);
    EXPECT_EQ(several.queries, one.queries);
    EXPECT_EQ(all->memory().total, 3 * devices()[0]->memory().total);
    const auto index = make_index("Flat", {kDim, Metric::L2, 7});
    index->add(base());
    index->to("cuda:all");
    DeviceBatch batch;
    batch.queries = queries();
    batch.on_device = true;
    try {
        index->search_into(batch, {});
        ADD_FAILURE() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::Unsupported);
    }
}

}  // namespace
}  // namespace nearcell::gpu
