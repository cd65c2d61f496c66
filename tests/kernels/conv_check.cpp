// Convolutions and pooling against the reference: any pieces, channels, pixels and clamps, pixels
// at odd addresses, and nothing written but the output's channels.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {
namespace {

constexpr float kUntouched = 12345.5f;

// Pieces of an input of `size` values, and where output pixels begin in it.
struct Reading {
    std::vector<uint32_t> offsets;
    size_t length;  // values read of a piece
    Floats input;
    std::vector<const float*> pixels;

    Reading(size_t pieces, size_t length_, size_t pixel_count, Values values, Random& random)
        : length(length_), input(length_ + kBlock + 400, values, random) {
        // Sixteen values may be read from a piece's last channel on.
        for (size_t t = 0; t < pieces; ++t)
            offsets.push_back(static_cast<uint32_t>(random.below(200)));
        for (size_t p = 0; p < pixel_count; ++p)
            pixels.push_back(input.data() + random.below(200));
    }
    // As a map's: rows of `width` pieces, and pixels next to each other but for a new row now and
    // then.
    void lay_out(size_t width, size_t step, size_t stride, Values values, Random& random) {
        const size_t rows = 1 + random.below(4), row_stride = (width + 3) * step + random.below(5);
        offsets.clear();
        for (size_t t = 0; t < rows * width; ++t)
            offsets.push_back(static_cast<uint32_t>(t / width * row_stride + t % width * step));
        std::vector<size_t> places;
        size_t place = 0;
        for (size_t p = 0; p < pixels.size(); ++p) {
            places.push_back(place);
            place += random.below(12) == 0 ? row_stride : stride * step;
        }
        input = Floats(place + offsets.back() + length + kBlock, values, random);
        for (size_t p = 0; p < pixels.size(); ++p)
            pixels[p] = input.data() + places[p];
    }
};

// Output pixels of some channels, with room between them that must stay as it was.
struct Output {
    size_t channels, stride;
    std::vector<float> values;
    std::vector<float*> pixels;

    Output(size_t channels_, size_t pixel_count)
        : channels(channels_), stride(channels_ + 3), values(pixel_count * stride, kUntouched) {
        for (size_t p = 0; p < pixel_count; ++p)
            pixels.push_back(values.data() + p * stride);
    }
    bool rest_untouched() const {
        for (size_t i = 0; i < values.size(); ++i) {
            if (i % stride >= channels && values[i] != kUntouched) return false;
        }
        return true;
    }
};

size_t padded(size_t channels) { return blocks_for(channels) * kBlock; }

template <class View, class Kernel>
uint64_t check_convolution(const OpCase& op, Kernel* kernel, Kernel* reference, CheckLog& log) {
    constexpr bool depthwise = std::is_same_v<View, DepthwiseView>;
    Digest digest;
    Random random(83);
    for (size_t turn = 0; turn < 200; ++turn) {
        const size_t channels = 1 + random.below(turn % 4 == 0 ? 150 : 40);
        const size_t pixel_count = random.below(20);
        const size_t length = depthwise ? 1 : 1 + random.below(50);
        const Values values = turn % 3 == 0 ? Values::Mixed : Values::Plain;
        Reading in(1 + random.below(9), depthwise ? channels : length, pixel_count, values, random);
        if (depthwise && turn % 2 == 0) {
            // One after the other: compilers draw arguments in orders of their own.
            const size_t width = 3 + 2 * random.below(2), step = channels + random.below(3);
            const size_t stride = 1 + random.below(3);
            in.lay_out(width, step, stride, values, random);
        }
        const size_t pieces = in.offsets.size(), inner = pieces * length;
        Floats weights(inner * padded(channels), Values::Plain, random);
        Floats bias(padded(channels), Values::Plain, random);
        std::vector<Floats> adds;
        std::vector<const float*> added;
        for (size_t p = 0; p < pixel_count; ++p)
            adds.emplace_back(channels, Values::Plain, random);
        for (const Floats& one : adds)
            added.push_back(one.data());
        const bool adding = random.below(2) == 0;
        View view;
        view.offsets = in.offsets.data();
        view.piece_count = pieces;
        view.length = length;
        view.channels = channels;
        view.weights = weights.data();
        view.bias = bias.data();
        const float infinity = std::numeric_limits<float>::infinity();
        view.low = random.below(2) == 0 ? 0.0f : -infinity;
        view.high = random.below(2) == 0 ? 6.0f : infinity;
        Output got(channels, pixel_count), expected(channels, pixel_count);
        const float* const* const addends = adding ? added.data() : nullptr;
        kernel(&view, in.pixels.data(), addends, got.pixels.data(), pixel_count);
        reference(&view, in.pixels.data(), addends, expected.pixels.data(), pixel_count);
        for (size_t p = 0; p < pixel_count; ++p) {
            for (size_t c = 0; c < channels; ++c) {
                double magnitude = std::fabs(static_cast<double>(bias[c]));
                if (adding) magnitude += std::fabs(static_cast<double>(added[p][c]));
                for (size_t i = 0; i < inner; ++i) {
                    const float* piece = in.pixels[p] + in.offsets[i / length];
                    const float x = piece[depthwise ? c : i % length];
                    const size_t at = depthwise
                                          ? i * padded(channels) + c
                                          : c / kBlock * inner * kBlock + i * kBlock + c % kBlock;
                    magnitude +=
                        std::fabs(static_cast<double>(x) * static_cast<double>(weights[at]));
                }
                const float value = got.pixels[p][c];
                log.expect(near(value, expected.pixels[p][c], magnitude, inner + 3), op.table.isa,
                           " ", op.name, ": channels ", channels, " pieces ", pieces, " length ",
                           length, " pixel ", p, " of ", pixel_count, " channel ", c, ": ", value,
                           " not ", expected.pixels[p][c]);
                digest.add(value);
            }
        }
        log.expect(got.rest_untouched(), op.table.isa, " ", op.name, " writes past ", channels,
                   " channels");
    }
    return digest.value();
}

}  // namespace

