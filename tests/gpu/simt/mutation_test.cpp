// Four kernels as they are written for a GPU, right in every order of threads; then each of their
// barriers, fences and waits is left out in turn, and each time something must notice: a fault, or
// a wrong result.
#include <algorithm>
#include <cmath>
#include <string>

#include <nearcell/core/half.h>
#include <nearcell/core/random.h>

#include "bitonic_top_k.cuh"
#include "block_sum.cuh"
#include "matrix_product.cuh"
#include "radix_histogram.cuh"
#include "support.h"

namespace nearcell::gpu {
namespace {

using simt::config;
using simt::DeviceArray;
using simt::launch;
using simt::Site;
using simt::SiteKind;

class ExampleKernels : public simt::SimtTest {};

bool sums_are_right() {
    const int rows = 7, columns = 300;
    Random random(1);
    std::vector<float> values(rows * columns);
    for (float& value : values)
        value = static_cast<float>(random.below(1000));  // sums are exact
    std::vector<float> expected(rows, 0);
    for (size_t i = 0; i < values.size(); ++i)
        expected[i / columns] += values[i];
    const DeviceArray<float> in(values), sums(rows);
    launch({"block_sum", 2, 128}, block_sum_kernel<128>, in.data(), rows, columns, sums.data());
    return sums.to_host() == expected;
}

bool products_are_right() {
    const size_t d = 128, vectors = 64, queries = 16;
    Random random(2);
    std::vector<__half> a(queries * d), b(vectors * d);
    for (std::vector<__half>* const matrix : {&a, &b}) {
        for (__half& value : *matrix)
            value = __half(static_cast<float>(random.normal()));
    }
    const DeviceArray<__half> a_device(a), b_device(b);
    const DeviceArray<float> products(queries * vectors);
    launch({"matrix_product", 2, 128}, matrix_product_kernel, a_device.data(), b_device.data(),
           static_cast<int>(d), products.data());
    const std::vector<float> got = products.to_host();
    for (size_t q = 0; q < queries; ++q) {
        for (size_t v = 0; v < vectors; ++v) {
            double exact = 0, size = 0;
            for (size_t k = 0; k < d; ++k) {
                const double term =
                    double{__half2float(a[q * d + k])} * double{__half2float(b[v * d + k])};
                exact += term;
                size += std::abs(term);
            }
            const double error = std::abs(double{got[q * vectors + v]} - exact);
            if (!(error <= size * static_cast<double>(d) * 0x1p-24)) return false;
        }
    }
    return true;
}

bool smallest_are_right() {
    Random random(3);
    std::vector<Key> keys(1500);
    for (Key& key : keys)
        key = random.below(1u << 20);
    std::vector<Key> expected = keys;
    std::sort(expected.begin(), expected.end());
    expected.resize(32);
    const DeviceArray<Key> in(keys), smallest(32);
    launch({"bitonic_top_k", 1, 128}, bitonic_top_k_kernel<4>, in.data(),
           static_cast<int>(keys.size()), smallest.data());
    return smallest.to_host() == expected;
}

bool classes_are_right() {
    Random random(4);
    std::vector<unsigned> values(2000);
    for (unsigned& value : values)
        value = static_cast<unsigned>(random.next());
    const unsigned k = 700;
    std::vector<unsigned> expected(kClasses, 0);
    for (const unsigned value : values)
        ++expected[value >> 24];
    RadixResult wanted{0, 0};
    while (wanted.before + expected[wanted.kth_class] <= k)
        wanted.before += expected[wanted.kth_class++];
    const DeviceArray<unsigned> in(values), counts(kClasses, 0u), tickets(1, 0u);
    const DeviceArray<RadixResult> result(1, RadixResult{0, 0});
    launch({"radix_histogram", 3, 256}, radix_histogram_kernel, in.data(),
           static_cast<int>(values.size()), k, counts.data(), tickets.data(), result.data());
    const RadixResult got = result.to_host()[0];
    return counts.to_host() == expected && got.kth_class == wanted.kth_class &&
           got.before == wanted.before;
}

struct Example {
    const char* name;
    bool (*is_right)();
    size_t sites;
};
constexpr Example kExamples[] = {{"block_sum", sums_are_right, 2},
                                 {"matrix_product", products_are_right, 4},
                                 {"bitonic_top_k", smallest_are_right, 5},
                                 {"radix_histogram", classes_are_right, 8}};

TEST_F(ExampleKernels, AreRightInEveryOrder) {
    for (const Example& example : kExamples) {
        SCOPED_TRACE(example.name);
        simt::for_each_order([&] {
            for (const int resident : {1, 3}) {
                config().resident_blocks = resident;
                EXPECT_TRUE(example.is_right());
            }
        });
    }
}

TEST_F(ExampleKernels, AreRightWhenThreadsStopAnywhere) {
    for (const Example& example : kExamples) {
        SCOPED_TRACE(example.name);
        for (uint64_t seed = 1; seed <= 3; ++seed) {
            simt::reset();
            config().seed = seed;
            config().preempt_one_in = 10;
            EXPECT_TRUE(example.is_right());
        }
    }
}

bool orders_something(const Site& site) {
    return site.kind == SiteKind::BlockBarrier || site.kind == SiteKind::WarpBarrier ||
           site.kind == SiteKind::NamedBarrier || site.kind == SiteKind::Fence ||
           site.kind == SiteKind::AsyncWait;
}

// Whether anything is wrong without this line, under one seed.
bool is_noticed(const Example& example, const Site& without, uint64_t seed) {
    simt::reset();
    config().seed = seed;
    config().resident_blocks = 3;
    config().without = without;
    bool right = false;
    const auto report = simt::fault_of([&] { right = example.is_right(); });
    return report || !right;
}

TEST_F(ExampleKernels, NoticeEveryMissingBarrier) {
    constexpr uint64_t kSeeds = 20;
    for (const Example& example : kExamples) {
        simt::reset();
        ASSERT_TRUE(example.is_right());
        std::vector<Site> found = simt::sites();
        std::erase_if(found, [](const Site& site) { return !orders_something(site); });
        EXPECT_EQ(found.size(), example.sites) << example.name;
        for (const Site& site : found) {
            uint64_t noticed = 0;
            for (uint64_t seed = 1; seed <= kSeeds; ++seed)
                noticed += is_noticed(example, site, seed) ? 1 : 0;
            EXPECT_EQ(noticed, kSeeds)
                << example.name << " without " << site.file << ':' << site.line;
        }
    }
}

}  // namespace
}  // namespace nearcell::gpu
