// Weights: the tensors of a safetensors file, the only format of weights that is read: a header of
// JSON, then plain little-endian numbers, nothing that could be code. The header is checked against
// the format's rules and the file's length before anything is allocated by it: sizes that fit the
// shapes, no hole, no overlap, no byte left over, no name twice. Floats of 16 bits become float32.
// Cost: the file is read once, at the speed of the disk; memory: four bytes a float. Thread safety:
// an open Weights is immutable; copies share the values.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nearcell {

class InputFile;

constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;
constexpr size_t kMaxTensorRank = 8;

struct Tensor {
    std::string type;               // as in the file: F32, F16, BF16, or one that is not read
    std::vector<uint64_t> shape;    // empty for a single number
    std::span<const float> values;  // row-major; empty for types that are not read
    bool readable() const { return type == "F32" || type == "F16" || type == "BF16"; }
};

class Weights {
   public:
    using Tensors = std::map<std::string, Tensor, std::less<>>;
    using Metadata = std::map<std::string, std::string, std::less<>>;

    // Throws NotFound, Io, Corrupt (naming what is wrong) or Unsupported (an unknown type of
    // number, more than kMaxTensorRank dimensions). Tensors of integers, float64 and the like are
    // listed with their shape, and only get() refuses them: counters of training are in many files.
    static Weights open(const std::string& path);
    static Weights open(const InputFile& file);

    const std::string& path() const { return path_; }
    bool has(std::string_view name) const { return tensors_->contains(name); }
    const Tensors& tensors() const { return *tensors_; }

    // Valid as long as a copy of this Weights lives. Throws NotFound for an unknown name,
    // Unsupported for a type that is not read, Corrupt when the shape is another one.
    const Tensor& get(std::string_view name) const;
    const Tensor& get(std::string_view name, std::span<const uint64_t> shape) const;

    // The file's own remarks; metadata() throws NotFound for an unknown key.
    bool has_metadata(std::string_view key) const { return metadata_.contains(key); }
    const std::string& metadata(std::string_view key) const;

   private:
    Weights() = default;
    std::string path_;
    std::shared_ptr<const void> values_;
    std::shared_ptr<const Tensors> tensors_;
    Metadata metadata_;
};

}  // namespace nearcell
