// Scans of codes by integers: tables and bytes of a query that are the nearest units, or bounds,
// and scans whose keys are the sums that these, codes and factors say, under any thresholds and
// masks.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

#include "code_case.h"
#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {
namespace {

constexpr size_t kLineTables = 128;
constexpr int kSmallestPair = 32;  // of the tables

size_t lines_of(size_t d) { return (d + 31) / 32; }

struct Tables {
    std::vector<uint8_t> entries;
    float unit = -1, offset = -1;

    Tables(BitsTablesKernel* kernel, const float* query, size_t d)
        : entries(lines_of(d) * kLineTables + 1, 0xaa) {
        kernel(query, d, entries.data(), &unit, &offset);
    }
};

// Of one call of a scan: codes, and queries with random tables or bytes.
struct ScanCodesCase {
    CodeCase code;
    CodeView view;
    size_t block_count;
    int largest_pair;
    std::vector<uint32_t> blocks;  // starts four bytes past an aligned address
    std::vector<std::vector<uint8_t>> operands;
    std::vector<CodedQuery> queries;
    std::vector<uint16_t> masks;

    ScanCodesCase(CodeKind kind, size_t d, size_t block_count_, size_t query_count, int pair,
                  Random& random)
        : code(kind, d, 1, random, kind == CodeKind::RangeInt8),
          view(code.view()),
          block_count(block_count_),
          largest_pair(pair) {
        std::vector<std::vector<uint32_t>> rows;
        for (size_t i = 0; i < block_count * kBlock; ++i)
            rows.push_back(code.draw_row(random, true));
        rows.back() = rows.front();
        blocks = to_blocks(rows, view.words);
        blocks.insert(blocks.begin(), 0);
        for (size_t q = 0; q < query_count; ++q) {
            operands.push_back(kind == CodeKind::RangeInt8 ? draw_bytes(random)
                                                           : draw_tables(random));
        }
        for (size_t q = 0; q < query_count; ++q) {
            queries.push_back({operands[q].data() + 1, draw(Values::Plain, random),
                               draw(Values::Plain, random), draw(Values::Plain, random),
                               draw(Values::Plain, random),
                               std::numeric_limits<float>::infinity()});
        }
        for (size_t b = 0; b < block_count; ++b)
            masks.push_back(static_cast<uint16_t>(b % 4 == 3 ? 0 : random.next()));
    }
    ScanCodesCase(const ScanCodesCase&) = delete;

    size_t table_lines() const {
        return view.kind == CodeKind::Bits ? lines_of(view.dim) : view.words;
    }
    uint64_t largest_entry() const { return view.kind == CodeKind::Bits ? 31 : 63; }

    // Some of them such that the sums come nearest to overflow.
    std::vector<uint8_t> draw_tables(Random& random) const {
        std::vector<uint8_t> tables(table_lines() * kLineTables + 1);
        const bool largest = random.below(4) == 0;
        const uint64_t most = largest_entry();
        for (uint8_t& entry : tables)
            entry = static_cast<uint8_t>(largest ? most : random.below(most + 1));
        return tables;
    }
    std::vector<uint8_t> draw_bytes(Random& random) const {
        std::vector<uint8_t> bytes((view.dim + 15) / 16 * 16 + 1, 0);
        const bool largest = random.below(4) == 0;
        for (size_t j = 0; j < view.dim; j += 2) {
            const uint64_t most = static_cast<uint64_t>(largest_pair);
            const int first = static_cast<int>(random.below(most + 1)), rest = largest_pair - first;
            const int second =
                largest ? rest : static_cast<int>(random.below(static_cast<uint64_t>(rest) + 1));
            const bool negative = random.below(2) == 0;
            bytes[1 + j] = static_cast<uint8_t>(negative ? -first : std::min(first, 127));
            if (j + 1 < view.dim)
                bytes[2 + j] = static_cast<uint8_t>(negative ? -second : std::min(second, 127));
        }
        return bytes;
    }

    size_t rows() const { return block_count * kBlock; }

