// Convolutions as products of matrices against a plain sum in the order of the window: the same
// bits in float32, within the bound that the kernel states by three products of tf32.
#include <nearcell/gpu/kernels/convolve_maps.cuh>

#include <algorithm>
#include <cmath>
#include <limits>

#include <nearcell/core/random.h>

#include "gpu/simt/support.h"

namespace nearcell::gpu {
namespace {

using simt::config;
using simt::DeviceArray;
using simt::Site;
using simt::SiteKind;

class ConvolveMaps : public simt::SimtTest {};

constexpr size_t kBlock = 16;

// A convolution of some pictures, and what must come of it.
struct ConvCase {
    size_t pictures = 3, height = 7, width = 6, groups = 1, group_in = 4, group_out = 20;
    size_t kernel = 3, stride = 1, pad = 1;
    bool adds = false;

    size_t out_height() const { return (height + 2 * pad - kernel) / stride + 1; }
    size_t out_width() const { return (width + 2 * pad - kernel) / stride + 1; }
    size_t out_values() const { return pictures * out_height() * out_width() * groups * group_out; }
    size_t inner() const { return kernel * kernel * group_in; }
    size_t room() const { return (group_out + kBlock - 1) / kBlock * kBlock; }
};

struct Sum {
    float value = 0;
    double exact = 0, size = 0;  // size: of the terms together
};

struct ConvData {
    ConvCase shape;
    std::vector<float> in, weights, bias, added;
    std::vector<Sum> sums;

    ConvData(const ConvCase& shape_, uint64_t seed) : shape(shape_) {
        Random random(seed);
        const auto draw = [&](std::vector<float>& values, size_t count) {
            values.resize(count);
            for (float& value : values)
                value = static_cast<float>(random.normal());
        };
        draw(in, shape.pictures * shape.height * shape.width * shape.groups * shape.group_in);
        draw(weights, shape.groups * shape.inner() * shape.room());
        draw(bias, shape.groups * shape.room());
        if (shape.adds) draw(added, shape.out_values());
        for (size_t p = 0; p < shape.pictures; ++p) {
            for (size_t y = 0; y < shape.out_height(); ++y) {
                for (size_t x = 0; x < shape.out_width(); ++x) {
                    for (size_t c = 0; c < shape.groups * shape.group_out; ++c)
                        sums.push_back(sum(p, y, x, c));
                }
            }
        }
    }

    Sum sum(size_t picture, size_t y, size_t x, size_t channel) const {
        const size_t group = channel / shape.group_out, c = channel % shape.group_out;
        const float* const block =
            weights.data() + (group * shape.room() + c / kBlock * kBlock) * shape.inner();
        Sum sum;
        for (size_t k = 0; k < shape.inner(); ++k) {
            const size_t tap = k / shape.group_in;
            const size_t row = y * shape.stride + tap / shape.kernel - shape.pad;
            const size_t column = x * shape.stride + tap % shape.kernel - shape.pad;
            if (row >= shape.height || column >= shape.width) continue;  // below zero, too
            const size_t pixel = (picture * shape.height + row) * shape.width + column;
            const float value =
                in[(pixel * shape.groups + group) * shape.group_in + k % shape.group_in];
            const float weight = block[k * kBlock + c % kBlock];
            sum.value = std::fma(weight, value, sum.value);
            sum.exact += double{weight} * double{value};
            sum.size += std::fabs(double{weight} * double{value});
        }
        return sum;
    }

