// What a search hands out: scores and ids of the best, in order, with padding where there are fewer
// than k. A thread a neighbour.
#pragma once

#include <nearcell/gpu/kernels/cell_layout.cuh>

namespace nearcell::gpu {

constexpr int kAnswerThreads = 256;

struct Answers {
    Metric metric;
    const int64_t* ids;  // by tag; null: tags are ids
    size_t k;            // a row of the answers
    float* out_scores;
    int64_t* out_ids;
    uint64_t* out_counts;  // may be null
    const unsigned long long* counters;
    unsigned long long* out_counters;  // kCallCounters; may be null
};

__global__ void __launch_bounds__(kAnswerThreads)
    write_answers(BestLists best, size_t queries, Answers answers) {
    simt::wait_for_previous();
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i < kCallCounters && answers.out_counters != nullptr)
        answers.out_counters[i] = answers.counters[i];
    const size_t query = i / answers.k, place = i % answers.k;
    if (query >= queries) return;
    const size_t at = query * answers.k + place, held = best.held[query];
    if (place == 0 && answers.out_counts != nullptr) answers.out_counts[query] = held;
    if (place >= held) {
        answers.out_scores[at] = worst_score(answers.metric);
        answers.out_ids[at] = -1;
        return;
    }
    const uint64_t packed = best.keys[query * best.k + place];
    const unsigned tag = tag_of(packed);
    answers.out_scores[at] = reported_score(answers.metric, __uint_as_float(key_bits(packed)));
    answers.out_ids[at] = answers.ids == nullptr ? int64_t{tag} : answers.ids[tag];
}

}  // namespace nearcell::gpu
