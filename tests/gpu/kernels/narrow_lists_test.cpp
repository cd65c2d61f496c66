// Lists of intervals: what narrowing leaves and the limits that it finds, against plain sorting.
#include <nearcell/gpu/kernels/narrow_lists.cuh>

#include "lists_case.h"

namespace nearcell::gpu {
namespace {

using simt::config;

class NarrowLists : public simt::SimtTest {};

constexpr int kLostBits = 40;  // of a packed number, in limits
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// The lists after a kernel that narrows them.
struct Narrow {
    std::vector<float> limits;
    std::vector<unsigned> counts, wanted;
    std::vector<Candidates> left;
};

Narrow narrowed(const KeyLists& lists, const std::vector<float>& limits,
                const std::vector<unsigned>& wanted, size_t k) {
    const DeviceArray<float> device_limits(limits);
    const DeviceArray<unsigned> device_wanted(wanted);
    simt::launch({"narrow_lists", lists.queries(), kSelectThreads}, narrow_lists, lists.lists(), k,
                 device_limits.data(), device_wanted.data());
    return {device_limits.to_host(), lists.counts(), device_wanted.to_host(), lists.held()};
}

// The k-th smallest upper end, and the same without the bits that limits lack.
std::pair<float, float> ends_of(const Candidates& list, size_t k) {
    std::vector<uint64_t> ends;
    for (const Candidate& candidate : list)
        ends.push_back(candidate.first >> 32 << 32);
    std::sort(ends.begin(), ends.end());
    const uint64_t loose = ends[k - 1] | ((uint64_t{1} << kLostBits) - 1);
    const float most = std::bit_cast<float>(key_bits(loose));
    return {std::bit_cast<float>(key_bits(ends[k - 1])), std::isnan(most) ? kInfinity : most};
}

// A limit that was `before`, and is now what `ends` of some numbers say.
void check_limit(float limit, float before, const Candidates& list, size_t k) {
    if (list.size() < k) {
        EXPECT_EQ(limit, before);
        return;
    }
    const auto [least, most] = ends_of(list, k);
    EXPECT_GE(limit, std::min(before, least));
    EXPECT_LE(limit, std::min(before, most));
}

// Intervals about keys of one kind of query, drawn anew.
struct DrawnList {
    Candidates list;
    std::vector<float> keys;  // in the intervals

