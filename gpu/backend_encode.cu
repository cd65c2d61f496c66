// CudaBackend::encode_rows: rows to codes, all subspaces of a product code in one launch.
#include <algorithm>

#include <nearcell/gpu/backend_state.h>
#include <nearcell/gpu/kernels/encode_bits.cuh>
#include <nearcell/gpu/kernels/encode_product.cuh>
#include <nearcell/gpu/kernels/encode_values.cuh>

namespace nearcell::gpu {
namespace {

constexpr size_t kEveryBlocks = size_t{48} << 10;  // bytes of shared memory
// What encoding a value costs the CPU, in multiplications that are in a tile.
constexpr size_t kProductsAValue = 16;
// Dimensions of a product code that are staged at a time, but for longer subspaces.
constexpr size_t kStagedDims = 16;

bool is_product(CodeKind kind) { return kind == CodeKind::Product8 || kind == CodeKind::Product4; }
size_t centroids_of(CodeKind kind) { return kind == CodeKind::Product8 ? 256 : 16; }

// The dimensions of a word's subspaces, at most kStagedDims where no subspace has more.
size_t staged_dims(const CodeView& code) {
    const size_t per_word = code.kind == CodeKind::Product8 ? 4 : 8;
    size_t widest = 0, longest = 0;
    for (size_t m = 0; m < code.subquantizers; ++m) {
        const size_t begin = code.sub_begin[m];
        const size_t last = std::min(m - m % per_word + per_word, code.subquantizers);
        widest = std::max<size_t>(widest, code.sub_begin[m + 1] - begin);
        longest = std::max<size_t>(longest, code.sub_begin[last] - begin);
    }
    return std::max(widest, std::min(longest, kStagedDims));
}

size_t shared_bytes(const CodeView& code) {
    return encode_shared_bytes(staged_dims(code), centroids_of(code.kind));
}

// What a code refers to, copied for all slices.
CodeView on_device(const CodeView& code, CallOperands& operands) {
    CodeView there = code;
    if (is_product(code.kind)) {
        there.sub_begin = operands.copy(code.sub_begin, code.subquantizers + 1);
        there.codebooks = operands.copy(code.codebooks, centroids_of(code.kind) * code.dim);
    }
    if (code.kind == CodeKind::RangeInt8) {
        there.offset = operands.copy(code.offset, code.dim);
        there.step = operands.copy(code.step, code.dim);
    }
    return there;
}

struct EncodeWork {
    const EncodeJob& job;
    const SlicedRows& x;
    CodeView code;         // on the device
    RowOperand centroids;  // likewise
    unsigned staged;       // ProductJob's
    size_t shared;         // bytes
    bool fits = true;

    void start(Session& session, size_t first, size_t count) const {
        const simt::Stream stream = session.stream.get();
        CodedRows rows{x.slice(session, first, count, job.threads), nullptr, centroids};
        if (job.labels != nullptr) {
            auto* const labels = session.scratch.take<unsigned>(count);
            simt::copy_to_device(labels, job.labels + first, count * sizeof *labels, stream);
            rows.labels = labels;
        }
        const size_t words = count * code.words;
        auto* const codes = session.scratch.take<uint32_t>(words + 1);  // behind them the misfits
        simt::fill_bytes(codes + words, 0, sizeof *codes, stream);
        launch(rows, {codes, narrow(code.words), codes + words}, stream);
        auto* const found = session.download.get<uint32_t>(words + 1);
        simt::copy_to_host(found, codes, (words + 1) * sizeof *found, stream);
    }
    void finish(Session& session, size_t first, size_t count) {
        const size_t words = count * code.words;
        const auto* const found = session.download.get<uint32_t>(words + 1);
        fits = fits && found[words] == 0;
        if (!fits) return;
        copy_values(found, job.codes + first * code.words, words, job.threads);
    }

