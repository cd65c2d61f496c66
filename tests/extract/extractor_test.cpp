// Files to features: which come, in which order, what is left out and why.
#include <gtest/gtest.h>

#include <nearcell/core/error.h>
#include <nearcell/extract/extractor.h>

#include "extract/network_case.h"
#include "extract/picture_case.h"
#include "kernels/fake_device.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

// A picture of 24 bits a pixel, of one colour.
std::vector<uint8_t> plain_bmp(uint8_t red, uint8_t green, uint8_t blue) {
    constexpr size_t kSide = 16, kHeader = 54;
    std::vector<uint8_t> bytes(kHeader + kSide * kSide * 3);
    bytes[0] = 'B';
    bytes[1] = 'M';
    bytes[10] = kHeader;
    bytes[14] = 40;
    bytes[18] = bytes[22] = kSide;
    bytes[26] = 1;
    bytes[28] = 24;
    for (size_t i = 0; i < kSide * kSide; ++i) {
        bytes[kHeader + 3 * i] = blue;
        bytes[kHeader + 3 * i + 1] = green;
        bytes[kHeader + 3 * i + 2] = red;
    }
    return bytes;
}

// Takes means of planes, three pictures at a time.
class FakeNetwork : public DeviceNetwork {
   public:
    FakeNetwork(const NetworkSteps& network, std::vector<size_t>& calls)
        : pixels_(network.maps.front().pixels()),
          channels_(network.maps.back().channels),
          calls_(calls) {
        EXPECT_EQ(network.steps.size(), 1u);
        EXPECT_EQ(network.steps.front().kind, StepKind::MeanPool);
    }
    size_t memory_bytes() const override { return 0; }
    size_t batch_pictures() const override { return 3; }
    void forward(MatrixView<const float> pictures, MatrixView<float> out, int) const override {
        calls_.push_back(pictures.rows);
        for (size_t i = 0; i < pictures.rows; ++i) {
            for (size_t c = 0; c < channels_; ++c) {
                double sum = 0;
                for (size_t p = 0; p < pixels_; ++p)
                    sum += static_cast<double>(pictures.row(i)[c * pixels_ + p]);
                out.row(i)[c] = static_cast<float>(sum / static_cast<double>(pixels_));
            }
        }
    }

   private:
    size_t pixels_, channels_;
    std::vector<size_t>& calls_;
};

class NetworkDevice : public checks::FakeDevice {
   public:
    std::unique_ptr<DeviceNetwork> hold_network(const NetworkSteps& network,
                                                const DeviceOptions& options) const override {
        if (!computes) return Device::hold_network(network, options);
        return std::make_unique<FakeNetwork>(network, calls);
    }

    bool computes = true;
    mutable std::vector<size_t> calls;  // pictures of each
};

class ExtractorTest : public testing::Test {
   protected:
    ~ExtractorTest() override { set_device_source(nullptr); }

    // The mean of each channel.
    Extractor means() {
        Model model;
        model.name = "means";
        Layer layer;
        layer.kind = LayerKind::GlobalMean;
        layer.name = "mean";
        model.layers = {layer};
        model.preprocess.size = {8, 8};
        model.tap = "mean";
        const std::string path = dir_.file("w.safetensors");
        write_safetensors(path, {{"unused", {{1}, {0.0f}}}});
        return Extractor(model, Weights::open(path));
    }
    std::string picture(size_t number, uint8_t red) {
        const std::string path = dir_.file(std::to_string(number) + ".bmp");
        put_bytes(path, plain_bmp(red, 20, 30));
        return path;
    }
    ScratchDir dir_;
};

TEST_F(ExtractorTest, LeavesBrokenPicturesOutAndSaysWhich) {
    const Extractor extractor = means();
    EXPECT_EQ(extractor.dim(), 3u);
    std::vector<std::string> paths;
    for (size_t i = 0; i < 150; ++i)
        paths.push_back(picture(i, static_cast<uint8_t>(i)));
    put_bytes(paths[70], {'B', 'M', 0});
    paths[100] = dir_.file("nothing.png");
    for (const int threads : {1, 3}) {
        std::vector<size_t> numbers;
        ExtractOptions options;
        options.threads = threads;
        const auto skipped = extractor.extract(
            paths, options, [&](std::span<const size_t> found, MatrixView<const float> rows) {
                ASSERT_EQ(found.size(), rows.rows);
                for (size_t i = 0; i < found.size(); ++i) {
                    EXPECT_EQ(rows.row(i)[0], static_cast<float>(found[i]));
                    EXPECT_EQ(rows.row(i)[1], 20.0f);
                    EXPECT_EQ(rows.row(i)[2], 30.0f);
                    numbers.push_back(found[i]);
                }
            });
        EXPECT_EQ(numbers.size(), 148u);
        EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
        ASSERT_EQ(skipped.size(), 2u);
        EXPECT_EQ(skipped[0].number, 70u);
        EXPECT_NE(skipped[0].reason.find("70.bmp"), std::string::npos);
        EXPECT_EQ(skipped[1].number, 100u);
        EXPECT_NE(skipped[1].reason.find("nothing.png"), std::string::npos);
    }
}

