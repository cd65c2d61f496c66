// IdFilter of any bytes: as a bitset, as a list of ids, as a range. It agrees with a plain look-up.
#include <cstring>

#include <nearcell/core/id_filter.h>

#include "fuzz_target.h"

namespace nearcell::fuzz {

std::vector<Bytes> seeds() {
    std::vector<Bytes> inputs{{0, 0xff, 1, 0x80}, {}};
    for (const uint8_t kind : {uint8_t{1}, uint8_t{2}, uint8_t{5}, uint8_t{6}}) {
        Bytes bytes(1 + 3 * sizeof(int64_t), 0);
        bytes[0] = kind;
        bytes[1] = 3;
        bytes[9] = 77;
        inputs.push_back(bytes);
    }
    return inputs;
}

void repair(Bytes&) {}

}  // namespace nearcell::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nearcell;
    const unsigned kind = size > 0 ? data[0] : 0;
    const std::span<const uint8_t> bytes(data + (size > 0), size - (size > 0));
    std::vector<int64_t> ids(bytes.size() / sizeof(int64_t));
    if (!ids.empty()) std::memcpy(ids.data(), bytes.data(), ids.size() * sizeof(int64_t));
    fuzz::read([&] {
        IdFilter filter;
        if (kind % 4 == 0) filter = IdFilter::bitset(bytes);
        if (kind % 4 == 1) filter = IdFilter::list(ids);
        if (kind % 4 == 2 && ids.size() >= 2) filter = IdFilter::range(ids[0], ids[1]);
        if (kind % 8 >= 4) filter = filter.complement();
        ids.insert(ids.end(), {0, 1, 7, 8, -1, INT64_MAX, INT64_MIN});
        size_t passed = 0;
        for (size_t i = 0; i < ids.size(); i += 16) {
            const size_t count = std::min<size_t>(16, ids.size() - i);
            const unsigned mask = filter.mask(ids.data() + i, count);
            for (size_t j = 0; j < count; ++j) {
                fuzz::require(((mask >> j) & 1u) == filter.allows(ids[i + j]));
                passed += (mask >> j) & 1u;
            }
        }
        fuzz::require(filter.count_bound(passed) <= passed);
    });
    return 0;
}
