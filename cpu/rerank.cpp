// Backend::rerank and decode_rows: what works on rows that lie anywhere, one code each.
#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include <nearcell/core/parallel.h>
#include <nearcell/cpu/cpu_backend.h>
#include <nearcell/cpu/prefetch.h>
#include <nearcell/kernels/transpose.h>

namespace nearcell {
namespace {

constexpr size_t kAhead = 4;  // candidates between asking for a row and reading it

// Decodes rows sixteen at a time: as the lanes of a block, which is what there are kernels for.
class RowDecoder {
   public:
    RowDecoder(const CodeView& code, const KernelTable& kernels)
        : code_(code),
          decode_(decode_kernel(kernels, code.kind)),
          block_(code.words * kBlock, 0),
          lanes_(code.dim * kBlock) {}

    // Row i, of code.words words, to out.row(i); at most sixteen.
    void decode(std::span<const uint32_t* const> rows, MatrixView<float> out) {
        const size_t words = code_.words, d = code_.dim, fours = rows.size() / 4 * 4;
        size_t w = 0;
        for (; w + 4 <= words; w += 4) {
            for (size_t v = 0; v < fours; v += 4) {
                const Four<uint32_t> four[4] = {load_four(rows[v] + w), load_four(rows[v + 1] + w),
                                                load_four(rows[v + 2] + w),
                                                load_four(rows[v + 3] + w)};
                store_transposed<uint32_t>(four, block_.data() + w * kBlock + v);
            }
        }
        for (size_t v = 0; v < rows.size(); ++v) {
            for (size_t rest = v < fours ? w : 0; rest < words; ++rest)
                block_[rest * kBlock + v] = rows[v][rest];
        }
        decode_(&code_, block_.data(), nullptr, lanes_.data());
        size_t j = 0;
        for (; j + 4 <= d; j += 4) {
            const float* lanes = lanes_.data() + j * kBlock;
            for (size_t v = 0; v < fours; v += 4) {
                const Four<float> four[4] = {load_four(lanes + v), load_four(lanes + kBlock + v),
                                             load_four(lanes + 2 * kBlock + v),
                                             load_four(lanes + 3 * kBlock + v)};
                store_transposed<float>(four, out.row(v) + j, out.stride);
            }
        }
        for (size_t v = 0; v < rows.size(); ++v) {
            for (size_t rest = v < fours ? j : 0; rest < d; ++rest)
                out.row(v)[rest] = lanes_[rest * kBlock + v];
        }
    }

   private:
    const CodeView& code_;
    DecodeKernel* decode_;
    std::vector<uint32_t> block_;
    std::vector<float> lanes_;
};

}  // namespace

RerankCounts CpuBackend::rerank(const RerankJob& job,
                                std::span<std::vector<Candidate>> candidates) const {
    PairKernel* const key_of = pair_kernel(job.metric);
    const size_t words = job.code.words, d = job.code.dim;
    const bool plain = job.code.kind == CodeKind::Float32;
    // Coded rows are decoded together, by the threshold there is before them.
    const size_t group = plain ? 1 : kBlock, ahead = std::max(kAhead, group);
    std::vector<RerankCounts> counts(candidates.size());
    parallel_for(candidates.size(), job.threads, [&](size_t q, int) {
        std::vector<Candidate>& list = candidates[q];
        const auto row_of = [&](const Candidate& c) {
            return job.cell_rows[c.cell] + c.slot * words;
        };
        TopK best(job.k == 0 ? list.size() : job.k);
        std::optional<RowDecoder> decoder;
        if (!plain) decoder.emplace(job.code, kernels_);
        std::vector<float> decoded(plain ? 0 : group * d);
        size_t kept = 0;
        for (size_t first = 0; first < list.size(); first += group) {
            const uint32_t* rows[kBlock];
            Candidate* chosen[kBlock];
            size_t count = 0;
            for (size_t i = first; i < std::min(list.size(), first + group); ++i) {
                if (i + ahead < list.size()) prefetch_row(row_of(list[i + ahead]), words);
                const bool bounded = job.k != 0 && list[i].lower < list[i].key;
                if (bounded && kept >= job.k && list[i].lower > best.threshold()) {
                    ++counts[q].skipped;
                    continue;
                }
                rows[count] = row_of(list[i]);
                chosen[count++] = &list[i];
            }
            if (decoder) decoder->decode({rows, count}, {decoded.data(), count, d});
            for (size_t i = 0; i < count; ++i) {
                const float* row =
                    plain ? reinterpret_cast<const float*>(rows[i]) : decoded.data() + i * d;
                Candidate candidate = *chosen[i];
                candidate.key = candidate.lower = key_of(job.queries.row(q), row, d);
                best.push(candidate);
            }
            kept += count;
            counts[q].scored += count;
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
    RowDecoder decoder(code, kernels_);
    for (size_t first = 0; first < count; first += kBlock) {
        const size_t lanes = std::min(kBlock, count - first);
        const uint32_t* pointers[kBlock];
        for (size_t v = 0; v < lanes; ++v)
            pointers[v] = rows + (first + v) * code.words;
        decoder.decode({pointers, lanes}, out.slice(first, lanes));
    }
}

}  // namespace nearcell