TEST_F(ExtractorTest, OnADeviceTheSameComes) {
    NetworkDevice device;
    set_device_source(&device);
    Extractor extractor = means();
    std::vector<std::string> paths;
    for (size_t i = 0; i < 8; ++i)
        paths.push_back(picture(i, static_cast<uint8_t>(10 * i)));
    paths[4] = dir_.file("nothing.png");
    std::vector<float> rows[2];
    std::vector<size_t> numbers[2];
    for (size_t turn = 0; turn < 2; ++turn) {
        if (turn == 1) extractor.to("cuda:0");
        EXPECT_EQ(extractor.device(), turn == 0 ? "cpu" : "cuda:0");
        ExtractOptions options;
        options.normalize = true;
        options.threads = 2;
        const auto keep = [&](std::span<const size_t> found, MatrixView<const float> features) {
            numbers[turn].insert(numbers[turn].end(), found.begin(), found.end());
            rows[turn].insert(rows[turn].end(), features.data,
                              features.data + features.rows * features.cols);
        };
        const auto skipped = extractor.extract(paths, options, keep);
        ASSERT_EQ(skipped.size(), 1u);
        EXPECT_EQ(skipped[0].number, 4u);
    }
    EXPECT_EQ(device.calls, (std::vector<size_t>{3, 3, 2}));
    EXPECT_EQ(numbers[0], numbers[1]);
    ASSERT_EQ(rows[0].size(), rows[1].size());
    for (size_t i = 0; i < rows[0].size(); ++i)
        EXPECT_NEAR(rows[0][i], rows[1][i], 1e-6f) << i;

    // The first broken picture ends it, behind those of the batches before.
    ExtractOptions strict;
    strict.strict = true;
    size_t before = 0;
    const Error error = error_of([&] {
        extractor.extract(paths, strict, [&](auto found, auto) { before += found.size(); });
    });
    EXPECT_EQ(error.code(), StatusCode::NotFound);
    EXPECT_EQ(before, 3u);
    EXPECT_TRUE(extractor.extract({}, {}, [](auto, auto) {}).empty());

    device.computes = false;
    const Error refused = error_of([&] { extractor.to("cuda:0"); });
    EXPECT_EQ(refused.code(), StatusCode::Unsupported);
    EXPECT_NE(std::string(refused.what()).find("cuda:0 computes no networks"), std::string::npos);
    extractor.to("cpu");
    EXPECT_EQ(extractor.device(), "cpu");
}

TEST_F(ExtractorTest, StrictThrowsAndNormalizeDivides) {
    const Extractor extractor = means();
    const std::vector<std::string> paths{picture(0, 10), dir_.file("nothing.png")};
    ExtractOptions options;
    options.strict = true;
    const Error error = error_of([&] { extractor.extract(paths, options, [](auto, auto) {}); });
    EXPECT_EQ(error.code(), StatusCode::NotFound);
    EXPECT_NE(std::string(error.what()).find("nothing.png"), std::string::npos);
    options.strict = false;
    options.normalize = true;
    const std::vector<std::string> good{paths[0]};
    extractor.extract(good, options, [](auto, MatrixView<const float> rows) {
        const double length = std::sqrt(10.0 * 10 + 20.0 * 20 + 30.0 * 30);
        EXPECT_NEAR(static_cast<double>(rows.row(0)[0]), 10 / length, 1e-6);
    });
}

TEST_F(ExtractorTest, CancelsBetweenPictures) {
    const Extractor extractor = means();
    const std::vector<std::string> paths{picture(0, 10)};
    ExtractOptions options;
    options.progress = [](std::string_view, double, double) { return false; };
    EXPECT_EQ(error_of([&] { extractor.extract(paths, options, [](auto, auto) {}); }).code(),
              StatusCode::Cancelled);
}

TEST_F(ExtractorTest, AFeatureThatIsNoNumberNamesThePicture) {
    Model model;
    Layer layer;
    layer.kind = LayerKind::Linear;
    layer.name = "out";
    layer.channels = 1;
    model.layers = {layer};
    model.preprocess.size = {1, 1};
    model.tap = "out";
    const std::string path = dir_.file("inf.safetensors");
    write_safetensors(path, {{"out.weight", {{1, 3}, {3e38f, 3e38f, 3e38f}}}});
    const Extractor extractor(model, Weights::open(path));
    const std::vector<std::string> paths = {picture(7, 1)};
    const Error error = error_of([&] {
        extractor.extract(paths, {}, [](std::span<const size_t>, MatrixView<const float>) {});
    });
    EXPECT_EQ(error.code(), StatusCode::NonFinite);
    EXPECT_EQ(std::string(error.what()).rfind(paths[0] + ": its feature holds inf", 0), 0u)
        << error.what();
}

}  // namespace
}  // namespace nearcell
