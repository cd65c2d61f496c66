#include "kernel_calls.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace nearcell::cli {
namespace {

constexpr size_t kQueries = KernelInputs::kQueries;

// The stored vectors of an operation: blocks, or as many rows, of its code.
struct Stored {
    CodeView code;
    uint32_t* words;
    size_t blocks;

    size_t vectors() const { return blocks * kBlock; }
    uint32_t* row(size_t i) const { return words + i * code.words; }
    float* floats() const { return reinterpret_cast<float*>(words); }
};

// f(blocks, how many) for all blocks, a chunk at a time.
template <class F>
void each_chunk(const Stored& stored, F&& f) {
    for (size_t first = 0; first < stored.blocks; first += KernelInputs::kChunk) {
        const uint32_t* words = stored.row(first * kBlock);
        f(reinterpret_cast<const float*>(words),
          std::min(KernelInputs::kChunk, stored.blocks - first));
    }
}

constexpr size_t kPieces = 9;  // of a 3 x 3 window

// Where kQueries pixels of some channels go.
std::vector<float*> output_rows(KernelInputs& in, size_t channels) {
    std::vector<float*> rows;
    for (size_t q = 0; q < kQueries; ++q)
        rows.push_back(in.out.mutable_data() + q * channels);
    return rows;
}

// kQueries vectors from `first` on, whose values may be read up to a multiple of 16.
std::vector<const float*> some_vectors(const Stored& stored, size_t d, size_t first) {
    const size_t last = (stored.vectors() * d - blocks_for(d) * kBlock) / d;
    std::vector<const float*> vectors;
    for (size_t q = 0; q < kQueries; ++q)
        vectors.push_back(stored.floats() + std::min(first + q, last) * d);
    return vectors;
}

// Each runs an operation over the stored vectors once and returns how many vectors or queries that
// was; operations of several queries at a time are told apart by serves_queries.
size_t run(PairKernel* kernel, const Stored& stored, KernelInputs& in) {
    for (size_t i = 0; i < stored.vectors(); ++i)
        kernel(stored.floats() + i * in.d, in.query(0), in.d);
    return stored.vectors();
}
size_t run(RowKernel* kernel, const Stored& stored, KernelInputs& in) {
    for (size_t i = 0; i < stored.vectors(); ++i)
        kernel(&stored.code, stored.row(i), in.query(0));
    return stored.vectors();
}
size_t run(LaneKernel* kernel, const Stored& stored, KernelInputs& in) {
    for (size_t i = 0; i < stored.vectors(); ++i)
        kernel(&stored.code, stored.row(i / kBlock * kBlock), i % kBlock, in.query(0));
    return stored.vectors();
}
size_t run(LaneDecodeKernel* kernel, const Stored& stored, KernelInputs& in) {
    for (size_t i = 0; i < stored.vectors(); ++i)
        kernel(&stored.code, stored.row(i / kBlock * kBlock), i % kBlock, in.out.mutable_data());
    return stored.vectors();
}
size_t run(ScanKernel* kernel, const Stored& stored, KernelInputs& in) {
    each_chunk(stored, [&](const float* blocks, size_t count) {
        kernel(blocks, count, in.d, nullptr, in.query_rows.data(), kQueries, in.thresholds.data(),
               in.masks.data(), in.hits.data());
    });
    return stored.vectors();
}
size_t run(ScoresKernel* kernel, const Stored& stored, KernelInputs& in) {
    each_chunk(stored, [&](const float* blocks, size_t count) {
        kernel(blocks, count * kBlock, in.d, in.query_rows.data(), kQueries, in.out.mutable_data(),
               count * kBlock);
    });
    return stored.vectors();
}
// The same memory, as integers.
size_t run(ScoresInt16Kernel* kernel, const Stored& stored, KernelInputs& in) {
    const size_t steps = (in.d + 3) / 4, block_words = steps * 2 * kBlock;
    const size_t blocks = stored.blocks * stored.code.words * kBlock / block_words;
    const std::vector<int16_t> zeros(4 * steps);
    const std::vector<const int16_t*> queries(kQueries, zeros.data());
    for (size_t b = 0; b < blocks; b += KernelInputs::kChunk) {
        const size_t rows = std::min(KernelInputs::kChunk, blocks - b) * kBlock;
        kernel(stored.words + b * block_words, rows, steps, queries.data(), kQueries,
               in.out.mutable_data(), rows);
    }
    return blocks * kBlock;
}
size_t run(AssignKernel* kernel, const Stored& stored, KernelInputs& in) {
    each_chunk(stored, [&](const float* blocks, size_t count) {
        kernel(blocks, count, in.d, in.query_rows.data(), kQueries, in.values.data(), -2.0f, 0,
               in.nearest.data());
    });
    return stored.vectors();
}
size_t run(ScanCodesKernel* kernel, const Stored& stored, KernelInputs& in) {
    each_chunk(stored, [&](const float* blocks, size_t count) {
        kernel(&stored.code, blocks, count, in.coded_queries.data(), kQueries, in.masks.data(),
               in.hits.data());
    });
    return stored.vectors();
}
// Output channels are vectors, output pixels queries.
size_t run(ConvKernel* kernel, const Stored& stored, KernelInputs& in) {
    constexpr uint32_t kNowhere = 0;
    each_chunk(stored, [&](const float* blocks, size_t count) {
        const std::vector<float*> out = output_rows(in, count * kBlock);
        const ConvView view{&kNowhere,           1,    in.d, count * kBlock, blocks,
                            in.codebooks.data(), 0.0f, 6.0f};
        kernel(&view, in.query_rows.data(), nullptr, out.data(), kQueries);
    });
    return stored.vectors();
}
// Nine pieces of as many channels as there are dimensions.
size_t run(DepthwiseKernel* kernel, const Stored& stored, KernelInputs& in) {
    const std::vector<uint32_t> offsets(kPieces, 0);
    const std::vector<float*> out = output_rows(in, in.d);
    for (size_t i = 0; i < stored.vectors(); i += kQueries) {
        const ConvView view{offsets.data(),      kPieces, 1,   in.d, in.codebooks.data(),
                            in.codebooks.data(), 0.0f,    6.0f};
        const DepthwiseView depthwise{view};
        const std::vector<const float*> pixels = some_vectors(stored, in.d, i);
        kernel(&depthwise, pixels.data(), nullptr, out.data(), kQueries);
    }
    return stored.vectors();
}
size_t run(PoolKernel* kernel, const Stored& stored, KernelInputs& in) {
    const std::vector<uint32_t> offsets(kPieces, 0);
    const std::vector<float*> out = output_rows(in, in.d);
    const PoolView view{offsets.data(), kPieces, in.d};
    for (size_t i = 0; i < stored.vectors(); i += kQueries) {
        const std::vector<const float*> pixels = some_vectors(stored, in.d, i);
        kernel(&view, pixels.data(), out.data(), kQueries);
    }
    return stored.vectors();
}
size_t run(DecodeKernel* kernel, const Stored& stored, KernelInputs& in) {
    for (size_t b = 0; b < stored.blocks; ++b)
        kernel(&stored.code, stored.row(b * kBlock), in.query(0), in.out.mutable_data());
    return stored.vectors();
}
// Keys: d of them for a vector.
size_t run(LaneMinimaKernel* kernel, const Stored& stored, KernelInputs& in) {
    constexpr size_t kLanes = 64;  // of a search for 16 probes
    const size_t count = stored.vectors() * in.d / kLanes * kLanes;
    kernel(stored.floats(), count, nullptr, 1.0f, kLanes, in.out.mutable_data());
    return stored.vectors();
}
size_t run(CollectRowsKernel* kernel, const Stored& stored, KernelInputs& in) {
    each_chunk(stored, [&](const float* blocks, size_t count) {
        kernel(blocks, count * kBlock * in.d, in.thresholds[0], in.rows.data());
    });
    return stored.vectors();
}
// Floats are looked at 256 at a time, as the keys of an early part of a cell, or 48, as those of 32
// probes.
size_t run(SmallestBoundKernel* kernel, const Stored& stored, KernelInputs& in) {
    constexpr size_t kKeys = 256;
    const size_t keys = stored.vectors() * in.d / kKeys * kKeys;
    for (size_t i = 0; i < keys; i += kKeys)
        in.out.mutable_data()[0] = kernel(stored.floats() + i, kKeys, 10);
    return stored.vectors();
}
size_t run(RankKeysKernel* kernel, const Stored& stored, KernelInputs& in) {
    constexpr size_t kKeys = 48;
    const size_t keys = stored.vectors() * in.d / kKeys * kKeys;
    for (size_t i = 0; i < keys; i += kKeys)
        kernel(stored.floats() + i, kKeys, in.rows.data());
    return stored.vectors();
}
// A fresh vector each time: one that is rotated again and again grows or shrinks without end.
size_t run(RotateKernel* kernel, const Stored&, KernelInputs& in) {
    static_assert(kRotationRounds + 1 <= 256);  // so many factors a dimension the codebooks have
    for (size_t q = 0; q < kQueries; ++q) {
        std::memcpy(in.out.mutable_data(), in.query(q), in.d * sizeof(float));
        kernel(in.codebooks.data(), in.d, 0, in.out.mutable_data());
    }
    return kQueries;
}
size_t run(BitsTablesKernel* kernel, const Stored&, KernelInputs& in) {
    float unit = 0, offset = 0;
    for (size_t q = 0; q < kQueries; ++q)
        kernel(in.query(q), in.d, in.query_tables(q), &unit, &offset);
    return kQueries;
}
size_t run(ProductTablesKernel* kernel, const Stored& stored, KernelInputs& in) {
    float unit = 0, offset = 0;
    for (size_t q = 0; q < kQueries; ++q) {
        kernel(&stored.code, in.codebooks.data(), in.query(q), 0, in.query_tables(q), &unit,
               &offset);
    }
    return kQueries;
}
size_t run(Int8QueryKernel* kernel, const Stored&, KernelInputs& in) {
    constexpr int kLargestPair = 32;  // that every table holds
    float unit = 0, offset = 0;
    int8_t* const bytes = reinterpret_cast<int8_t*>(in.out.mutable_data());
    for (size_t q = 0; q < kQueries; ++q)
        kernel(in.query(q), in.values.data(), in.d, kLargestPair, bytes, &unit, &offset);
    return kQueries;
}

template <class Kernel>
constexpr bool serves_queries =
    std::is_same_v<Kernel, ScanKernel> || std::is_same_v<Kernel, ScoresKernel> ||
    std::is_same_v<Kernel, ScoresInt16Kernel> || std::is_same_v<Kernel, AssignKernel> ||
    std::is_same_v<Kernel, ScanCodesKernel> || std::is_same_v<Kernel, ConvKernel>;

template <class Kernel>
constexpr bool is_peak =
    std::is_same_v<Kernel, PeakKernel> || std::is_same_v<Kernel, PeakLookupKernel> ||
    std::is_same_v<Kernel, PeakProductKernel> || std::is_same_v<Kernel, PeakReadKernel>;

// As many as fit, a whole number of the largest tiles where that is possible.
size_t block_count(const CodeView& code, size_t bytes) {
    constexpr size_t kTile = 4;
    const size_t blocks = std::max<size_t>(bytes / code.block_bytes(), 1);
    return blocks < kTile ? blocks : blocks / kTile * kTile;
}

}  // namespace

