// Lists of candidates with intervals, and what is left of them when they are settled.
#pragma once

#include <nearcell/gpu/kernels/settle_lists.cuh>

#include "byte_case.h"
#include "lists_case.h"
#include "scan_case.h"

namespace nearcell::gpu {

constexpr Metric kProducts[] = {Metric::L2, Metric::InnerProduct, Metric::Cosine};

// Vectors, queries, and lists of some places each with an interval that the key lies in.
struct SettleCase {
    Metric metric;
    StoredCase store;
    TiledCase tiles;
    Matrix queries;
    DeviceArray<float> values;
    size_t room;
    bool by_rows;                   // keys are those of a re-rank store
    std::vector<Candidates> lists;  // packed intervals

    template <class Codes>
    SettleCase(const Codes& codes, Metric metric_, bool residual, const std::vector<size_t>& counts,
               size_t room_, Random& random, bool by_rows_ = false)
        : metric(metric_),
          store(codes.view(), codes.cells, codes.centroids, residual, 9, false, random),
          tiles(store),
          queries(counts.size(), store.dim(), random),
          values(queries.data),
          room(room_),
          by_rows(by_rows_) {
        std::vector<unsigned> all;
        for (const Chunk& chunk : store.chunks()) {
            const std::vector<unsigned> places = store.places_of(chunk);
            all.insert(all.end(), places.begin(), places.end());
        }
        for (size_t q = 0; q < counts.size(); ++q) {
            Candidates list;
            for (const size_t i : random_sample(all.size(), counts[q], random)) {
                const float key = key_of(q, all[i]);
                const auto width = static_cast<float>(0.3 * random.uniform());
                list.push_back(
                    {pack_key(key + width, std::bit_cast<unsigned>(key - width)), all[i]});
            }
            lists.push_back(std::move(list));
        }
    }
    CodeScoring scoring(const KeyLists& device) const {
        return {tiles.stored(), store.cell_of_block(), device.lists(), values.data()};
    }
    float key_of(size_t q, unsigned place) const {
        if (!by_rows) return store.key(metric, place, queries.row(q));
        return pair_key(metric, store.vector(place).data(), queries.row(q), store.dim());
    }
    uint64_t packed(size_t q, unsigned place) const {
        return pack_key(key_of(q, place), store.tag(place));
    }
    // All that are wanted or held, in order.
    std::vector<Candidates> best(const std::vector<Candidates>& held, size_t k) const {
        std::vector<Candidates> result = held;
        for (size_t q = 0; q < lists.size(); ++q) {
            for (const Candidate& candidate : lists[q])
                result[q].push_back({packed(q, candidate.second), candidate.second});
            std::sort(result[q].begin(), result[q].end());
            result[q].resize(std::min(k, result[q].size()));
        }
        return result;
    }
};

// What is left when lists are settled.
struct Settled {
    std::vector<Candidates> best, lists;
    std::vector<float> limits;
    std::vector<unsigned> held, wanted;
    unsigned long long scored, crowded;
};

// start(job, queries) launches a kernel, of `held` best ones and the case's lists.
template <class Start>
Settled settled_by(const SettleCase& data, const std::vector<Candidates>& held, size_t k,
                   const Start& start) {
    const KeyLists lists(data.lists, data.room), best(held, k);
    std::vector<float> limits;
    for (const Candidates& list : held) {  // as rounds before would have left them
        const bool whole = list.size() == k;
        limits.push_back(whole ? std::bit_cast<float>(
                                     key_bits(std::max_element(list.begin(), list.end())->first))
                               : kInfinity);
    }
    const DeviceArray<float> device_limits(limits);
    const DeviceArray<unsigned> wanted(limits.size(), 3u);
    const DeviceArray<unsigned long long> scored(1, 0ull), crowded(1, 0ull);
    const CandidateLists held_lists = best.lists();
    const BestLists device_best{held_lists.keys, held_lists.places, held_lists.counts, k};
    start(Settling{data.scoring(lists), device_best, device_limits.data(), wanted.data(),
                   scored.data(), crowded.data()},
          lists.queries());
    if (k > kSettledKeys)
        simt::launch({"sort_keys", lists.queries(), kSelectThreads}, sort_keys, device_best);
    return {best.held(),      lists.held(),        device_limits.to_host(), best.counts(),
            wanted.to_host(), scored.to_host()[0], crowded.to_host()[0]};
}

}  // namespace nearcell::gpu
