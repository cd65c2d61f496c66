// --device: what the command asks of a device, and what it says where there is none.
#include <nearcell/cli/run_command.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/index/exact_search.h>
#include <nearcell/storage/vector_file.h>

#include "kernels/fake_device.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

// Answers every query with id 7.
class FakeCells : public DeviceCells {
   public:
    void update(const SearchableCells&) override {}
    size_t memory_bytes() const override { return 0; }
    SearchStats search(const DeviceBatch& batch, const DeviceSearch& search) const override {
        check_finite(batch.queries, "queries", 1);
        std::fill_n(batch.ids, batch.queries.rows * search.k, 7);
        std::fill_n(batch.scores, batch.queries.rows * search.k, 0.5f);
        if (batch.counts != nullptr) std::fill_n(batch.counts, batch.queries.rows, search.k);
        SearchStats stats;
        stats.plan = "fake";
        return stats;
    }
    SearchStats range_search(const Vectors&, float, float, const DeviceSearch&,
                             std::span<std::vector<Candidate>>) const override {
        return {};
    }
};

class CommandDevice : public checks::FakeDevice {
   public:
    DeviceMemory memory() const override { return {size_t{80} << 30, size_t{79} << 30}; }
    std::unique_ptr<DeviceCells> hold(const SearchableCells&,
                                      const DeviceOptions& options) const override {
        ++held;
        memory_bytes = options.memory_bytes;
        return std::make_unique<FakeCells>();
    }
    SearchResult exact_search(const Vectors& base, const Vectors& queries, Metric metric, size_t k,
                              int threads) const override {
        ++exact_searches;
        return nearcell::exact_search(base, queries, metric, k, threads);
    }
    std::vector<const Device*> list() const override {
        if (!there) return {};
        return {this};
    }
    std::string why() const override { return "the driver is asleep: wake it"; }

    bool there = true;
    mutable size_t held = 0, exact_searches = 0, memory_bytes = 0;
};

class DeviceCommandTest : public testing::Test {
   protected:
    DeviceCommandTest() {
        set_device_source(&device_);
        Random random(5);
        std::vector<float> values(kRows * kDim);
        for (float& value : values)
            value = static_cast<float>(random.normal());
        const MatrixView<const float> rows(values.data(), kRows, kDim);
        write_vectors(path("base.fbin"), Vectors(rows));
        write_vectors(path("q.fbin"), Vectors(rows).slice(0, 9));
    }
    ~DeviceCommandTest() override { set_device_source(nullptr); }

    static constexpr size_t kRows = 300, kDim = 8;
    std::string path(const std::string& name) const { return folder_.file(name); }
    // Returns the exit code; what was printed is then in `out` and `err`.
    int run(std::vector<std::string> words) {
        words.insert(words.begin(), "nearcell");
        std::vector<const char*> arguments;
        for (const std::string& word : words)
            arguments.push_back(word.c_str());
        testing::internal::CaptureStdout();
        testing::internal::CaptureStderr();
        const int code = cli::run_command(static_cast<int>(arguments.size()), arguments.data());
        out = testing::internal::GetCapturedStdout();
        err = testing::internal::GetCapturedStderr();
        return code;
    }
    void build(const std::string& device) {
        ASSERT_EQ(run({"build", path("base.fbin"), "-k", "IVF4,Flat", "-o", path("x.nc"),
                       "--device", device}),
                  0)
            << err;
    }
    std::vector<int64_t> found() const { return read_ids(path("out.ibin")).values; }

    ScratchDir folder_;
    CommandDevice device_;
    std::string out, err;
};

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

TEST_F(DeviceCommandTest, SearchesThere) {
    build("cuda");
    const std::vector<std::string> words = {"search", path("x.nc"), path("q.fbin"), "-o",
                                            path("out.ibin")};
    ASSERT_EQ(run(words), 0) << err;
    EXPECT_NE(found(), std::vector<int64_t>(90, 7));
    EXPECT_EQ(device_.held, 0u);
    std::vector<std::string> there = words;
    there.insert(there.end(), {"--device", "cuda:0", "--device-memory", "8GiB"});
    ASSERT_EQ(run(there), 0) << err;
    EXPECT_EQ(found(), std::vector<int64_t>(90, 7));
    EXPECT_EQ(device_.held, 1u);
    EXPECT_EQ(device_.memory_bytes, size_t{8} << 30);
    EXPECT_TRUE(has(out, "cuda:0") && has(out, "fake")) << out;
    there.insert(there.end(), {"--batch", "2", "--sync-seconds", "0"});
    ASSERT_EQ(run(there), 0) << err;
    EXPECT_EQ(found(), std::vector<int64_t>(90, 7));
    EXPECT_EQ(device_.held, 2u);  // once a run, not once a batch
}