    std::vector<float> run(ConvArithmetic arithmetic, bool wide, int channels) const {
        const size_t in_channels = shape.groups * shape.group_in, step = wide ? 4 : 1;
        std::vector<WindowPart> parts;
        for (size_t k = 0; k < shape.inner(); k += step) {
            const size_t tap = k / shape.group_in, row = tap / shape.kernel,
                         column = tap % shape.kernel;
            parts.push_back({static_cast<unsigned>((row * shape.width + column) * in_channels +
                                                   k % shape.group_in),
                             static_cast<unsigned short>(row),
                             static_cast<unsigned short>(column)});
        }
        const DeviceArray<float> maps(in), factors(weights), shifts(bias), more(added),
            out(shape.out_values());
        const DeviceArray<WindowPart> table(parts);
        MapConvolution conv{};
        conv.in = maps.data();
        conv.added = shape.adds ? more.data() : nullptr;
        conv.out = out.data();
        conv.weights = factors.data();
        conv.bias = shifts.data();
        conv.parts = table.data();
        conv.out_width = static_cast<unsigned>(shape.out_width());
        conv.out_pixels = static_cast<unsigned>(shape.out_width() * shape.out_height());
        conv.pixels = static_cast<unsigned>(shape.pictures) * conv.out_pixels;
        conv.in_height = static_cast<int>(shape.height);
        conv.in_width = static_cast<int>(shape.width);
        conv.in_channels = static_cast<unsigned>(in_channels);
        conv.out_channels = static_cast<unsigned>(shape.groups * shape.group_out);
        conv.groups = static_cast<unsigned>(shape.groups);
        conv.group_in = static_cast<unsigned>(shape.group_in);
        conv.group_out = static_cast<unsigned>(shape.group_out);
        conv.inner = static_cast<unsigned>(shape.inner());
        conv.stride = static_cast<int>(shape.stride);
        conv.pad_top = conv.pad_left = static_cast<int>(shape.pad);
        conv.activation = {-1.5f, std::numeric_limits<float>::infinity(), false};
        const auto tile = static_cast<size_t>(channels);
        const size_t tiles = (shape.group_out + tile - 1) / tile * shape.groups *
                             ((conv.pixels + kConvPixels - 1) / kConvPixels);
        simt::launch({"convolve_maps", static_cast<unsigned>(tiles), kConvThreads},
                     kernel_of(arithmetic, wide, channels), conv);
        return out.to_host();
    }

    bool is_right(ConvArithmetic arithmetic, bool wide, int channels) const {
        const std::vector<float> found = run(arithmetic, wide, channels);
        for (size_t i = 0; i < sums.size(); ++i) {
            const size_t c = i % (shape.groups * shape.group_out), group = c / shape.group_out;
            const float shift = bias[group * shape.room() + c % shape.group_out];
            if (arithmetic == ConvArithmetic::Float32) {
                float wanted = sums[i].value + shift;
                if (shape.adds) wanted += added[i];
                if (!(found[i] == std::max(wanted, -1.5f))) return false;
                continue;
            }
            double wanted = sums[i].exact + double{shift};
            if (shape.adds) wanted += double{added[i]};
            const double bound =
                (40 + static_cast<double>(shape.inner()) / 64) * 0x1p-22 * sums[i].size;
            const double rounding = 0x1p-22 * (std::fabs(wanted) + std::fabs(double{shift}));
            if (!(std::fabs(double{found[i]} - std::max(wanted, -1.5)) <= bound + rounding))
                return false;
        }
        return true;
    }

