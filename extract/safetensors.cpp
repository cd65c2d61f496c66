#include <nearcell/extract/safetensors.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include <nearcell/core/aligned_buffer.h>
#include <nearcell/core/error.h>
#include <nearcell/core/half.h>
#include <nearcell/extract/safetensors_header.h>
#include <nearcell/storage/input_file.h>

namespace nearcell {
namespace {

static_assert(std::endian::native == std::endian::little, "files hold little-endian numbers");

// Fills `out` with the floats of a tensor whose first byte is at `offset` of the file.
void read_values(const InputFile& file, uint64_t offset, std::string_view type,
                 std::span<float> out) {
    if (type == "F32") {
        file.read_at(offset, out.data(), out.size_bytes(), "a tensor");
        return;
    }
    const bool brain = type == "BF16";
    std::vector<uint16_t> piece(std::min<size_t>(out.size(), 65536));
    for (size_t done = 0; done < out.size(); done += piece.size()) {
        piece.resize(std::min(piece.size(), out.size() - done));
        file.read_at(offset + done * 2, piece.data(), piece.size() * 2, "a tensor");
        for (size_t i = 0; i < piece.size(); ++i) {
            out[done + i] = brain ? float_from_bfloat16(piece[i]) : float_from_float16(piece[i]);
        }
    }
}

}  // namespace

Weights Weights::open(const std::string& path) { return open(InputFile(path)); }

Weights Weights::open(const InputFile& file) {
    const std::string& path = file.path();
    uint8_t length_bytes[8];
    file.read_at(0, length_bytes, sizeof length_bytes, "the header of a safetensors file");
    const auto length = std::bit_cast<uint64_t>(length_bytes);
    const uint64_t rest = file.bytes() - sizeof length_bytes;
    check(length <= kMaxSafetensorsHeader && length <= rest, StatusCode::Corrupt, path,
          ": a header of ", length, " bytes, of ", rest, " there are; at most ",
          kMaxSafetensorsHeader,
          " are read: this is not a safetensors file, or it is truncated; get it again");
    std::string json(length, '\0');
    file.read_at(sizeof length_bytes, json.data(), json.size(), "the header");
    SafetensorsHeader header = parse_safetensors_header(json, rest - length, path);
    json = {};

    Tensors tensors;
    uint64_t floats = 0;  // each tensor begins on a 64-byte line
    constexpr uint64_t kLine = 64 / sizeof(float);
    for (const TensorEntry& entry : header.tensors) {
        Tensor tensor{entry.type, entry.shape, {}};
        if (tensor.readable()) floats += (entry.elements + kLine - 1) / kLine * kLine;
        tensors.emplace(entry.name, std::move(tensor));
    }
    const auto values = std::make_shared<AlignedBuffer<float>>(floats);
    float* next = values->mutable_data();
    for (const TensorEntry& entry : header.tensors) {
        Tensor& tensor = tensors.find(entry.name)->second;
        if (!tensor.readable()) continue;
        const std::span<float> out{next, entry.elements};
        read_values(file, sizeof length_bytes + length + entry.begin, entry.type, out);
        tensor.values = out;
        next += (entry.elements + kLine - 1) / kLine * kLine;
    }
    Weights weights;
    weights.path_ = path;
    weights.values_ = values;
    weights.tensors_ = std::make_shared<const Tensors>(std::move(tensors));
    weights.metadata_ = std::move(header.metadata);
    return weights;
}

const Tensor& Weights::get(std::string_view name) const {
    const auto found = tensors_->find(name);
    check(found != tensors_->end(), StatusCode::NotFound, path_, ": has no tensor ",
          shown_name(name), " among its ", tensors_->size(), "; it is for another network");
    check(found->second.readable(), StatusCode::Unsupported, path_, ": tensor ", shown_name(name),
          " is of type ", found->second.type, "; save it as F32, F16 or BF16");
    return found->second;
}

const Tensor& Weights::get(std::string_view name, std::span<const uint64_t> shape) const {
    const Tensor& tensor = get(name);
    check(std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end()),
          StatusCode::Corrupt, path_, ": tensor ", shown_name(name), " has shape ",
          shown_shape(tensor.shape), ", must have ", shown_shape({shape.begin(), shape.end()}),
          "; it is for another network");
    // Networks clamp, and a clamped NaN is a number: features would be wrong, and nothing said.
    const auto bad = std::find_if(tensor.values.begin(), tensor.values.end(),
                                  [](float value) { return !std::isfinite(value); });
    check(bad == tensor.values.end(), StatusCode::Corrupt, path_, ": tensor ", shown_name(name),
          " has ", bad == tensor.values.end() ? 0.0f : *bad, " at ", bad - tensor.values.begin(),
          "; get the file again");
    return tensor;
}

const std::string& Weights::metadata(std::string_view key) const {
    const auto found = metadata_.find(key);
    check(found != metadata_.end(), StatusCode::NotFound, path_, ": has no metadata ",
          shown_name(key));
    return found->second;
}

}  // namespace nearcell