    std::vector<Hit> run(ScanCodesKernel* kernel, const std::vector<uint16_t>& allowed) const {
        std::vector<Hit> hits(queries.size() * rows() + 1);
        hits.resize(kernel(&view, blocks.data() + 1, block_count, queries.data(), queries.size(),
                           allowed.data(), hits.data()));
        std::sort(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) {
            return a.query != b.query ? a.query < b.query : a.slot < b.slot;
        });
        return hits;
    }

    // The absolute terms of a key, added up.
    double magnitude(const Hit& hit) const {
        const CodedQuery& query = queries[hit.query];
        const bool bits = view.kind == CodeKind::Bits;
        const bool product = view.kind == CodeKind::Product4;
        const size_t factor_words = product ? 0 : bits ? bits_factor_words(1) : kInt8Factors;
        const size_t line = (hit.slot / kBlock + 1) * view.words - factor_words;
        const uint32_t* const factors = blocks.data() + 1 + line * kBlock + hit.slot % kBlock;
        const auto factor = [&](BitsFactor which) {
            return std::fabs(static_cast<double>(bits_factor(factors, kBlock, 1, which)));
        };
        const auto number = [&](size_t word) {
            return std::fabs(static_cast<double>(std::bit_cast<float>(factors[word * kBlock])));
        };
        const double sum =
            view.kind == CodeKind::RangeInt8
                ? 255.0 * largest_pair / 2.0 * static_cast<double>(view.dim + 1)
                : static_cast<double>(largest_entry()) * 8.0 * static_cast<double>(table_lines());
        const double dot = sum * std::fabs(static_cast<double>(query.unit)) +
                           std::fabs(static_cast<double>(query.offset));
        const double reach = std::fabs(static_cast<double>(query.reach));
        const double shift = std::fabs(static_cast<double>(query.shift));
        if (product) return shift + dot;
        if (!bits) return shift + reach * number(1) + number(0) + dot;
        return shift + reach * factor(BitsFactor::Error) + factor(BitsFactor::Term) +
               factor(BitsFactor::Scale) * dot;
    }
};

std::vector<size_t> scan_dims() {
    std::vector<size_t> dims = check_dims();
    dims.push_back(32 * kMostLookupLines);
    return dims;
}

}  // namespace

uint64_t check_op(const OpCase& op, BitsTablesKernel* kernel, BitsTablesKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(41);
    for (const size_t d : scan_dims()) {
        for (const Values values : {Values::Plain, Values::Integers, Values::Tiny, Values::Denormal,
                                    Values::Large, Values::Mixed}) {
            const Floats query(d, values, random);
            const Tables got(kernel, query.data(), d), expected(reference, query.data(), d);
            double sum = 0;
            for (size_t j = 0; j < d; ++j)
                sum += 0.5 * std::fabs(static_cast<double>(query[j]));
            log.expect(near(got.unit, expected.unit, static_cast<double>(expected.unit), 6),
                       op.table.isa, " ", op.name, ": d ", d, ": unit ", got.unit, " not ",
                       expected.unit);
            log.expect(near(got.offset, expected.offset, sum, d + 4), op.table.isa, " ", op.name,
                       ": d ", d, ": offset ", got.offset, " not ", expected.offset);
            log.expect(got.entries.back() == 0xaa, op.table.isa, " ", op.name,
                       " writes past its tables");
            for (size_t i = 0; i < expected.entries.size(); ++i) {
                // Halves may be rounded either way; nothing else differs.
                const int gap = std::abs(int{got.entries[i]} - int{expected.entries[i]});
                log.expect(gap <= 1, op.table.isa, " ", op.name, ": d ", d, " values ",
                           static_cast<int>(values), " entry ", i, ": ", int{got.entries[i]},
                           " not ", int{expected.entries[i]});
                digest.add(uint32_t{got.entries[i]});
            }
            digest.add(got.unit);
            digest.add(got.offset);
        }
    }
    return digest.value();
}

