// Backend::assign: the nearest of some rows for each vector, by a blocked matrix product.
#include <algorithm>
#include <cmath>
#include <limits>

#include <nearcell/core/parallel.h>
#include <nearcell/cpu/cpu_backend.h>

namespace nearcell {
namespace {

constexpr size_t kTaskRows = 192;       // vectors a task: a multiple of a block
constexpr size_t kTileRows = 12;        // a multiple of every tile's rows
constexpr size_t kRowFloats = 1 << 16;  // of the rows, kept in L2 while a task's vectors pass

std::vector<const float*> row_pointers(MatrixView<const float> x) {
    std::vector<const float*> pointers(x.rows);
    for (size_t i = 0; i < x.rows; ++i)
        pointers[i] = x.row(i);
    return pointers;
}

// Up to this dimension the direct computation of distances costs less than what a matrix product
// needs around it: centring, norms and second looks.
constexpr size_t kDirectDims = 16;

// Assigning rows of x to the nearest of some rows. Distances are a matrix product over data moved
// by the mean of the rows (which L2 does not see, but rounding does) with a second, direct look
// where two rows are too close to tell apart; small dimensions are computed directly at once.
class Assigner {
   public:
    Assigner(MatrixView<const float> rows, Metric metric, const KernelTable& kernels)
        : rows_(rows),
          kernels_(kernels),
          direct_(!is_similarity(metric) && rows.cols <= kDirectDims),
          scale_(is_similarity(metric) ? -1.0f : -2.0f),
          pointers_(row_pointers(rows)),
          operand_(pointers_),
          bias_(rows.rows, 0.0f) {
        if (!direct_ && !is_similarity(metric)) center();
    }

    // labels[i] for each row of x, which are at most kTaskRows.
    void assign(MatrixView<const float> x, uint32_t* labels) const {
        const size_t d = rows_.cols, block_count = blocks_for(x.rows);
        const float* offset = center_.empty() ? nullptr : center_.data();
        std::vector<float> blocks(block_count * d * kBlock);
        for (size_t b = 0; b < block_count; ++b)
            pack_block(block_of(x, b), offset, blocks.data() + b * d * kBlock);
        std::vector<Nearest> nearest(block_count, nothing());
        const size_t group = std::max<size_t>(kTileRows, kRowFloats / d / kTileRows * kTileRows);
        AssignKernel* const kernel = direct_ ? kernels_.assign_l2_f32 : kernels_.assign_dot_f32;
        for (size_t r = 0; r < rows_.rows; r += group) {
            kernel(blocks.data(), block_count, d, operand_.data() + r,
                   std::min(group, rows_.rows - r), bias_.data() + r, scale_,
                   static_cast<uint32_t>(r), nearest.data());
        }
        std::vector<size_t> doubtful;
        for (size_t b = 0; b < block_count; ++b) {
            const unsigned clear =
                center_.empty() ? 0xffff : clear_lanes(blocks.data() + b * d * kBlock, nearest[b]);
            for (size_t i = b * kBlock; i < std::min(x.rows, (b + 1) * kBlock); ++i) {
                labels[i] = label_of(nearest[b], i % kBlock);
                if ((clear >> i % kBlock & 1) == 0) doubtful.push_back(i);
            }
        }
        for (size_t i = 0; i < doubtful.size(); i += kBlock)
            look_directly(x, {doubtful.data() + i, std::min(kBlock, doubtful.size() - i)}, labels);
    }

   private:
    static Nearest nothing() {
        Nearest nearest;
        std::fill_n(nearest.best, kBlock, std::numeric_limits<float>::infinity());
        std::fill_n(nearest.second, kBlock, std::numeric_limits<float>::infinity());
        std::fill_n(nearest.row, kBlock, UINT32_MAX);
        return nearest;
    }

    static MatrixView<const float> block_of(MatrixView<const float> x, size_t b) {
        return x.slice(b * kBlock, std::min(kBlock, x.rows - b * kBlock));
    }

