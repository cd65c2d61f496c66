// Byte tiles as tests see them: a store whose codes lie in rows beside its tiles, as cell_store.cu
// makes both.
#pragma once

#include <nearcell/gpu/kernels/make_byte_tiles.cuh>

#include "stored_case.h"

namespace nearcell::gpu {

// Of a StoredCase of any codes but Bits, which must outlive it.
class TiledCase {
   public:
    explicit TiledCase(const StoredCase& store)
        : stored_(store.stored()),
          steps_(tile_steps(store.dim())),
          rows_(store.block_words().size()),
          values_(places(store) * steps_ * 8),
          terms_(places(store)) {
        const auto words = static_cast<unsigned>(stored_.code.words);
        const auto blocks = static_cast<unsigned>(places(store) / kBlock);
        simt::launch({"turn_blocks", blocks, kMakeThreads}, turn_blocks, stored_.blocks, words,
                     rows_.data());
        stored_.blocks = rows_.data();
        stored_.tiles.steps = steps_;
        const size_t count = places(store);
        const auto grid = static_cast<unsigned>((count + kMakeThreads - 1) / kMakeThreads);
        simt::launch({"make_byte_tiles", grid, kMakeThreads},
                     make_byte_tiles_kernel(stored_.code.kind), stored_, store.cell_of_block(),
                     count, values_.data(), terms_.data());
        stored_.tiles = {reinterpret_cast<const uint4*>(values_.data()), terms_.data(), steps_};
    }
    // Without values: scans make them.
    void drop_values() { stored_.tiles.values = nullptr; }
    const StoredCodes& stored() const { return stored_; }
    std::vector<uint32_t> rows() const { return rows_.to_host(); }
    std::vector<uint32_t> values() const { return values_.to_host(); }
    std::vector<ByteTerms> terms() const { return terms_.to_host(); }

   private:
    static size_t places(const StoredCase& store) {
        return store.block_words().size() / store.stored().code.words;
    }

    StoredCodes stored_;
    unsigned steps_;
    DeviceArray<uint32_t> rows_, values_;
    DeviceArray<ByteTerms> terms_;
};

}  // namespace nearcell::gpu