    template <ConvArithmetic kArithmetic>
    static void (*kernel_with(bool wide, int channels))(MapConvolution) {
        if (channels == 64)
            return wide ? convolve_maps<kArithmetic, true, 64>
                        : convolve_maps<kArithmetic, false, 64>;
        return wide ? convolve_maps<kArithmetic, true, 32> : convolve_maps<kArithmetic, false, 32>;
    }
    static void (*kernel_of(ConvArithmetic arithmetic, bool wide, int channels))(MapConvolution) {
        return arithmetic == ConvArithmetic::Float32
                   ? kernel_with<ConvArithmetic::Float32>(wide, channels)
                   : kernel_with<ConvArithmetic::Tf32x3>(wide, channels);
    }
};

std::vector<ConvCase> some_cases() {
    std::vector<ConvCase> cases(5);
    cases[1] = {2, 9, 5, 1, 8, 70, 3, 2, 1, true};
    cases[2] = {5, 6, 6, 2, 12, 36, 1, 1, 0, true};
    cases[3] = {1, 4, 13, 3, 4, 5, 4, 1, 3, true};
    cases[4] = {4, 3, 3, 1, 20, 33, 3, 1, 0, false};
    return cases;
}

TEST_F(ConvolveMaps, OfEveryTileAndArithmetic) {
    uint64_t seed = 0;
    for (const ConvCase& shape : some_cases()) {
        const ConvData data(shape, ++seed);
        for (const ConvArithmetic arithmetic : {ConvArithmetic::Float32, ConvArithmetic::Tf32x3}) {
            for (const int channels : {32, 64}) {
                for (const bool wide : {true, false}) {
                    config().seed = ++seed;
                    config().resident_blocks = static_cast<int>(1 + seed % 3);
                    EXPECT_TRUE(data.is_right(arithmetic, wide, channels))
                        << "case " << seed << ", " << channels << " channels, wide " << wide;
                }
            }
        }
    }
}

TEST_F(ConvolveMaps, InEveryOrder) {
    const ConvData data({1, 5, 4, 1, 8, 9, 3, 1, 1, true}, 3);
    simt::for_each_order(
        [&] {
            for (const ConvArithmetic arithmetic :
                 {ConvArithmetic::Float32, ConvArithmetic::Tf32x3})
                EXPECT_TRUE(data.is_right(arithmetic, true, 32));
        },
        2);
}

TEST_F(ConvolveMaps, WhenThreadsStopAnywhere) {
    const ConvData data({1, 5, 4, 1, 8, 9, 3, 1, 1, false}, 4);
    config().preempt_one_in = 10;
    for (const ConvArithmetic arithmetic : {ConvArithmetic::Float32, ConvArithmetic::Tf32x3})
        EXPECT_TRUE(data.is_right(arithmetic, false, 32));
}

TEST_F(ConvolveMaps, NoticeEveryMissingBarrier) {
    constexpr uint64_t kSeeds = 6;
    // Five stages of the window: the first is filled again while others are computed.
    const ConvData data({1, 4, 3, 1, 8, 9, 3, 1, 1, false}, 5);
    for (const ConvArithmetic arithmetic : {ConvArithmetic::Float32, ConvArithmetic::Tf32x3}) {
        simt::reset();
        ASSERT_TRUE(data.is_right(arithmetic, true, 32));
        std::vector<Site> found = simt::sites();
        std::erase_if(found, [](const Site& site) {
            return site.kind != SiteKind::BlockBarrier && site.kind != SiteKind::AsyncWait;
        });
        EXPECT_EQ(found.size(), 3u);
        for (const Site& site : found) {
            uint64_t noticed = 0;
            for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
                simt::reset();
                config().seed = seed;
                config().without = site;
                bool right = false;
                const auto report =
                    simt::fault_of([&] { right = data.is_right(arithmetic, true, 32); });
                noticed += report || !right ? 1 : 0;
            }
            EXPECT_EQ(noticed, kSeeds) << "without " << site.file << ':' << site.line;
        }
    }
}

// Three products see what one of tf32 would round off.
TEST_F(ConvolveMaps, Tf32x3HoldsWhatOneProductWouldLose) {
    ConvData data({1, 1, 1, 1, 4, 1, 1, 1, 0, false}, 6);
    data.in = {1 + 0x1p-20f, -1, 1 + 0x1p-13f, -1};
    std::fill(data.weights.begin(), data.weights.end(), 1.0f);
    std::fill(data.bias.begin(), data.bias.end(), 0.0f);
    EXPECT_EQ(data.run(ConvArithmetic::Tf32x3, true, 32)[0], 0x1p-20f + 0x1p-13f);
}

TEST_F(ConvolveMaps, ArithmeticOfEachArchitecture) {
    for (const int architecture : {75, 86, 89, 120, 121})
        EXPECT_EQ(conv_arithmetic(architecture), ConvArithmetic::Float32) << architecture;
    for (const int architecture : {80, 90, 100, 103})
        EXPECT_EQ(conv_arithmetic(architecture), ConvArithmetic::Tf32x3) << architecture;
}

}  // namespace
}  // namespace nearcell::gpu