    void center() {
        const size_t n = rows_.rows, d = rows_.cols;
        std::vector<double> sum(d, 0.0);
        for (size_t i = 0; i < n; ++i) {
            for (size_t j = 0; j < d; ++j)
                sum[j] += static_cast<double>(rows_.row(i)[j]);
        }
        center_.resize(d);
        for (size_t j = 0; j < d; ++j)
            center_[j] = static_cast<float>(sum[j] / static_cast<double>(n));
        centred_rows_.resize(n * d);
        for (size_t i = 0; i < n; ++i) {
            float* row = centred_rows_.data() + i * d;
            for (size_t j = 0; j < d; ++j)
                row[j] = rows_.row(i)[j] - center_[j];
            operand_[i] = row;
            bias_[i] = -kernels_.ip_f32(row, row, d);
            largest_norm_ = std::max(largest_norm_, std::sqrt(static_cast<double>(bias_[i])));
        }
    }

    // The lanes of a packed block whose two best keys differ by more than twice what rounding can
    // do to a key of the product and to a direct one.
    unsigned clear_lanes(const float* block, const Nearest& nearest) const {
        const size_t d = rows_.cols;
        float square[kBlock] = {};
        for (size_t j = 0; j < d; ++j) {
            for (size_t lane = 0; lane < kBlock; ++lane)
                square[lane] += block[j * kBlock + lane] * block[j * kBlock + lane];
        }
        const double rounding = 2.0 * static_cast<double>(d + 9) * 0x1p-24;
        unsigned clear = 0;
        for (size_t lane = 0; lane < kBlock; ++lane) {
            const double reach = std::sqrt(static_cast<double>(square[lane])) + largest_norm_;
            const double gap =
                static_cast<double>(nearest.second[lane]) - static_cast<double>(nearest.best[lane]);
            if (gap > rounding * reach * reach) clear |= 1u << lane;
        }
        return clear;
    }

    // No row at all where every key is infinite or NaN.
    static uint32_t label_of(const Nearest& nearest, size_t lane) {
        return nearest.row[lane] == UINT32_MAX ? 0 : nearest.row[lane];
    }

    void look_directly(MatrixView<const float> x, std::span<const size_t> which,
                       uint32_t* labels) const {
        const size_t d = rows_.cols;
        std::vector<float> copy(which.size() * d), block(d * kBlock);
        for (size_t i = 0; i < which.size(); ++i)
            std::copy_n(x.row(which[i]), d, copy.data() + i * d);
        pack_block({copy.data(), which.size(), d}, nullptr, block.data());
        Nearest nearest = nothing();
        kernels_.assign_l2_f32(block.data(), 1, d, pointers_.data(), rows_.rows, nullptr, 0, 0,
                               &nearest);
        for (size_t i = 0; i < which.size(); ++i)
            labels[which[i]] = label_of(nearest, i);
    }

    MatrixView<const float> rows_;
    const KernelTable& kernels_;
    bool direct_;
    float scale_;
    std::vector<const float*> pointers_;  // the rows
    std::vector<const float*> operand_;   // what is multiplied with: the rows, or centred_rows_
    std::vector<float> bias_;             // completes the key of a product
    std::vector<float> center_, centred_rows_;  // empty where nothing is moved
    double largest_norm_ = 0;                   // of a centred row
};

}  // namespace

void CpuBackend::assign(MatrixView<const float> x, MatrixView<const float> rows, Metric metric,
                        uint32_t* labels, float* keys, int threads) const {
    if (x.rows == 0 || rows.rows == 0) return;
    const Assigner assigner(rows, metric, kernels_);
    PairKernel* const key_of = pair_kernel(is_similarity(metric) ? metric : Metric::L2);
    parallel_for((x.rows + kTaskRows - 1) / kTaskRows, threads, [&](size_t task, int) {
        const size_t first = task * kTaskRows, count = std::min(kTaskRows, x.rows - first);
        assigner.assign(x.slice(first, count), labels + first);
        for (size_t i = first; keys != nullptr && i < first + count; ++i)
            keys[i] = key_of(x.row(i), rows.row(labels[i]), rows.cols);
    });
}

}  // namespace nearcell
