#include <nearcell/quantize/cluster_rows.h>

#include <algorithm>

#include <nearcell/core/parallel.h>

namespace nearcell {

void ClusterRows::group(std::span<const uint32_t> labels, size_t clusters, int threads) {
    begin_.resize(clusters + 1);
    const size_t rows = labels.size();
    const size_t most = static_cast<size_t>(resolve_threads(threads));
    const size_t parts = std::clamp<size_t>(rows / (4 * clusters), 1, most);
    const auto part = [&](size_t p) {
        return labels.subspan(rows * p / parts, rows * (p + 1) / parts - rows * p / parts);
    };
    // How many rows each part has of each cluster, and then where the next one of them goes.
    std::vector<uint32_t> next(parts * clusters);
    parallel_for(parts, threads, [&](size_t p, int) {
        uint32_t* const counts = next.data() + p * clusters;
        for (const uint32_t label : part(p))
            ++counts[label];
    });
    size_t place = 0;
    for (size_t c = 0; c < clusters; ++c) {
        begin_[c] = place;
        for (size_t p = 0; p < parts; ++p) {
            const uint32_t count = next[p * clusters + c];
            next[p * clusters + c] = static_cast<uint32_t>(place);
            place += count;
        }
    }
    begin_[clusters] = place;
    order_.resize_for_overwrite(rows);
    uint32_t* const order = order_.mutable_data();
    parallel_for(parts, threads, [&](size_t p, int) {
        uint32_t* const places = next.data() + p * clusters;
        size_t row = rows * p / parts;
        for (const uint32_t label : part(p))
            order[places[label]++] = static_cast<uint32_t>(row++);
    });
}

}  // namespace nearcell
