// Metric: what "near" means. Scores are what users see; keys are what the engine compares: a key is
// always smaller for a nearer vector, so one order (key, then smaller id) serves every metric.
//   L2            score = squared Euclidean distance         key = score
//   InnerProduct  score = dot product, larger is nearer      key = -score
//   Cosine        score = cosine in [-1, 1]; 0 for a zero vector   key = -score
//   L1            score = sum of absolute differences        key = score
#pragma once

#include <limits>
#include <optional>
#include <string_view>

namespace nearcell {

enum class Metric { L2 = 0, InnerProduct = 1, Cosine = 2, L1 = 3 };

constexpr bool is_similarity(Metric metric) {
    return metric == Metric::InnerProduct || metric == Metric::Cosine;
}
constexpr float score_from_key(Metric metric, float key) {
    return is_similarity(metric) ? -key : key;
}
constexpr float key_from_score(Metric metric, float score) {
    return is_similarity(metric) ? -score : score;
}
// The score that a search reports: estimates may fall out of what scores can be.
constexpr float reported_score(Metric metric, float key) {
    const float score = 0.0f + score_from_key(metric, key);
    if (metric == Metric::Cosine) return score < -1.0f ? -1.0f : score > 1.0f ? 1.0f : score;
    return metric == Metric::InnerProduct || score > 0.0f ? score : 0.0f;
}
// The score beside a missing neighbour (id -1): the worst finite one.
constexpr float worst_score(Metric metric) {
    return score_from_key(metric, std::numeric_limits<float>::max());
}

constexpr std::string_view metric_name(Metric metric) {
    switch (metric) {
        case Metric::L2: return "l2";
        case Metric::InnerProduct: return "ip";
        case Metric::Cosine: return "cosine";
        case Metric::L1: return "l1";
    }
    return "?";
}
constexpr std::optional<Metric> metric_from_name(std::string_view name) {
    for (Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1}) {
        if (metric_name(metric) == name) return metric;
    }
    return std::nullopt;
}

}  // namespace nearcell
