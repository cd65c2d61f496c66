// Random coded cells, some empty, with or without ids, centroids and masks, and what a scan of them
// must find: every allowed vector's key in double precision.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include <nearcell/kernels/backend.h>

#include "backend_case.h"
#include "code_case.h"

namespace nearcell::checks {

struct ExpectedVector {
    ExactKey exact;
    double error = 0;
    float bound_factor = 0;  // Bits: the third factor
    Candidate candidate;     // its key is left 0
};

class CellCase {
   public:
    struct Cell {
        std::vector<uint32_t> blocks;
        std::vector<int64_t> ids;
        std::vector<float> centroid;
        std::vector<uint16_t> masks;
        Matrix decoded{0, 0};
        std::vector<float> bias, bound;  // Bits
    };
    std::vector<Cell> cells;
    std::vector<CellView> views;

    // with_masks and with_centroids: of every second cell. Without ids, an id is a slot.
    CellCase(const CodeCase& code, const Backend& backend, bool with_ids, bool with_masks,
             bool with_centroids, Random& random) {
        const CodeView view = code.view();
        constexpr size_t kSizes[] = {40, 0, 1, 16, 100, 17, 0, 350, 5};
        int64_t next_id = 1000;
        for (const size_t size : kSizes) {
            Cell cell;
            std::vector<std::vector<uint32_t>> rows;
            std::vector<uint32_t> flat;
            for (size_t i = 0; i < size; ++i) {
                // Some vectors repeat an earlier one: equal keys, decided by the id.
                rows.push_back(i % 5 == 4 ? rows[i - 3] : code.draw_row(random, false));
                flat.insert(flat.end(), rows.back().begin(), rows.back().end());
                if (with_ids) cell.ids.push_back(next_id += (i % 2 == 0 ? 7 : -3));
            }
            cell.blocks = to_blocks(rows, view.words);
            cell.decoded = Matrix(size, view.dim);
            backend.decode_rows(view, flat.data(), size, cell.decoded.view());
            const bool second = cells.size() % 2 == 0;
            if (with_centroids && second) add_centroid(cell, random);
            for (size_t b = 0; with_masks && second && b < blocks_for(size); ++b)
                cell.masks.push_back(static_cast<uint16_t>(b % 3 == 1 ? 0 : random.next()));
            for (size_t i = 0; view.kind == CodeKind::Bits && i < size; ++i) {
                const uint32_t* factors =
                    rows[i].data() + view.words - bits_factor_words(view.bits);
                cell.bias.push_back(bits_factor(factors, 1, view.bits, BitsFactor::Bias));
                cell.bound.push_back(bits_factor(factors, 1, view.bits, BitsFactor::Error));
            }
            cells.push_back(std::move(cell));
        }
        for (const Cell& cell : cells) {
            views.push_back({reinterpret_cast<const uint8_t*>(cell.blocks.data()),
                             cell.ids.empty() ? nullptr : cell.ids.data(), cell.decoded.rows,
                             cell.centroid.empty() ? nullptr : cell.centroid.data(),
                             cell.masks.empty() ? nullptr : cell.masks.data()});
        }
    }
    CellCase(const CellCase&) = delete;
    CellCase& operator=(const CellCase&) = delete;

    // The allowed vectors of one cell for one query.
    void append(uint32_t number, Metric metric, const float* query,
                std::vector<ExpectedVector>& out) const {
        const Cell& cell = cells[number];
        const size_t d = cell.decoded.cols;
        for (size_t i = 0; i < cell.decoded.rows; ++i) {
            const bool masked = !cell.masks.empty();
            if (masked && (cell.masks[i / kBlock] >> (i % kBlock) & 1) == 0) continue;
            ExpectedVector vector;
            vector.exact = exact_key(metric, query, cell.decoded.row(i), d);
            if (metric == Metric::L2 && !cell.bias.empty()) {
                vector.exact.key += static_cast<double>(cell.bias[i]);
                vector.exact.magnitude += static_cast<double>(cell.bias[i]);
            }
            if (!cell.bound.empty()) vector.bound_factor = cell.bound[i];
            vector.error = key_error(vector.exact, d);
            vector.candidate.id = cell.ids.empty() ? static_cast<int64_t>(i) : cell.ids[i];
            vector.candidate.cell = number;
            vector.candidate.slot = static_cast<uint32_t>(i);
            out.push_back(vector);
        }
    }

   private:
    static void add_centroid(Cell& cell, Random& random) {
        for (size_t j = 0; j < cell.decoded.cols; ++j) {
            cell.centroid.push_back(static_cast<float>(random.normal()));
            for (size_t i = 0; i < cell.decoded.rows; ++i)
                cell.decoded.row(i)[j] += cell.centroid[j];
        }
    }
};

// The same candidates with the same bits.
inline bool same_candidates(const std::vector<Candidate>& a, const std::vector<Candidate>& b) {
    const auto same = [](const Candidate& x, const Candidate& y) {
        return std::bit_cast<uint32_t>(x.key) == std::bit_cast<uint32_t>(y.key) &&
               std::bit_cast<uint32_t>(x.lower) == std::bit_cast<uint32_t>(y.lower) &&
               x.id == y.id && x.cell == y.cell && x.slot == y.slot;
    };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), same);
}

}  // namespace nearcell::checks
