// What a target needs of libFuzzer: its mutations, of which every other one is repaired.
#include "fuzz_target.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
    const size_t fresh = LLVMFuzzerMutate(data, size, most);
    if (seed % 2 == 0) return fresh;
    nearcell::fuzz::Bytes bytes(data, data + fresh);
    nearcell::fuzz::repair(bytes);
    bytes.resize(std::min(bytes.size(), most));
    std::copy(bytes.begin(), bytes.end(), data);
    return bytes.size();
}
