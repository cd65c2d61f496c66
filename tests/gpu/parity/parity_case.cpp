#include "parity_case.h"

#include <bit>
#include <numeric>

#include <nearcell/core/random.h>

namespace nearcell::parity {

Rows clustered(size_t rows, size_t dim, uint64_t seed) {
    constexpr size_t kClusters = 40;
    Random random(seed), centres(7);
    std::vector<float> middle(kClusters * dim);
    for (float& value : middle)
        value = static_cast<float>(2 * centres.normal());
    Rows made;
    made.dim = dim;
    made.values.resize(rows * dim);
    for (size_t i = 0; i < rows; ++i) {
        const float* const centre = middle.data() + random.below(kClusters) * dim;
        for (size_t j = 0; j < dim; ++j)
            made.values[i * dim + j] = centre[j] + static_cast<float>(random.normal());
    }
    return made;
}

std::string spec_of(std::string_view pattern) {
    std::string spec;
    for (const char c : pattern) {
        if (c == '%')
            spec += std::to_string(size().cells);
        else if (c == '#')
            spec += std::to_string(size().subquantizers);
        else
            spec += c;
    }
    return spec;
}

DeviceOptions device_options() {
    DeviceOptions options;
    options.chunk_blocks = size().chunk_blocks;
    return options;
}

std::unique_ptr<CellIndex> ParityTest::make(const std::string& spec, Metric metric) const {
    auto index = make_index(spec, {size().dim, metric, 5});
    index->train(base_.view());
    index->add(base_.view());
    return index;
}

namespace {

// The first place of a query whose scores are not nearly the same, or k.
size_t first_far_place(const SearchResult& found, const SearchResult& truth, size_t query) {
    for (size_t place = 0; place < truth.k; ++place) {
        const size_t i = query * truth.k + place;
        const float wanted = truth.scores[i];
        if (!(std::fabs(found.scores[i] - wanted) <= 2e-5f * (1 + std::fabs(wanted)))) return place;
    }
    return truth.k;
}

}  // namespace

void expect_close(const SearchResult& found, const SearchResult& truth, const std::string& what,
                  size_t others) {
    ASSERT_EQ(found.counts, truth.counts) << what;
    ASSERT_EQ(found.ids.size(), truth.ids.size()) << what;
    size_t far_queries = 0;
    for (size_t q = 0; q < truth.queries; ++q) {
        const size_t place = first_far_place(found, truth, q), i = q * truth.k + place;
        if (place == truth.k) continue;
        ASSERT_LE(++far_queries, others)
            << what << ": query " << q << " place " << place << " has id " << found.ids[i]
            << " and score " << found.scores[i] << ", and on the CPU " << truth.ids[i] << " and "
            << truth.scores[i];
    }
    size_t other_ids = 0;
    for (size_t i = 0; i < truth.ids.size(); ++i)
        other_ids += found.ids[i] != truth.ids[i];
    ASSERT_LE(other_ids, truth.ids.size() / 20) << what;
}

void expect_as_near(const SearchResult& found, const SearchResult& truth, const std::string& what) {
    ASSERT_EQ(found.counts, truth.counts) << what;
    const double sum = std::accumulate(found.scores.begin(), found.scores.end(), 0.0);
    const double wanted = std::accumulate(truth.scores.begin(), truth.scores.end(), 0.0);
    ASSERT_NEAR(sum, wanted, 0.01 * std::fabs(wanted)) << what;
}

void expect_as_cpu(const CellIndex& index, const SearchResult& found, const SearchResult& truth,
                   const std::string& what) {
    const CodeKind kind = index.options().codec.kind;
    const bool others_pass = kind == CodeKind::Product4 || kind == CodeKind::Bits;
    if (index.options().rerank && others_pass)
        expect_as_near(found, truth, what);
    else
        expect_close(found, truth, what);
}

void expect_equal(const SearchResult& found, const SearchResult& truth, const std::string& what) {
    ASSERT_EQ(found.counts, truth.counts) << what;
    ASSERT_EQ(found.ids.size(), truth.ids.size()) << what;
    for (size_t i = 0; i < truth.ids.size(); ++i) {
        ASSERT_EQ(found.ids[i], truth.ids[i])
            << what << " query " << i / truth.k << " place " << i % truth.k;
        ASSERT_EQ(std::bit_cast<uint32_t>(found.scores[i]),
                  std::bit_cast<uint32_t>(truth.scores[i]))
            << what << " query " << i / truth.k << " place " << i % truth.k;
    }
}

}  // namespace nearcell::parity
