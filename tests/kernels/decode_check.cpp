// Decoders: exactly what the code says where it takes one rounding or none, within three roundings
// of its parts otherwise; nothing is written past the d lines of the output.
#include <cmath>
#include <cstring>
#include <string_view>

#include "code_case.h"
#include "kernel_check.h"

namespace nearcell::checks {
namespace {

std::optional<CodeKind> kind_of(std::string_view op) {
    static constexpr std::pair<std::string_view, CodeKind> kCases[] = {
        {"decode_float32", CodeKind::Float32},        {"decode_float16", CodeKind::Float16},
        {"decode_bfloat16", CodeKind::BFloat16},      {"decode_range_int8", CodeKind::RangeInt8},
        {"decode_scaled_int8", CodeKind::ScaledInt8}, {"decode_product8", CodeKind::Product8},
        {"decode_product4", CodeKind::Product4},      {"decode_bits", CodeKind::Bits},
    };
    for (const auto& [name, kind] : kCases) {
        if (name == op) return kind;
    }
    return std::nullopt;
}

// One rounding or none: the value or its sum with the centroid.
bool is_exact(CodeKind kind, bool centred) {
    if (kind == CodeKind::RangeInt8) return false;
    return !centred || (kind != CodeKind::ScaledInt8 && kind != CodeKind::Bits);
}

// A copy of words that starts four bytes past an aligned address.
std::vector<uint32_t> unaligned(const std::vector<uint32_t>& words) {
    std::vector<uint32_t> copy(words.size() + 1);
    std::copy(words.begin(), words.end(), copy.begin() + 1);
    return copy;
}

// The absolute parts of each value: |offset| + |step| c, or the value, and the centroid's.
std::vector<float> magnitudes(DecodeKernel* reference, CodeView view, const void* block,
                              const float* centroid) {
    std::vector<float> offset(view.dim), step(view.dim), parts(view.dim * kBlock);
    if (view.kind == CodeKind::RangeInt8) {
        for (size_t j = 0; j < view.dim; ++j) {
            offset[j] = std::fabs(view.offset[j]);
            step[j] = std::fabs(view.step[j]);
        }
        view.offset = offset.data();
        view.step = step.data();
    }
    reference(&view, block, nullptr, parts.data());
    for (size_t i = 0; i < parts.size(); ++i) {
        parts[i] = std::fabs(parts[i]) + (centroid ? std::fabs(centroid[i / kBlock]) : 0.0f);
    }
    return parts;
}

}  // namespace

uint64_t check_op(const OpCase& op, DecodeKernel* kernel, DecodeKernel* reference, CheckLog& log) {
    const std::optional<CodeKind> kind = kind_of(op.name);
    Digest digest;
    if (!kind) return 0;
    log.expect(decode_kernel(op.table, *kind) == kernel, op.name,
               " is not the decoder of its kind");
    constexpr float kUntouched = 777.25f;
    Random random(23);
    size_t turn = 0;
    for (const size_t d : check_dims()) {
        for (size_t bits = 1; bits <= (*kind == CodeKind::Bits ? 8u : 2u); ++bits) {
            const CodeCase code(*kind, d, bits, random);
            const CodeView view = code.view();
            std::vector<std::vector<uint32_t>> rows;
            for (size_t v = 0; v < kBlock; ++v)
                rows.push_back(code.draw_row(random, turn++ % 2 == 0));
            const std::vector<uint32_t> block = unaligned(to_blocks(rows, view.words));
            const Floats center(d, Values::Plain, random);
            for (const float* centroid : {static_cast<const float*>(nullptr), center.data()}) {
                std::vector<float> got(d * kBlock + 2, kUntouched), expected(d * kBlock);
                kernel(&view, block.data() + 1, centroid, got.data() + 1);
                reference(&view, block.data() + 1, centroid, expected.data());
                log.expect(got.front() == kUntouched && got.back() == kUntouched, op.table.isa, " ",
                           op.name, " writes outside its output: d ", d);
                const std::vector<float> parts =
                    magnitudes(reference, view, block.data() + 1, centroid);
                const bool exact = is_exact(*kind, centroid != nullptr);
                for (size_t i = 0; i < expected.size(); ++i) {
                    const float x = got[i + 1];
                    const bool agrees =
                        exact ? same_bits(x, expected[i])
                              : near(x, expected[i], static_cast<double>(parts[i]), 3);
                    log.expect(agrees, op.table.isa, " ", op.name, ": d ", d, " bits ", bits,
                               " dimension ", i / kBlock, " lane ", i % kBlock, ": ", x, " not ",
                               expected[i]);
                    digest.add(x);
                }
            }
        }
    }
    return digest.value();
}

void check_half_patterns(const KernelTable& table, CheckLog& log) {
    CodeView view;
    view.kind = CodeKind::Float16;
    view.dim = 2;
    view.words = 1;
    for (uint32_t first = 0; first < 65536; first += 2 * kBlock) {
        uint32_t block[kBlock];
        float out[2 * kBlock];
        for (uint32_t v = 0; v < kBlock; ++v)
            block[v] = (first + 2 * v) | (first + 2 * v + 1) << 16;
        table.decode_float16(&view, block, nullptr, out);
        for (uint32_t v = 0; v < kBlock; ++v) {
            for (uint32_t j = 0; j < 2; ++j) {
                const auto half = static_cast<uint16_t>(first + 2 * v + j);
                // A signalling NaN may come out quiet, otherwise with its own payload.
                const uint32_t got = std::bit_cast<uint32_t>(out[j * kBlock + v]);
                const uint32_t want = std::bit_cast<uint32_t>(float_from_float16(half));
                const bool is_nan = (want & 0x7fffffffu) > 0x7f800000u;
                log.expect(got == want || (is_nan && got == (want | 0x00400000u)), table.isa,
                           ": binary16 pattern ", half, " decodes to bits ", got, " not ", want);
            }
        }
    }
}

}  // namespace nearcell::checks