    DrawnList(size_t count, int kind, Random& random) {
        for (size_t i = 0; i < count; ++i) {
            float key = static_cast<float>(random.normal());
            if (kind == 1) key = static_cast<float>(random.below(4));  // many ties
            if (kind == 2) key *= 1e-3f, key += 100;                   // which limits cannot tell
            const auto width =
                static_cast<float>(std::fabs(random.normal()) * (kind == 1 ? 0 : 0.1));
            float low = key - width, high = key + 2 * width;
            if (random.below(20) == 0) low = -kInfinity, high = kInfinity;
            if (random.below(20) == 0) low = high = key = kNaN;
            keys.push_back(key);
            list.push_back(
                {pack_key(high, std::bit_cast<unsigned>(low)), static_cast<unsigned>(i)});
        }
    }
};

// What is left of a list: no more and no less than is within the limit, and the k best.
void check_left(const DrawnList& drawn, size_t room, size_t k, float before, float limit,
                Candidates left) {
    Candidates there = drawn.list;
    there.resize(std::min(room, there.size()));
    check_limit(limit, before, there, k);
    Candidates within;
    std::vector<float> keys;
    for (const auto& [interval, place] : there) {
        if (std::bit_cast<float>(static_cast<unsigned>(interval)) <= limit)
            within.push_back({interval, place});
        if (!std::isnan(drawn.keys[place])) keys.push_back(drawn.keys[place]);
    }
    std::sort(within.begin(), within.end());
    std::sort(left.begin(), left.end());
    ASSERT_EQ(left, within);
    std::sort(keys.begin(), keys.end());
    const float worst = keys.size() < k ? kInfinity : keys[k - 1];
    for (const auto& [interval, place] : there) {
        if (!(drawn.keys[place] <= std::min(worst, before))) continue;
        EXPECT_TRUE(std::binary_search(left.begin(), left.end(), Candidate{interval, place}));
    }
}

// Lists of so many each; the limits before are infinite, of some key, and below all.
void check_lists(const std::vector<size_t>& sizes, size_t room, size_t k, Random& random) {
    std::vector<DrawnList> drawn;
    std::vector<Candidates> lists;
    std::vector<float> limits;
    std::vector<unsigned> wanted;
    for (size_t q = 0; q < sizes.size(); ++q) {
        drawn.emplace_back(sizes[q], static_cast<int>(q % 3), random);
        lists.push_back(drawn.back().list);
        const float key = sizes[q] == 0 ? 1 : drawn.back().keys[random.below(sizes[q])];
        limits.push_back(q % 4 == 1 && !std::isnan(key) ? key : q % 4 == 3 ? -1e30f : kInfinity);
        wanted.push_back(static_cast<unsigned>(random.below(2 * room)));
    }
    const KeyLists device(lists, room);
    const Narrow result = narrowed(device, limits, wanted, k);
    for (size_t q = 0; q < sizes.size(); ++q) {
        SCOPED_TRACE(testing::Message() << "list " << q << " of " << sizes[q] << ", k " << k);
        EXPECT_EQ(result.wanted[q], std::max<size_t>(wanted[q], sizes[q]));
        EXPECT_EQ(result.counts[q], result.left[q].size());
        check_left(drawn[q], room, k, limits[q], result.limits[q], result.left[q]);
    }
}

TEST_F(NarrowLists, OfAnyLength) {
    Random random(1);
    for (const size_t k : {1, 10, 100, 1500}) {
        config().seed = k;
        check_lists({0, 1, 9, 10, 99, 100, 127, 128, 129, 256, 257, 500, 700, 1023, 1024}, 1024, k,
                    random);
        check_lists({1025, 1499, 1500, 1501, 1700}, 1700, k, random);
    }
}

// They say how many there were, and still have a limit.
TEST_F(NarrowLists, OfMoreThanThereIsRoomFor) {
    Random random(2);
    for (const size_t k : {1, 10, 100})
        check_lists({40, 100, 101, 250, 300, 107}, 100, k, random);
    check_lists({1200, 1300, 2000}, 1200, 10, random);
}

TEST_F(NarrowLists, OfEqualAndUnknownKeysOnly) {
    const uint64_t same = pack_key(2.5f, std::bit_cast<unsigned>(2.0f));
    const uint64_t unknown = pack_key(kInfinity, std::bit_cast<unsigned>(-kInfinity));
    for (const unsigned count : {50u, 1500u}) {
        Candidates equal, any;
        for (unsigned i = 0; i < count; ++i) {
            equal.push_back({same, i});
            any.push_back({unknown, i});
        }
        const KeyLists lists({equal, any}, count);
        const Narrow result = narrowed(lists, {kInfinity, kInfinity}, {0, 0}, 10);
        EXPECT_EQ(result.counts, (std::vector<unsigned>{count, count}));
        check_limit(result.limits[0], kInfinity, equal, 10);
        EXPECT_EQ(result.limits[1], kInfinity);
    }
}

// Of samples, by a block of so many threads: limits, and counts of 0.
void check_samples(unsigned threads, size_t k, Random& random) {
    const unsigned size = kKeptKeys * threads;
    const std::vector<unsigned> counts = {0, 1, 9, 10, 99, 100, 101, 128, 130, size - 1, size};
    const size_t queries = counts.size();
    std::vector<unsigned> uppers(queries * size, ~0u);
    std::vector<float> limits(queries);
    std::vector<Candidates> samples(queries);
    for (size_t q = 0; q < queries; ++q) {
        limits[q] = q % 3 == 0 ? kInfinity : static_cast<float>(random.normal());
        for (unsigned i = 0; i < counts[q]; ++i) {
            const float upper =
                random.below(9) == 0 ? kInfinity : static_cast<float>(random.normal());
            samples[q].push_back({pack_key(upper, 0), i});
            uppers[q * size + i] = static_cast<unsigned>(pack_key(upper, 0) >> 32);
        }
    }
    const DeviceArray<unsigned> device_uppers(uppers), device_counts(counts);
    const DeviceArray<float> device_limits(limits);
    simt::launch({"limit_by_samples", static_cast<unsigned>(queries), threads}, limit_by_samples,
                 device_uppers.data(), size, k, device_counts.data(), device_limits.data());
    EXPECT_EQ(device_counts.to_host(), std::vector<unsigned>(queries, 0));
    for (size_t q = 0; q < queries; ++q)
        check_limit(device_limits.to_host()[q], limits[q], samples[q], k);
}

TEST_F(NarrowLists, LimitsFromSamples) {
    Random random(3);
    for (const unsigned threads : {32u, unsigned{kSelectThreads}}) {
        for (const size_t k : {1, 10, 100, 1500})
            check_samples(threads, k, random);
    }
}

TEST_F(NarrowLists, DropsWhatIsBeyond) {
    Random random(4);
    constexpr size_t kRoom = 300;
    std::vector<Candidates> lists, expected;
    std::vector<float> limits;
    for (const size_t count : {0, 1, 128, 129, 300, 301, 40}) {
        const float limit = lists.size() == 6 ? kNaN : static_cast<float>(random.normal());
        Candidates list, kept;
        for (unsigned i = 0; i < count; ++i) {
            const float key = random.below(9) == 0   ? kNaN
                              : random.below(9) == 0 ? limit
                                                     : static_cast<float>(random.normal());
            list.push_back({pack_key(key, static_cast<unsigned>(random.next())), i});
            if (key <= limit) kept.push_back(list.back());
        }
        if (count > kRoom) kept.assign(list.begin(), list.begin() + kRoom);  // none was dropped
        lists.push_back(list);
        expected.push_back(kept);
        limits.push_back(limit);
    }
    const KeyLists device(lists, kRoom);
    const DeviceArray<float> device_limits(limits);
    simt::launch({"drop_beyond", device.queries(), kSelectThreads}, drop_beyond, device.lists(),
                 device_limits.data());
    EXPECT_EQ(device.held(), expected);  // in their order
    EXPECT_EQ(device.counts()[5], 301u);
}

// Lists that the block has in registers, and others.
std::vector<Candidates> some_lists(Random& random) {
    std::vector<Candidates> lists;
    for (const size_t count : {0, 7, 140, 1100})
        lists.push_back(DrawnList(count, 0, random).list);
    return lists;
}

// Narrows such lists, and whether it does so again as it did at first.
class Repeated {
   public:
    explicit Repeated(uint64_t seed)
        : random_(seed), lists_(some_lists(random_)), first_(again()) {}
    bool is_the_same() const {
        const Narrow now = again();
        return now.limits == first_.limits && now.counts == first_.counts &&
               now.wanted == first_.wanted && now.left == first_.left;
    }

