// Keys of coded rows: the bits of decoding the row and taking the pair's key.
#include <string_view>

#include "code_case.h"
#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {
namespace {

struct RowOp {
    std::string_view name;
    CodeKind kind;
    bool similarity;
};
constexpr RowOp kRowOps[] = {
    {"row_l2_float16", CodeKind::Float16, false},
    {"row_ip_float16", CodeKind::Float16, true},
    {"row_l2_bfloat16", CodeKind::BFloat16, false},
    {"row_ip_bfloat16", CodeKind::BFloat16, true},
    {"row_l2_range_int8", CodeKind::RangeInt8, false},
    {"row_ip_range_int8", CodeKind::RangeInt8, true},
};

}  // namespace

uint64_t check_op(const OpCase& op, RowKernel* kernel, RowKernel* reference, CheckLog& log) {
    Digest digest;
    Random random(47);
    for (const RowOp& row_op : kRowOps) {
        if (row_op.name != op.name) continue;
        for (const size_t d : check_dims()) {
            const CodeCase code(row_op.kind, d, 0, random);
            const CodeView view = code.view();
            const std::vector<uint32_t> words = code.draw_row(random, false);
            const Floats query(d, Values::Plain, random);
            const float got = kernel(&view, words.data(), query.data());
            const float expected = reference(&view, words.data(), query.data());
            std::vector<uint32_t> block(view.words * kBlock, 0);
            for (size_t w = 0; w < view.words; ++w)
                block[w * kBlock] = words[w];
            std::vector<float> lanes(d * kBlock), decoded(d);
            decode_kernel(op.table, row_op.kind)(&view, block.data(), nullptr, lanes.data());
            // A range's values are rounded twice, from parts that add up to more than they are.
            double magnitude = 0;
            for (size_t j = 0; j < d; ++j) {
                decoded[j] = lanes[j * kBlock];
                const double range = view.kind != CodeKind::RangeInt8
                                         ? 0.0
                                         : std::fabs(static_cast<double>(view.offset[j])) +
                                               255.0 * std::fabs(static_cast<double>(view.step[j]));
                const double y = std::fabs(static_cast<double>(query[j]));
                const double x = std::fabs(static_cast<double>(decoded[j])) + range;
                magnitude += row_op.similarity ? x * y : (x + y) * (x + y);
            }
            log.expect(near(got, expected, magnitude, d / 32 + 12), op.table.isa, " ", op.name,
                       ": d ", d, ": ", got, " not ", expected);
            const PairKernel* pair = row_op.similarity ? op.table.ip_f32 : op.table.l2_f32;
            log.expect(same_bits(got, pair(decoded.data(), query.data(), d)), op.table.isa, " ",
                       op.name, ": d ", d, " is not the pair kernel's bits");
            digest.add(got);
        }
    }
    return digest.value();
}

// The row kernels are checked above; the lanes of a block are rows, and nothing else is read.
uint64_t check_op(const OpCase& op, LaneKernel* kernel, LaneKernel*, CheckLog& log) {
    const bool similarity = op.name == std::string_view("lane_ip_range_int8");
    Digest digest;
    Random random(71);
    for (const size_t d : check_dims()) {
        const CodeCase code(CodeKind::RangeInt8, d, 0, random);
        const CodeView view = code.view();
        std::vector<uint32_t> block(view.words * kBlock);
        std::vector<std::vector<uint32_t>> rows;
        for (size_t i = 0; i < kBlock; ++i) {
            rows.push_back(code.draw_row(random, false));
            for (size_t w = 0; w < view.words; ++w)
                block[w * kBlock + i] = rows[i][w];
        }
        const Floats query(d, Values::Plain, random);
        for (size_t i = 0; i < kBlock; ++i) {
            const float got = kernel(&view, block.data(), i, query.data());
            RowKernel* row = similarity ? op.table.row_ip_range_int8 : op.table.row_l2_range_int8;
            log.expect(same_bits(got, row(&view, rows[i].data(), query.data())), op.table.isa, " ",
                       op.name, ": d ", d, ", lane ", i, " is not the row kernel's bits");
            digest.add(got);
        }
    }
    return digest.value();
}

uint64_t check_op(const OpCase& op, LaneDecodeKernel* kernel, LaneDecodeKernel*, CheckLog& log) {
    Digest digest;
    Random random(73);
    for (const size_t d : check_dims()) {
        const CodeCase code(CodeKind::Product4, d, 0, random);
        const CodeView view = code.view();
        std::vector<std::vector<uint32_t>> rows;
        for (size_t i = 0; i < kBlock; ++i)
            rows.push_back(code.draw_row(random, true));
        const std::vector<uint32_t> block = to_blocks(rows, view.words);
        std::vector<float> lanes(d * kBlock), got(d + 1, 7.0f);
        decode_kernel(op.table, view.kind)(&view, block.data(), nullptr, lanes.data());
        for (size_t i = 0; i < kBlock; ++i) {
            kernel(&view, block.data(), i, got.data());
            for (size_t j = 0; j < d; ++j) {
                log.expect(same_bits(got[j], lanes[j * kBlock + i]), op.table.isa, " ", op.name,
                           ": d ", d, ", lane ", i, ", dimension ", j, " is not as decoded");
                digest.add(got[j]);
            }
            log.expect(got[d] == 7.0f, op.table.isa, " ", op.name, " writes past the end");
        }
    }
    return digest.value();
}

}  // namespace nearcell::checks
