// Containers for tests: one of every element type, in a few kinds that differ in size and shape.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/storage/container.h>

namespace nearcell {

inline std::vector<uint8_t> random_bytes(size_t size, uint64_t seed) {
    Random random(seed);
    std::vector<uint8_t> bytes(size);
    for (uint8_t& byte : bytes)
        byte = static_cast<uint8_t>(random.next());
    return bytes;
}

// The data behind a sample writer, which does not copy it.
struct SampleContainer {
    std::vector<uint8_t> codes, floats, ids, halves, counts;
    ContainerWriter writer{"sample"};

    explicit SampleContainer(size_t rows, uint64_t seed = 1)
        : codes(random_bytes(rows * 7, seed)),
          floats(random_bytes(rows * 3 * 4, seed + 1)),
          ids(random_bytes(rows * 8, seed + 2)),
          halves(random_bytes(rows * 2, seed + 3)),
          counts(random_bytes(5 * 4, seed + 4)) {
        writer.add_text("options", "dim 7\nmetric l2\nseed " + std::to_string(seed) + "\n");
        writer.add("codes", SectionType::U8, rows, 7, codes.data());
        writer.add("cells.floats", SectionType::F32, rows, 3, floats.data());
        writer.add("empty", SectionType::F64, 0, 784, nullptr);
        writer.add("ids", SectionType::I64, rows, 1, ids.data());
        writer.add("halves_16", SectionType::U16, rows, 1, halves.data());
        writer.add("counts", SectionType::U32, 1, 5, counts.data());
    }
};

}  // namespace nearcell
