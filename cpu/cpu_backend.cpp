#include <nearcell/cpu/cpu_backend.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include <nearcell/core/parallel.h>
#include <nearcell/cpu/isa_select.h>

namespace nearcell {
namespace {

constexpr size_t kTaskRows = 192;           // rows a task of a product: a multiple of 16, 6, 4, 2
constexpr size_t kTileRows = 12;            // a multiple of every tile's queries
constexpr size_t kGroupFloats = 64 * 1024;  // floats of the other side kept in L2 meanwhile

std::vector<const float*> row_pointers(MatrixView<const float> x, size_t first, size_t count) {
    std::vector<const float*> pointers(count);
    for (size_t i = 0; i < count; ++i)
        pointers[i] = x.row(first + i);
    return pointers;
}

// Blocks to take at a time so that they stay in cache while all rows of a task pass.
size_t group_blocks(size_t dim) {
    return std::max<size_t>(4, kGroupFloats / (dim * kBlock) / 4 * 4);
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
          pointers_(row_pointers(rows, 0, rows.rows)),
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
        const size_t group = std::max<size_t>(kTileRows, kGroupFloats / d / kTileRows * kTileRows);
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

std::string CpuBackend::describe() const {
    return std::string("cpu ") + kernels_.isa + " (" + executor_name() + ")";
}

PairKernel* CpuBackend::pair_kernel(Metric metric) const {
    if (is_similarity(metric)) return kernels_.ip_f32;
    return metric == Metric::L1 ? kernels_.l1_f32 : kernels_.l2_f32;
}

void CpuBackend::scores(MatrixView<const float> queries, const FloatBlocks& blocks, Metric metric,
                        MatrixView<float> out, int threads) const {
    ScoresKernel* kernel = is_similarity(metric)  ? kernels_.scores_ip_f32
                           : metric == Metric::L1 ? kernels_.scores_l1_f32
                                                  : kernels_.scores_l2_f32;
    const size_t group = group_blocks(blocks.dim());
    parallel_for((queries.rows + kTaskRows - 1) / kTaskRows, threads, [&](size_t task, int) {
        const size_t first = task * kTaskRows, count = std::min(kTaskRows, queries.rows - first);
        const std::vector<const float*> pointers = row_pointers(queries, first, count);
        for (size_t b = 0; b * kBlock < blocks.rows(); b += group) {
            const size_t rows = std::min(group * kBlock, blocks.rows() - b * kBlock);
            kernel(blocks.block(b), rows, blocks.dim(), pointers.data(), count,
                   out.row(first) + b * kBlock, out.stride);
        }
    });
}

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

void CpuBackend::nearest(MatrixView<const float> queries, const FloatBlocks& blocks, Metric metric,
                         size_t count, uint32_t* rows, float* keys, int threads) const {
    const CellView cell{reinterpret_cast<const uint8_t*>(blocks.data()), nullptr, blocks.rows(),
                        nullptr, nullptr};
    const std::vector<uint32_t> probes(queries.rows, 0);
    ScanJob job;
    job.queries = queries;
    job.metric = metric;
    job.code.dim = job.code.words = blocks.dim();
    job.cells = {&cell, 1};
    job.probes = probes.data();
    job.probe_count = 1;
    job.plan.queries_per_task = std::min<size_t>(kTaskRows, std::max<size_t>(1, queries.rows));
    job.threads = threads;
    std::vector<TopK> best(queries.rows, TopK(count));
    scan_cells(job, best);
    parallel_for((queries.rows + 255) / 256, threads, [&](size_t task, int) {
        for (size_t q = task * 256; q < std::min(queries.rows, (task + 1) * 256); ++q) {
            const std::vector<Candidate>& sorted = best[q].sorted();
            for (size_t i = 0; i < count; ++i) {
                const bool found = i < sorted.size();  // not so only where keys are not finite
                rows[q * count + i] = found ? sorted[i].slot : static_cast<uint32_t>(i);
                keys[q * count + i] = found ? sorted[i].key : std::numeric_limits<float>::max();
            }
        }
    });
}

RerankCounts CpuBackend::rerank(const RerankJob& job,
                                std::span<std::vector<Candidate>> candidates) const {
    PairKernel* const key_of = pair_kernel(job.metric);
    const size_t words = job.code.words;
    const bool plain = job.code.kind == CodeKind::Float32;
    std::vector<RerankCounts> counts(candidates.size());
    parallel_for(candidates.size(), job.threads, [&](size_t q, int) {
        std::vector<Candidate>& list = candidates[q];
        const auto row_of = [&](const Candidate& c) {
            return job.cell_rows[c.cell] + c.slot * words;
        };
        TopK best(job.k == 0 ? list.size() : job.k);
        std::vector<float> decoded(plain ? 0 : job.code.dim);
        size_t kept = 0;
        for (size_t i = 0; i < list.size(); ++i) {
            if (i + 4 < list.size()) {  // the next rows are scattered: ask for them early
                const char* ahead = reinterpret_cast<const char*>(row_of(list[i + 4]));
                for (size_t b = 0; b < std::min<size_t>(words * 4, 1024); b += 64) {
                    __builtin_prefetch(ahead + b);
                    __atomic_signal_fence(__ATOMIC_SEQ_CST);  // else g++ 12 keeps only one of them
                }
            }
            Candidate candidate = list[i];
            const bool bounded = job.k != 0 && candidate.lower < candidate.key;
            if (bounded && kept >= job.k && candidate.lower > best.threshold()) {
                ++counts[q].skipped;
                continue;
            }
            const float* row = reinterpret_cast<const float*>(row_of(candidate));
            if (!plain) {
                decode_rows(job.code, row_of(candidate), 1, {decoded.data(), 1, job.code.dim});
                row = decoded.data();
            }
            candidate.key = candidate.lower = key_of(job.queries.row(q), row, job.code.dim);
            best.push(candidate);
            if (++kept >= job.k && bounded) best.cut();  // the next bound needs the true threshold
            ++counts[q].scored;
        }
        list = best.sorted();
    });
    RerankCounts total;
    for (const RerankCounts& count : counts) {
        total.scored += count.scored;
        total.skipped += count.skipped;
    }
    return total;
}

void CpuBackend::decode_rows(const CodeView& code, const uint32_t* rows, size_t count,
                             MatrixView<float> out) const {
    std::vector<uint32_t> block(code.words * kBlock, 0);
    std::vector<float> values(code.dim * kBlock);
    DecodeKernel* const decode = decode_kernel(kernels_, code.kind);
    for (size_t first = 0; first < count; first += kBlock) {
        const size_t lanes = std::min(kBlock, count - first);
        for (size_t v = 0; v < lanes; ++v) {
            const uint32_t* row = rows + (first + v) * code.words;
            for (size_t w = 0; w < code.words; ++w)
                block[w * kBlock + v] = row[w];
        }
        decode(&code, block.data(), nullptr, values.data());
        for (size_t v = 0; v < lanes; ++v) {
            float* row = out.row(first + v);
            for (size_t j = 0; j < code.dim; ++j)
                row[j] = values[j * kBlock + v];
        }
    }
}

Backend& cpu_backend() {
    static CpuBackend backend = [] {
        const char* isa = std::getenv("NEARCELL_ISA");
        return CpuBackend(select_kernels(isa == nullptr ? "" : isa));
    }();
    return backend;
}

std::vector<std::string> cpu_instruction_sets() {
    std::vector<std::string> names;
    for (const KernelTable* table : runnable_tables())
        names.emplace_back(table->isa);
    return names;
}

}  // namespace nearcell
