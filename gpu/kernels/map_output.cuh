// How the steps of a network end: bias, what is added, activation, and where results go. Maps of a
// batch lie one after another, each as pixels of consecutive channels, without borders.
#pragma once

#include <nearcell/gpu/simt/simt.h>

namespace nearcell::gpu {

// Results are clamped to [low, high], or become x / (1 + exp(-x)).
struct StepActivation {
    float low, high;
    bool silu;
};

SIMT_DEVICE float activated(const StepActivation& activation, float x) {
    if (activation.silu) return __fdiv_rn(x, 1.0f + exp(-x));
    x = x > activation.low ? x : activation.low;
    return x < activation.high ? x : activation.high;
}

// kWidth consecutive channels of a pixel, in registers; of four an access is one of 16 bytes, and
// the address has to be a multiple of that.
template <int kWidth>
struct Channels {
    float at[kWidth];
};

template <int kWidth>
SIMT_DEVICE Channels<kWidth> load_channels(const float* from) {
    static_assert(kWidth == 4 || kWidth == 1);
    if constexpr (kWidth == 4) {
        const float4 four = simt::load16(reinterpret_cast<const float4*>(from));
        return {{four.x, four.y, four.z, four.w}};
    } else {
        return {{*from}};
    }
}

template <int kWidth>
SIMT_DEVICE void store_channels(float* to, const Channels<kWidth>& channels) {
    if constexpr (kWidth == 4) {
        simt::store16(reinterpret_cast<float4*>(to),
                      make_float4(channels.at[0], channels.at[1], channels.at[2], channels.at[3]));
    } else {
        *to = channels.at[0];
    }
}

// Sums of products of kWidth channels become results, in the CPU's order: bias, then what is added.
// bias, added (or null) and out: of the first of these channels.
template <int kWidth>
SIMT_DEVICE void finish_channels(const StepActivation& activation, const float* bias,
                                 const float* added, Channels<kWidth> sums, float* out) {
    const Channels<kWidth> shift = load_channels<kWidth>(bias);
    Channels<kWidth> more{};
    if (added != nullptr) more = load_channels<kWidth>(added);
    SIMT_UNROLL
    for (int i = 0; i < kWidth; ++i) {
        float x = sums.at[i] + shift.at[i];
        if (added != nullptr) x += more.at[i];
        sums.at[i] = activated(activation, x);
    }
    store_channels<kWidth>(out, sums);
}

}  // namespace nearcell::gpu