   private:
    void launch(const CodedRows& rows, const CodeOutput& out, simt::Stream stream) const {
        const size_t words = size_t{rows.x.count} * out.words;
        const unsigned threads = blocks_of(words, kEncodeThreads);  // blocks of a thread a word
        const unsigned block = kEncodeThreads;
        switch (code.kind) {
            case CodeKind::Product8: return launch_product<8>(rows, out, stream);
            case CodeKind::Product4: return launch_product<4>(rows, out, stream);
            case CodeKind::Float16:
                return simt::launch({"encode_halves", threads, block, 0, stream},
                                    encode_halves<CodeKind::Float16>, rows, out);
            case CodeKind::BFloat16:
                return simt::launch({"encode_halves", threads, block, 0, stream},
                                    encode_halves<CodeKind::BFloat16>, rows, out);
            case CodeKind::RangeInt8:
                return simt::launch({"encode_ranges", threads, block, 0, stream}, encode_ranges,
                                    rows, code.offset, code.step, out);
            case CodeKind::ScaledInt8:
                return simt::launch(
                    {"encode_scaled", narrow(ceil_divide(rows.x.count, kEncodeThreads / 32)), block,
                     0, stream},
                    encode_scaled, rows, out);
            case CodeKind::Bits:
                return simt::launch(
                    {"encode_bits", blocks_of(rows.x.count, kEncodeThreads), block, 0, stream},
                    encode_bits, rows, out);
            case CodeKind::Float32: break;  // can_encode() is false
        }
    }

    template <unsigned kBits>
    void launch_product(const CodedRows& rows, const CodeOutput& out, simt::Stream stream) const {
        const unsigned blocks = narrow(ceil_divide(rows.x.count, kCodedRows)) * out.words;
        if (shared > kEveryBlocks) simt::allow_shared_memory(encode_product<kBits>, shared);
        simt::launch({"encode_product", blocks, kEncodeThreads, shared, stream},
                     encode_product<kBits>,
                     ProductJob{rows, code.sub_begin, narrow(code.subquantizers), code.codebooks,
                                staged, out});
    }
};

}  // namespace

// Whether there is a kernel for the code, and the rows are worth the way. Codes of one value a
// dimension are bound by memory: the CPU makes them as fast as it would copy the rows, so they are
// made here only of rows that are here.
bool CudaBackend::can_encode(const EncodeJob& job, bool is_kept) const {
    const CodeView& code = job.code;
    const size_t rows = job.x.rows, values = rows * code.dim;
    size_t copied = rows * (code.words + (job.labels == nullptr ? 0 : 1));
    if (is_product(code.kind)) {
        if (!is_kept) copied += values;
        // A comparison counts as a dimension.
        const size_t products = rows * (code.dim + code.subquantizers) * centroids_of(code.kind);
        return is_worthwhile(products, copied) &&
               shared_bytes(code) <= state_->device.most_shared_bytes_per_block;
    }
    const bool is_known =
        code.kind == CodeKind::Bits ? code.bits == 1 : code.kind != CodeKind::Float32;
    return is_known && is_kept && is_worthwhile(kProductsAValue * values, copied);
}

bool CudaBackend::encode_rows(const EncodeJob& job) const {
    const SlicedRows x(job.x, state_->kept), centroids(job.centroids, state_->kept);
    if (job.x.rows == 0 || !can_encode(job, x.is_kept())) return false;
    const DeviceScope scope(options_.ordinal);
    CallOperands operands(state_->sessions);
    EncodeWork work{job, x, on_device(job.code, operands), {}, 0, 0};
    if (job.labels != nullptr) work.centroids = centroids.all(operands, job.threads);
    if (is_product(job.code.kind)) {
        work.staged = narrow(staged_dims(job.code));
        work.shared = shared_bytes(job.code);
    }
    operands.wait();
    const size_t each = x.row_bytes() + (job.code.words + 1) * sizeof(uint32_t);
    run_in_slices(state_->sessions, job.x.rows, rows_of_slice(options_.slice_bytes, each), work);
    operands.done();
    return work.fits;
}

}  // namespace nearcell::gpu