uint64_t check_op(const OpCase& op, ConvKernel* kernel, ConvKernel* reference, CheckLog& log) {
    return check_convolution<ConvView>(op, kernel, reference, log);
}

uint64_t check_op(const OpCase& op, DepthwiseKernel* kernel, DepthwiseKernel* reference,
                  CheckLog& log) {
    return check_convolution<DepthwiseView>(op, kernel, reference, log);
}

uint64_t check_op(const OpCase& op, PoolKernel* kernel, PoolKernel* reference, CheckLog& log) {
    Digest digest;
    Random random(89);
    for (size_t turn = 0; turn < 100; ++turn) {
        const size_t channels = 1 + random.below(70);
        const size_t pieces = 1 + random.below(turn % 5 == 0 ? 49 : 9);
        const size_t pixel_count = random.below(9);
        Reading in(pieces, channels, pixel_count, Values::Plain, random);
        const PoolView view{in.offsets.data(), pieces, channels};
        Output got(channels, pixel_count), expected(channels, pixel_count);
        kernel(&view, in.pixels.data(), got.pixels.data(), pixel_count);
        reference(&view, in.pixels.data(), expected.pixels.data(), pixel_count);
        for (size_t p = 0; p < pixel_count; ++p) {
            for (size_t c = 0; c < channels; ++c) {
                double magnitude = 0;
                for (const uint32_t offset : in.offsets)
                    magnitude += std::fabs(static_cast<double>(in.pixels[p][offset + c]));
                const float value = got.pixels[p][c];
                log.expect(near(value, expected.pixels[p][c], magnitude, pieces + 1), op.table.isa,
                           " ", op.name, ": channels ", channels, " pieces ", pieces, " pixel ", p,
                           " channel ", c, ": ", value, " not ", expected.pixels[p][c]);
                digest.add(value);
            }
        }
        log.expect(got.rest_untouched(), op.table.isa, " ", op.name, " writes past ", channels,
                   " channels");
    }
    return digest.value();
}

}  // namespace nearcell::checks
