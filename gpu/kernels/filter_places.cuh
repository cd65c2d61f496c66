// Which stored vectors an IdFilter lets pass, a bit each: all of the index for one call, 4 bytes
// read and an eighth written a vector, and for lists a binary search.
#pragma once

#include <nearcell/core/id_filter.h>
#include <nearcell/gpu/simt/simt.h>
#include <nearcell/kernels/code_view.h>

namespace nearcell::gpu {

constexpr int kFilterThreads = 256;

// As IdFilter::allows says it; `rule` has device pointers.
SIMT_DEVICE bool allows(const IdFilterRule& rule, int64_t id) {
    bool listed = true;
    switch (rule.kind) {
        case IdFilterKind::All: break;
        case IdFilterKind::Bitset: {
            const auto byte = static_cast<size_t>(id) / 8;
            listed = id >= 0 && byte < rule.bit_bytes && (rule.bits[byte] >> (id % 8) & 1) != 0;
            break;
        }
        case IdFilterKind::Range: listed = id >= rule.first && id < rule.last; break;
        case IdFilterKind::List: {
            size_t first = 0;  // of those that are left, which `count` are
            for (size_t count = rule.id_count; count > 0;) {
                const size_t half = count / 2;
                const bool below = rule.ids[first + half] < id;
                first += below ? half + 1 : 0;
                count = below ? count - half - 1 : half;
            }
            listed = first < rule.id_count && rule.ids[first] == id;
            break;
        }
    }
    return listed != rule.negated;
}

// A thread a block. ids: by tag; null: tags are ids. Places without a vector have any tag.
__global__ void __launch_bounds__(kFilterThreads, 4)
    filter_places(IdFilterRule rule, const unsigned* tags, const int64_t* ids, size_t tag_count,
                  size_t blocks, unsigned short* masks) {
    const size_t block = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (block >= blocks) return;
    unsigned bits = 0;
    for (unsigned lane = 0; lane < kBlock; ++lane) {
        const unsigned tag = tags[block * kBlock + lane];
        if (ids != nullptr && tag >= tag_count) continue;
        const int64_t id = ids == nullptr ? int64_t{tag} : ids[tag];
        if (allows(rule, id)) bits |= 1u << lane;
    }
    masks[block] = static_cast<unsigned short>(bits);
}

}  // namespace nearcell::gpu
