#include "elements.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <nearcell/core/half.h>

namespace nearcell::cli {
namespace {

constexpr size_t kRowsAtOnce = 4096;

// A whole number as T; false when it is not one or T cannot hold it.
template <class T>
bool store_whole(float value, uint8_t* out) {
    const bool fits = value >= static_cast<float>(std::numeric_limits<T>::min()) &&
                      value <= static_cast<float>(std::numeric_limits<T>::max());
    if (!fits || value != std::floor(value)) return false;
    const T stored = static_cast<T>(value);
    std::memcpy(out, &stored, sizeof stored);
    return true;
}

bool store_half(float value, uint16_t bits, float back, uint8_t* out) {
    std::memcpy(out, &bits, sizeof bits);
    return std::isfinite(back) || !std::isfinite(value);
}

// False when the type cannot hold the value.
bool store(float value, ElementType type, uint8_t* out) {
    switch (type) {
        case ElementType::Float32: std::memcpy(out, &value, sizeof value); return true;
        case ElementType::Float16: {
            const uint16_t bits = float16_from_float(value);
            return store_half(value, bits, float_from_float16(bits), out);
        }
        case ElementType::BFloat16: {
            const uint16_t bits = bfloat16_from_float(value);
            return store_half(value, bits, float_from_bfloat16(bits), out);
        }
        case ElementType::Int8: return store_whole<int8_t>(value, out);
        case ElementType::UInt8: return store_whole<uint8_t>(value, out);
    }
    return false;
}

// Calls use(row, values) for each row, converted to float32.
template <class Use>
void for_each_row(const Vectors& from, const Progress& progress, const Use& use) {
    std::vector<float> rows(std::min(kRowsAtOnce, from.rows) * from.cols);
    for (size_t first = 0; first < from.rows; first += kRowsAtOnce) {
        report(progress, "convert", static_cast<double>(first), static_cast<double>(from.rows));
        const size_t count = std::min(kRowsAtOnce, from.rows - first);
        read_rows(from, first, {rows.data(), count, from.cols});
        for (size_t i = 0; i < count; ++i)
            use(first + i, rows.data() + i * from.cols);
    }
}

}  // namespace

VectorData convert_elements(const Vectors& from, ElementType type, const Progress& progress) {
    VectorData to{AlignedBuffer<uint8_t>(from.rows * from.cols * element_size(type)), type,
                  from.rows, from.cols};
    uint8_t* out = to.bytes.mutable_data();
    for_each_row(from, progress, [&](size_t row, const float* values) {
        for (size_t col = 0; col < from.cols; ++col, out += element_size(type)) {
            check(store(values[col], type, out), StatusCode::InvalidArgument, "value ", values[col],
                  " at row ", row, ", column ", col, " cannot be stored as ", element_name(type),
                  "; choose another --type, or scale the data first");
        }
    });
    return to;
}

VectorData vectors_from_ids(const IdData& ids, ElementType type, const Progress& progress) {
    std::vector<float> values(ids.values.size());
    for (size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<float>(ids.values[i]);
        check(values[i] < 0x1p63f && static_cast<int64_t>(values[i]) == ids.values[i],
              StatusCode::InvalidArgument, "value ", ids.values[i], " at row ", i / ids.cols,
              ", column ", i % ids.cols, " is not exact in float32; keep an integer format");
    }
    return convert_elements(Vectors(MatrixView<const float>(values.data(), ids.rows, ids.cols)),
                            type, progress);
}

IdData ids_from_vectors(const Vectors& from, const Progress& progress) {
    IdData ids{{}, from.rows, from.cols};
    ids.values.reserve(from.rows * from.cols);
    for_each_row(from, progress, [&](size_t row, const float* values) {
        for (size_t col = 0; col < from.cols; ++col) {
            const float value = values[col];
            check(value == std::floor(value) && std::fabs(value) < 0x1p31f,
                  StatusCode::InvalidArgument, "value ", value, " at row ", row, ", column ", col,
                  " is not an int32; choose a format for fractions, such as .fvecs or .fbin");
            ids.values.push_back(static_cast<int64_t>(value));
        }
    });
    return ids;
}

}  // namespace nearcell::cli
