// Every kind of filter against a plain set of ids.
#include <nearcell/core/id_filter.h>

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <utility>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>

namespace nearcell {
namespace {

constexpr int64_t kLast = std::numeric_limits<int64_t>::max();
constexpr int64_t kFirst = std::numeric_limits<int64_t>::min();

// Checks allows(), mask() and count_bound() of a filter and of its complement.
void expect_allows(const IdFilter& filter, const std::set<int64_t>& allowed,
                   const std::vector<int64_t>& probes) {
    const IdFilter complement = filter.complement();
    for (size_t first = 0; first < probes.size(); first += 16) {
        const size_t count = std::min<size_t>(16, probes.size() - first);
        const unsigned mask = filter.mask(&probes[first], count);
        const unsigned inverse = complement.mask(&probes[first], count);
        for (size_t i = 0; i < count; ++i) {
            const int64_t id = probes[first + i];
            const bool expected = allowed.count(id) != 0;
            ASSERT_EQ(filter.allows(id), expected) << id;
            ASSERT_EQ(complement.allows(id), !expected) << id;
            ASSERT_EQ(complement.complement().allows(id), expected) << id;
            ASSERT_EQ((mask >> i) & 1u, expected ? 1u : 0u);
        }
        ASSERT_EQ(mask ^ inverse, (1u << count) - 1u) << "bits beyond count must be 0";
    }
    const std::set<int64_t> stored(probes.begin(), probes.end());
    size_t pass = 0;
    for (const int64_t id : stored)
        pass += allowed.count(id);
    EXPECT_GE(filter.count_bound(stored.size()), pass);
    EXPECT_LE(filter.count_bound(stored.size()), stored.size());
    EXPECT_GE(complement.count_bound(stored.size()), stored.size() - pass);
}

std::vector<int64_t> probes() {
    std::vector<int64_t> ids{kFirst,           kFirst + 1, -(int64_t{1} << 61),
                             int64_t{1} << 61, kLast - 1,  kLast};
    for (int64_t id = -20; id < 150; ++id)
        ids.push_back(id);
    return ids;
}

TEST(IdFilter, AllowsEverythingByDefault) {
    const IdFilter filter;
    EXPECT_TRUE(filter.allows_all());
    EXPECT_FALSE(filter.complement().allows_all());
    const std::vector<int64_t> ids = probes();
    expect_allows(filter, {ids.begin(), ids.end()}, ids);
    EXPECT_EQ(filter.complement().count_bound(7), 0u);
}

TEST(IdFilter, Bitset) {
    Random random(1);
    for (const size_t bytes : {0u, 1u, 3u, 12u}) {
        std::vector<uint8_t> bits(bytes);
        std::set<int64_t> allowed;
        for (size_t i = 0; i < bytes * 8; ++i) {
            if (random.below(2) == 0) continue;
            bits[i / 8] = static_cast<uint8_t>(bits[i / 8] | (1u << (i % 8)));
            allowed.insert(static_cast<int64_t>(i));
        }
        const IdFilter filter = IdFilter::bitset(bits);
        EXPECT_FALSE(filter.allows_all());
        expect_allows(filter, allowed, probes());
        EXPECT_EQ(filter.count_bound(1000), allowed.size());
    }
}

// Moves what `from` is, and says whether it then allows every id.
template <class Move>
bool leaves_all(IdFilter& from, const Move& move) {
    const IdFilter copy(from);
    const IdFilter& to = move(from);
    EXPECT_EQ(to.allows(2), copy.allows(2));
    EXPECT_EQ(to.allows(1), copy.allows(1));
    EXPECT_EQ(to.count_bound(9), copy.count_bound(9));
    return from.allows_all() && from.allows(1) && from.allows(2) && from.count_bound(9) == 9;
}

TEST(IdFilter, AllowsEverythingAfterAMove) {
    const std::vector<uint8_t> bytes{0b00000101};
    const std::vector<int64_t> ids{0, 2};
    for (const IdFilter& filter : {IdFilter(), IdFilter::bitset(bytes), IdFilter::range(2, 3),
                                   IdFilter::list(ids), IdFilter::list(ids).complement()}) {
        IdFilter first = filter, second = filter, to;
        EXPECT_TRUE(leaves_all(first, [](IdFilter& from) { return IdFilter(std::move(from)); }));
        EXPECT_TRUE(leaves_all(second, [&](IdFilter& from) { return to = std::move(from); }));
        IdFilter& itself = to;
        to = std::move(itself);
        EXPECT_EQ(to.allows(2), filter.allows(2));
        EXPECT_EQ(to.allows(1), filter.allows(1));
    }
}

TEST(IdFilter, Range) {
    const std::vector<int64_t> ids = probes();
    const std::vector<std::pair<int64_t, int64_t>> ranges = {
        {0, 0}, {3, 17}, {-5, 5}, {kFirst, kLast}, {kFirst, 0}, {kLast, kLast}, {100, kLast}};
    for (const auto& [first, last] : ranges) {
        std::set<int64_t> allowed;
        for (const int64_t id : ids) {
            if (first <= id && id < last) allowed.insert(id);
        }
        expect_allows(IdFilter::range(first, last), allowed, ids);
    }
    EXPECT_THROW(IdFilter::range(1, 0), Error);
}

TEST(IdFilter, List) {
    const std::vector<int64_t> listed = {7, 3, 7, -2, kLast, 3, int64_t{1} << 61};
    const IdFilter filter = IdFilter::list(listed);
    expect_allows(filter, {listed.begin(), listed.end()}, probes());
    EXPECT_EQ(filter.count_bound(1000), 5u);
    expect_allows(IdFilter::list({}), {}, probes());
}

}  // namespace
}  // namespace nearcell
