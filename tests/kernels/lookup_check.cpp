// One-bit codes by look-ups: tables whose entries are the nearest units, and scans whose keys are
// the sums that tables, codes and factors say, under any thresholds and masks.
#include <algorithm>
#include <cmath>

#include "code_case.h"
#include "kernel_check.h"
#include "tile_case.h"

namespace nearcell::checks {
namespace {

constexpr size_t kLineTables = 128;

size_t lines_of(size_t d) { return (d + 31) / 32; }

struct Tables {
    std::vector<uint8_t> entries;
    float unit = -1, offset = -1;

    Tables(BitsTablesKernel* kernel, const float* query, size_t d)
        : entries(lines_of(d) * kLineTables + 1, 0xaa) {
        kernel(query, d, entries.data(), &unit, &offset);
    }
};

// Of one call of a scan: codes, and queries with random tables.
struct LookupCase {
    CodeCase code;
    CodeView view;
    size_t block_count;
    std::vector<uint32_t> blocks;  // starts four bytes past an aligned address
    std::vector<std::vector<uint8_t>> tables;
    std::vector<LookupQuery> queries;
    std::vector<uint16_t> masks;

    LookupCase(size_t d, size_t block_count_, size_t query_count, Random& random)
        : code(CodeKind::Bits, d, 1, random), view(code.view()), block_count(block_count_) {
        std::vector<std::vector<uint32_t>> rows;
        for (size_t i = 0; i < block_count * kBlock; ++i)
            rows.push_back(code.draw_row(random, true));
        rows.back() = rows.front();
        blocks = to_blocks(rows, view.words);
        blocks.insert(blocks.begin(), 0);
        for (size_t q = 0; q < query_count; ++q) {
            tables.emplace_back(lines_of(d) * kLineTables + 1);
            const bool largest = random.below(4) == 0;  // the sums that come nearest to overflow
            for (uint8_t& entry : tables.back())
                entry = static_cast<uint8_t>(largest ? 31 : random.below(32));
        }
        for (size_t q = 0; q < query_count; ++q) {
            queries.push_back({tables[q].data() + 1, draw(Values::Plain, random),
                               draw(Values::Plain, random), draw(Values::Plain, random),
                               draw(Values::Plain, random),
                               std::numeric_limits<float>::infinity()});
        }
        for (size_t b = 0; b < block_count; ++b)
            masks.push_back(static_cast<uint16_t>(b % 4 == 3 ? 0 : random.next()));
    }
    LookupCase(const LookupCase&) = delete;

    size_t rows() const { return block_count * kBlock; }

    std::vector<Hit> run(ScanBitsKernel* kernel, const std::vector<uint16_t>& allowed) const {
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
        const LookupQuery& query = queries[hit.query];
        const auto factor = [&](size_t which) {
            const size_t word = view.words - kBitsFactors + which;
            const size_t at = (hit.slot / kBlock * view.words + word) * kBlock + hit.slot % kBlock;
            return std::fabs(static_cast<double>(std::bit_cast<float>(blocks[at + 1])));
        };
        const double sum = 31.0 * 8.0 * static_cast<double>(lines_of(view.dim));
        const double dot = sum * std::fabs(static_cast<double>(query.unit)) +
                           std::fabs(static_cast<double>(query.offset));
        return std::fabs(static_cast<double>(query.shift)) +
               std::fabs(static_cast<double>(query.reach)) * factor(2) + factor(3) +
               factor(0) * dot;
    }
};

std::vector<size_t> lookup_dims() {
    std::vector<size_t> dims = check_dims();
    dims.push_back(32 * kMostLookupLines);
    return dims;
}

}  // namespace

uint64_t check_op(const OpCase& op, BitsTablesKernel* kernel, BitsTablesKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(41);
    for (const size_t d : lookup_dims()) {
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

uint64_t check_op(const OpCase& op, ScanBitsKernel* kernel, ScanBitsKernel* reference,
                  CheckLog& log) {
    Digest digest;
    Random random(43);
    size_t turn = 0;
    for (const size_t d : lookup_dims()) {
        LookupCase input(d, 1 + turn % 9, 1 + turn * 5 % 7, random);
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
            digest.add(got[i].key);
        }
        // Of its own keys, those that meet a threshold and pass a mask.
        for (LookupQuery& query : input.queries)
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