   private:
    Narrow again() const {
        const std::vector<float> limits(lists_.size(), kInfinity);
        const std::vector<unsigned> wanted(lists_.size(), 0);
        return narrowed(KeyLists(lists_, 1100), limits, wanted, 10);
    }
    Random random_;
    std::vector<Candidates> lists_;
    Narrow first_;
};

TEST_F(NarrowLists, IsTheSameInEveryOrder) {
    const Repeated narrow(5);
    config().resident_blocks = 3;
    config().preempt_one_in = 100;
    simt::for_each_order([&] { EXPECT_TRUE(narrow.is_the_same()); }, 2);
}

TEST_F(NarrowLists, NoticesEveryMissingBarrier) {
    const Repeated narrow(6);
    const auto is_right = [&] { return narrow.is_the_same(); };
    EXPECT_EQ(expect_barriers_needed(is_right), 5u);
    EXPECT_EQ(expect_barriers_needed(is_right, 0, simt::SiteKind::WarpBarrier), 1u);
}

TEST_F(NarrowLists, NoticesMissingBarriersWhereKeysAreKnown) {
    Random random(7);
    const std::vector<Candidates> lists = some_lists(random);
    const std::vector<unsigned> counts = {0, 3, 40, 60}, uppers(4 * 60, 0xc0000000u);
    const auto is_right = [&] {
        const KeyLists device(lists, 1100);
        const DeviceArray<float> limits(lists.size(), 0.5f);
        const DeviceArray<unsigned> device_uppers(uppers), device_counts(counts);
        simt::launch({"limit_by_samples", 4, kSelectThreads}, limit_by_samples,
                     device_uppers.data(), 60u, size_t{10}, device_counts.data(), limits.data());
        simt::launch({"drop_beyond", 4, kSelectThreads}, drop_beyond, device.lists(),
                     limits.data());
        return device_counts.to_host() == std::vector<unsigned>(4, 0) && device.counts()[0] == 0;
    };
    ASSERT_TRUE(is_right());
    EXPECT_EQ(expect_barriers_needed(is_right), 7u);
}

}  // namespace
}  // namespace nearcell::gpu