uint64_t check_op(const OpCase& op, ProductTablesKernel* kernel, ProductTablesKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(43);
    for (const size_t d : scan_dims()) {
        for (const Values values : {Values::Plain, Values::Integers, Values::Tiny, Values::Denormal,
                                    Values::Large, Values::Mixed}) {
            const CodeCase code(CodeKind::Product4, d, 1, random);
            const CodeView view = code.view();
            const int similarity = random.below(2) == 0 ? 1 : 0;
            const Floats query(d, values, random);
            Floats columns(16 * d);
            for (size_t m = 0; m < view.subquantizers; ++m) {
                const size_t begin = view.sub_begin[m], width = view.sub_begin[m + 1] - begin;
                for (size_t i = 0; i < 16 * width; ++i)
                    columns[(begin + i % width) * 16 + i / width] = view.codebooks[16 * begin + i];
            }
            const size_t room = view.words * kLineTables;
            std::vector<uint8_t> got(room + 1, 0xaa), expected(room + 1, 0xaa);
            float unit = -1, offset = -1, expected_unit = -1, expected_offset = -1;
            kernel(&view, columns.data(), query.data(), similarity, got.data(), &unit, &offset);
            reference(&view, columns.data(), query.data(), similarity, expected.data(),
                      &expected_unit, &expected_offset);
            const auto which = [&] {
                return op.table.isa + std::string(" ") + op.name + ": d " + std::to_string(d) +
                       " M " + std::to_string(view.subquantizers) + " values " +
                       std::to_string(static_cast<int>(values)) + " similarity " +
                       std::to_string(similarity);
            };
            // Of two vectors that are as long as the query and the longest code.
            double magnitude = 0;
            for (size_t j = 0; j < d; ++j) {
                const double q = std::fabs(static_cast<double>(query[j]));
                magnitude += similarity != 0 ? q : (q + 1) * (q + 1);
            }
            log.expect(near(unit, expected_unit, magnitude, d + 8), which(), ": unit ", unit,
                       " not ", expected_unit);
            log.expect(near(offset, expected_offset, magnitude, 2 * d + 8), which(), ": offset ",
                       offset, " not ", expected_offset);
            log.expect(got.back() == 0xaa, which(), " writes past its tables");
            for (size_t i = 0; i < room; ++i) {
                const int gap = std::abs(int{got[i]} - int{expected[i]});
                const size_t m = i / kLineTables * 8 + i % kLineTables / 64 + i % 64 / 16 * 2;
                log.expect(gap <= 1 || values == Values::Large, which(), " entry ", i, ": ",
                           int{got[i]}, " not ", int{expected[i]});
                log.expect(m < view.subquantizers || got[i] == 0, which(), " entry ", i, " is ",
                           int{got[i]});
                digest.add(uint32_t{got[i]});
            }
            digest.add(unit);
            digest.add(offset);
            // No code's bound is above its key.
            for (size_t turn = 0; turn < 20; ++turn) {
                double key = 0;
                int64_t sum = 0;
                for (size_t m = 0; m < view.subquantizers; ++m) {
                    const size_t v = random.below(16);
                    sum += got[(m / 8 * 8 + m % 2 * 4 + m % 8 / 2) * 16 + v];
                    for (size_t j = view.sub_begin[m]; j < view.sub_begin[m + 1]; ++j) {
                        const double x = static_cast<double>(columns[j * 16 + v]);
                        const double q = static_cast<double>(query[j]);
                        key += similarity != 0 ? -q * x : (q - x) * (q - x);
                    }
                }
                const double bound = static_cast<double>(unit) * static_cast<double>(sum) +
                                     static_cast<double>(offset);
                log.expect(bound <= key, which(), ": bound ", bound, " above ", key);
            }
        }
    }
    return digest.value();
}