std::vector<std::string> kernel_call_names() {
    std::vector<std::string> names;
#define OP(name, type, ops, bytes, peak) \
    if (!is_peak<type>) names.emplace_back(#name);
#include <nearcell/kernels/ops.def>
#undef OP
    return names;
}

KernelCall kernel_call(const std::string& op, const KernelTable& table, KernelInputs& inputs,
                       StoredWords& words, StoredBytes bytes) {
    KernelCall call;
    call.op = op;
    const CodeView code = inputs.code_of(op);
    const bool indices = code.kind == CodeKind::Product8 || code.kind == CodeKind::Product4;
    uint32_t* const all = words.with(indices ? WordBits::Any : WordBits::Numbers, bytes.all);
    const Stored slice{code, all, block_count(code, bytes.slice)};
    const size_t slices = std::max<size_t>(block_count(code, bytes.all) / slice.blocks, 1);
    const auto bind = [&](auto* kernel, const char* peak, double operations, double pair_bytes) {
        using Kernel = std::remove_pointer_t<decltype(kernel)>;
        if constexpr (!is_peak<Kernel>) {
            const double queries = serves_queries<Kernel> ? kQueries : 1;
            call.peak = peak;
            call.operations = operations;
            call.bytes = pair_bytes / queries;
            call.run = [kernel, slice, slices, queries, &inputs, next = size_t{0}]() mutable {
                const Stored part{slice.code, slice.row(next * slice.vectors()), slice.blocks};
                next = (next + 1) % slices;
                return static_cast<double>(run(kernel, part, inputs)) * queries;
            };
        }
    };
    const double d = static_cast<double>(inputs.d);
#define OP(name, type, ops, bytes, peak) \
    if (op == #name) bind(table.name, #peak, ops, bytes);
#include <nearcell/kernels/ops.def>
#undef OP
    return call;
}

}  // namespace nearcell::cli
