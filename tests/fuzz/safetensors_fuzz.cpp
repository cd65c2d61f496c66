// Weights::open: a length, JSON, numbers.
#include <cstring>

#include <nearcell/extract/safetensors.h>

#include "fuzz_target.h"
#include "memory_file.h"

namespace nearcell::fuzz {
namespace {

constexpr size_t kLengthBytes = 8;

Bytes file_of(std::string_view json, size_t data_bytes) {
    Bytes bytes(kLengthBytes);
    const uint64_t length = json.size();
    std::memcpy(bytes.data(), &length, sizeof length);
    bytes.insert(bytes.end(), json.begin(), json.end());
    for (size_t i = 0; i < data_bytes; ++i)
        bytes.push_back(static_cast<uint8_t>(i * 37));
    return bytes;
}

}  // namespace

std::vector<Bytes> seeds() {
    return {
        file_of(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24),
        file_of(R"({"__metadata__":{"made":"by \u00e9 test"},"w":{"dtype":"F16","shape":[3],)"
                R"("data_offsets":[0,6]},"b":{"dtype":"BF16","shape":[],"data_offsets":[6,8]}}  )",
                8),
        file_of(
            R"({"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"e":{"dtype":"F32",)"
            R"("shape":[0,4],"data_offsets":[8,8]},"u":{"dtype":"U8","shape":[1,1,2],)"
            R"("data_offsets":[8,10]},"o":{"dtype":"BOOL","shape":[2],"data_offsets":[10,12]}})",
            12),
        file_of("{}", 0),
        file_of(R"({"x":{"dtype":"F64","shape":[1e1],"data_offsets":[0,-8]},"y":[null,true]})", 8),
    };
}

// The header is as long as the JSON that is there now.
void repair(Bytes& bytes) {
    if (bytes.size() < kLengthBytes) return;
    uint64_t length = bytes.size() - kLengthBytes;
    while (length > 0 && bytes[kLengthBytes + length - 1] != '}')
        --length;
    std::memcpy(bytes.data(), &length, sizeof length);
}

}  // namespace nearcell::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nearcell;
    static fuzz::MemoryFile file;
    file.set(data, size);
    fuzz::read([&] {
        const Weights weights = Weights::open(file.path());
        float sum = 0;
        for (const auto& [name, tensor] : weights.tensors()) {
            for (const float value : tensor.values)
                sum += value;
            fuzz::require(tensor.values.size() * 2 <= size);
            if (tensor.readable()) weights.get(name, tensor.shape);
        }
        volatile float keep = sum;
        (void)keep;
    });
    return 0;
}