uint64_t check_op(const OpCase& op, Int8QueryKernel* kernel, Int8QueryKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(47);
    for (const size_t d : scan_dims()) {
        for (const Values values : {Values::Plain, Values::Integers, Values::Tiny, Values::Denormal,
                                    Values::Large, Values::Mixed}) {
            const Floats weights(d, values, random), center(d, Values::Plain, random);
            const size_t room = (d + 15) / 16 * 16;
            std::vector<int8_t> got(room + 1, 99), expected(room + 1, 99);
            float unit = -1, offset = -1, expected_unit = -1, expected_offset = -1;
            const int pair = values == Values::Plain ? 32 : 128;
            kernel(weights.data(), center.data(), d, pair, got.data(), &unit, &offset);
            reference(weights.data(), center.data(), d, pair, expected.data(), &expected_unit,
                      &expected_offset);
            const auto which = [&] {
                return op.table.isa + std::string(" ") + op.name + ": d " + std::to_string(d) +
                       " values " + std::to_string(static_cast<int>(values));
            };
            log.expect(near(unit, expected_unit, static_cast<double>(expected_unit), 3), which(),
                       ": unit ", unit, " not ", expected_unit);
            double magnitude = 0;
            for (size_t j = 0; j <= room; ++j) {
                log.expect(std::abs(got[j] - expected[j]) <= (j < d ? 1 : 0), which(), " byte ", j,
                           ": ", int{got[j]}, " not ", int{expected[j]});
                if (j >= d) continue;
                digest.add(static_cast<uint32_t>(got[j]));
                magnitude +=
                    std::fabs(got[j] * static_cast<double>(unit) * static_cast<double>(center[j]));
                const int next = j + 1 < d ? std::abs(got[j + 1]) : 0;
                log.expect(j % 2 != 0 || std::abs(got[j]) + next <= pair, which(), " byte ", j,
                           " and the next may overflow");
                const double error =
                    static_cast<double>(weights[j]) - got[j] * static_cast<double>(unit);
                log.expect(unit == 0.0f || std::fabs(error) <= 1.00002 * static_cast<double>(unit),
                           which(), " byte ", j, " errs by ", error, " with unit ", unit);
            }
            double sum = 0;
            for (size_t j = 0; j < d; ++j)
                sum -= got[j] * static_cast<double>(unit) * static_cast<double>(center[j]);
            log.expect(near(offset, static_cast<float>(sum), magnitude, d + 4), which(),
                       ": offset ", offset, " not ", sum);
            digest.add(unit);
            digest.add(offset);
        }
    }
    return digest.value();
}

uint64_t check_op(const OpCase& op, ScanCodesKernel* kernel, ScanCodesKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(43);
    size_t turn = 0;
    for (const size_t d : scan_dims()) {
        const CodeKind kind = op.name == "scan_bits"       ? CodeKind::Bits
                              : op.name == "scan_product4" ? CodeKind::Product4
                                                           : CodeKind::RangeInt8;
        // In turns what every table holds, for equal digests, and what this one holds.
        const bool common = turn % 2 == 0;
        const int pair = common ? kSmallestPair : op.table.int8_pair;
        ScanCodesCase input(kind, d, 1 + turn % 9, 1 + turn * 5 % 7, pair, random);
        ++turn;
        const std::vector<uint16_t> all(input.block_count, 0xffff);
        const std::vector<Hit> got = input.run(kernel, all), expected = input.run(reference, all);
        log.expect(
            got.size() == input.rows() * input.queries.size() && expected.size() == got.size(),
            op.table.isa, " ", op.name, ": d ", d, ": ", got.size(), " hits, ", expected.size(),
            " expected");
        if (got.size() != expected.size()) continue;
        for (size_t i = 0; i < got.size(); ++i) {
            log.expect(got[i].query == expected[i].query && got[i].slot == expected[i].slot &&
                           near(got[i].key, expected[i].key, input.magnitude(expected[i]), 5),
                       op.table.isa, " ", op.name, ": d ", d, " query ", expected[i].query,
                       " slot ", expected[i].slot, ": ", got[i].key, " not ", expected[i].key);
            if (common) digest.add(got[i].key);
        }
        // Of its own keys, those that meet a threshold and pass a mask.
        for (CodedQuery& query : input.queries)
            query.threshold = got[random.below(got.size())].key;
        std::vector<Hit> passing;
        for (const Hit& hit : got) {
            const bool allowed = (input.masks[hit.slot / kBlock] >> hit.slot % kBlock & 1) != 0;
            if (allowed && hit.key <= input.queries[hit.query].threshold) passing.push_back(hit);
        }
        const std::vector<Hit> fewer = input.run(kernel, input.masks);
        log.expect(std::equal(fewer.begin(), fewer.end(), passing.begin(), passing.end(),
                              [](const Hit& a, const Hit& b) {
                                  return same_bits(a.key, b.key) && a.query == b.query &&
                                         a.slot == b.slot;
                              }),
                   op.table.isa, " ", op.name, ": d ", d, ": ", fewer.size(), " hits, ",
                   passing.size(), " expected, or others");
    }
    return digest.value();
}

}  // namespace nearcell::checks
