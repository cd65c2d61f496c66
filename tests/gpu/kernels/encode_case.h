// What the tests of encoding on a device share: rows with everything that codecs treat apart, and
// their codes by the codec on the host.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/quantize/codec.h>
#include <nearcell/gpu/kernels/encode_rows.cuh>

#include "gpu/simt/support.h"
#include "kernels/backend_case.h"

namespace nearcell::gpu {

using checks::Matrix;
using simt::DeviceArray;
using Codes = std::vector<uint32_t>;

// Among random rows: zeros, both of them; subnormal numbers; large ones; all values equal; one
// value alone; values half-way between steps.
inline Matrix mixed_rows(size_t rows, size_t dim, Random& random, size_t gap = 0) {
    Matrix x(rows, dim, random, 0, gap);
    for (size_t i = 0; i < rows; ++i) {
        float* const row = x.row(i);
        switch (i % 10) {
            case 0: std::fill_n(row, dim, i % 20 == 0 ? 0.0f : -0.0f); break;
            case 1:
                for (size_t j = 0; j < dim; ++j)
                    row[j] *= 0x1p-130f;
                break;
            case 2:
                for (size_t j = 0; j < dim; ++j)
                    row[j] *= 10000.0f;
                break;
            case 3: std::fill_n(row, dim, row[0]); break;
            case 4:
                std::fill_n(row, dim, 0.0f);
                row[i % dim] = -1.5f;
                break;
            case 5:
                for (size_t j = 0; j < dim; ++j)
                    row[j] = 0.5f * static_cast<float>(random.below(9)) - 2.0f;
                break;
            default: break;
        }
    }
    return x;
}

// Rows, and where wanted labels and centroids, on the device.
class RowsCase {
   public:
    // centroids: of no rows where rows are coded as they are.
    RowsCase(const Matrix& x, const Matrix& centroids, Random& random)
        : x_(x), centroids_(centroids), device_x_(x.data), device_centroids_(filled(centroids)) {
        for (size_t i = 0; i < x.rows; ++i)
            labels_.push_back(static_cast<unsigned>(random.below(centroids.rows + 1)) %
                              static_cast<unsigned>(std::max<size_t>(1, centroids.rows)));
        device_labels_ = std::make_unique<DeviceArray<unsigned>>(labels_);
    }

    CodedRows rows() const {
        return {operand(device_x_, x_), centroids_.rows == 0 ? nullptr : device_labels_->data(),
                operand(device_centroids_, centroids_)};
    }
    // What is coded.
    Matrix coded() const {
        Matrix result(x_.rows, x_.cols);
        for (size_t i = 0; i < x_.rows; ++i) {
            for (size_t j = 0; j < x_.cols; ++j) {
                const float value = x_.row(i)[j];
                result.row(i)[j] =
                    centroids_.rows == 0 ? value : value - centroids_.row(labels_[i])[j];
            }
        }
        return result;
    }

   private:
    static std::vector<float> filled(const Matrix& matrix) {
        return matrix.data.empty() ? std::vector<float>(1) : matrix.data;
    }
    static RowOperand operand(const DeviceArray<float>& values, const Matrix& matrix) {
        return {values.data(), matrix.stride, static_cast<unsigned>(matrix.rows),
                static_cast<unsigned>(matrix.cols)};
    }

    const Matrix x_, centroids_;
    std::vector<unsigned> labels_;
    DeviceArray<float> device_x_, device_centroids_;
    std::unique_ptr<DeviceArray<unsigned>> device_labels_;
};

// Where a kernel writes; not zero before, as memory is.
class CodesCase {
   public:
    CodesCase(size_t rows, size_t words)
        : words_(words), codes_(rows * words, 0xa5a5a5a5u), misfits_(1, 0u) {}
    CodeOutput output() const {
        return {codes_.data(), static_cast<unsigned>(words_), misfits_.data()};
    }
    Codes codes() const { return codes_.to_host(); }
    bool fits() const { return misfits_.to_host()[0] == 0; }

   private:
    size_t words_;
    DeviceArray<uint32_t> codes_;
    DeviceArray<unsigned> misfits_;
};

inline Codes host_codes(const Codec& codec, const Matrix& x) {
    Codes codes(x.rows * codec.code_words(), 0xffffffffu);
    codec.encode(x.view(), codes.data(), 1, cpu_backend());
    return codes;
}

}  // namespace nearcell::gpu