TEST_F(DeviceCommandTest, ComputesTruthThere) {
    const std::vector<std::string> words = {"truth", path("base.fbin"), path("q.fbin"), "-n", "5",
                                            "-o",    path("out.ibin")};
    ASSERT_EQ(run(words), 0) << err;
    const std::vector<int64_t> here = found();
    EXPECT_EQ(device_.exact_searches, 0u);
    std::vector<std::string> there = words;
    there.insert(there.end(), {"--device", "cuda"});
    ASSERT_EQ(run(there), 0) << err;
    EXPECT_EQ(found(), here);
    EXPECT_EQ(device_.exact_searches, 1u);
}

TEST_F(DeviceCommandTest, EvaluatesAndTunesThere) {
    build("cpu");
    ASSERT_EQ(run({"truth", path("base.fbin"), path("q.fbin"), "-o", path("truth.ibin")}), 0);
    const std::vector<std::string> files = {"--queries",        path("q.fbin"), "--truth",
                                            path("truth.ibin"), "--device",     "cuda"};
    std::vector<std::string> eval = {"eval", path("x.nc")};
    eval.insert(eval.end(), files.begin(), files.end());
    ASSERT_EQ(run(eval), 0) << err;
    EXPECT_EQ(device_.held, 1u);
    std::vector<std::string> tune = {"tune", path("x.nc"), "--recall", "0.9"};
    tune.insert(tune.end(), files.begin(), files.end());
    ASSERT_EQ(run(tune), 0) << err;
    EXPECT_GE(device_.held, 2u);
}

TEST_F(DeviceCommandTest, BuildsAndTunesThere) {
    ASSERT_EQ(run({"build", path("base.fbin"), "-k", "IVF4,Flat", "-o", path("x.nc"), "--device",
                   "cuda", "--tune-recall", "0.9"}),
              0)
        << err;
    EXPECT_EQ(device_.exact_searches, 1u);
    EXPECT_GE(device_.held, 1u);
    EXPECT_EQ(run({"build", path("base.fbin"), "-o", path("x.nc"), "--device", "cuda",
                   "--tune-recall", "0.9"}),
              8);
    EXPECT_TRUE(has(err, "(-k)")) << err;
}

TEST_F(DeviceCommandTest, ListsDevices) {
    ASSERT_EQ(run({"devices"}), 0);
    EXPECT_TRUE(has(out, "cuda:0 fake") && has(out, "80.0 GiB") && has(out, "79.0 GiB")) << out;
    ASSERT_EQ(run({"devices", "--json"}), 0);
    EXPECT_TRUE(has(out, "\"description\": \"cuda:0 fake\"")) << out;
    device_.there = false;
    ASSERT_EQ(run({"devices"}), 0);
    EXPECT_TRUE(has(out, "no GPU: the driver is asleep: wake it")) << out;
    ASSERT_EQ(run({"devices", "--json"}), 0);
    EXPECT_TRUE(has(out, "\"devices\": []") && has(out, "wake it")) << out;
}

TEST_F(DeviceCommandTest, RefusesWhatIsNotThereBeforeTheWork) {
    build("cpu");
    std::vector<std::vector<std::string>> commands = {
        {"search", path("x.nc"), path("none.fbin"), "-o", path("out.ibin")},
        {"truth", path("base.fbin"), path("none.fbin"), "-o", path("out.ibin")},
        {"build", path("base.fbin"), "-k", "Flat", "-o", path("y.nc")},
        {"eval", path("x.nc"), "--queries", path("none.fbin"), "--truth", path("none.ibin")},
        {"tune", path("x.nc"), "--recall", "0.9", "--queries", path("none.fbin"), "--truth",
         path("none.ibin")},
    };
    for (std::vector<std::string> words : commands) {
        words.insert(words.end(), {"--device", "cuda:1"});
        EXPECT_EQ(run(words), 7) << err;
        EXPECT_TRUE(has(err, "cuda:1") && has(err, "or cpu")) << err;
        words.back() = "gpu";
        EXPECT_EQ(run(words), 3) << err;
        EXPECT_TRUE(has(err, "pass cpu, cuda, cuda:N")) << err;
        device_.there = false;
        words.back() = "cuda";
        EXPECT_EQ(run(words), 7) << err;
        EXPECT_TRUE(has(err, "wake it")) << err;
        device_.there = true;
    }
    std::vector<std::string> memory = commands[0];
    memory.insert(memory.end(), {"--device-memory", "1GiB"});
    EXPECT_EQ(run(memory), 3) << err;
    EXPECT_TRUE(has(err, "--device cuda")) << err;
    memory.back() = "much";
    EXPECT_EQ(run(memory), 2) << err;
}

}  // namespace
}  // namespace nearcell
