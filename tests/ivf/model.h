// What a CellIndex is held against: random vectors, and a brute-force search in double precision
// over whatever the index says it stores (reconstruct), so that one oracle serves every codec.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/index/factory.h>
#include <nearcell/ivf/cell_index.h>

namespace nearcell {

// Clustered rows, so that cells and codebooks have something to learn.
inline std::vector<float> random_rows(size_t rows, size_t dim, uint64_t seed) {
    Random random(seed), shared(7);
    std::vector<float> centers(8 * dim), values(rows * dim);
    for (float& value : centers)
        value = static_cast<float>(shared.normal() * 2);
    for (size_t i = 0; i < rows; ++i) {
        const float* center = centers.data() + random.below(8) * dim;
        for (size_t j = 0; j < dim; ++j) {
            values[i * dim + j] = center[j] + static_cast<float>(random.normal());
        }
    }
    return values;
}

// Cosine: x is a stored unit vector, or what its code made of one.
inline double exact_score(Metric metric, const float* q, const float* x, size_t dim) {
    double dot = 0, qq = 0, l2 = 0, l1 = 0;
    for (size_t j = 0; j < dim; ++j) {
        const double a = static_cast<double>(q[j]), b = static_cast<double>(x[j]);
        dot += a * b;
        qq += a * a;
        l2 += (a - b) * (a - b);
        l1 += std::fabs(a - b);
    }
    switch (metric) {
        case Metric::L2: return l2;
        case Metric::L1: return l1;
        case Metric::InnerProduct: return dot;
        case Metric::Cosine: return qq == 0 ? 0 : dot / std::sqrt(qq);
    }
    return 0;
}

struct Scored {
    double score;
    int64_t id;
};

// Every vector of `stored`, best first.
inline std::vector<Scored> brute_force(Metric metric, const float* query, size_t dim,
                                       const std::map<int64_t, std::vector<float>>& stored) {
    std::vector<Scored> all;
    for (const auto& [id, x] : stored)
        all.push_back({exact_score(metric, query, x.data(), dim), id});
    std::stable_sort(all.begin(), all.end(), [&](const Scored& a, const Scored& b) {
        return is_similarity(metric) ? a.score > b.score : a.score < b.score;
    });
    return all;
}

// What the index stores, by its own word.
inline std::map<int64_t, std::vector<float>> stored_vectors(const CellIndex& index) {
    const std::vector<int64_t> ids = index.ids();
    std::vector<float> values(ids.size() * index.dim());
    index.reconstruct(ids, {values.data(), ids.size(), index.dim()});
    std::map<int64_t, std::vector<float>> stored;
    for (size_t i = 0; i < ids.size(); ++i) {
        stored[ids[i]].assign(values.begin() + static_cast<ptrdiff_t>(i * index.dim()),
                              values.begin() + static_cast<ptrdiff_t>((i + 1) * index.dim()));
    }
    return stored;
}

inline std::unique_ptr<CellIndex> trained_index(const std::string& spec, size_t dim, Metric metric,
                                                size_t rows = 2000) {
    auto index = make_index(spec, {.dim = dim, .metric = metric});
    const std::vector<float> x = random_rows(rows, dim, 1);
    index->train(MatrixView<const float>(x.data(), rows, dim));
    return index;
}

}  // namespace nearcell
