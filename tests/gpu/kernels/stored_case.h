// What the tests of scans on a device share: stored codes of some cells on the device, what they
// say by a plain reading of CodeView's table, keys as a plain sum in the order of dimensions, pairs
// of a round, and lists of candidates.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/core/half.h>
#include <nearcell/core/random.h>
#include <nearcell/gpu/kernels/cell_layout.cuh>

#include "gpu/simt/support.h"
#include "kernels/backend_case.h"
#include "kernels/code_case.h"

namespace nearcell::gpu {

using checks::Matrix;
using simt::DeviceArray;
using Rows = std::vector<std::vector<uint32_t>>;  // the words of each vector

constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline std::vector<float> copy_of(const float* values, size_t count) {
    return values == nullptr ? std::vector<float>(1) : std::vector<float>(values, values + count);
}

// Leaves out each barrier of a block (or a warp) that was met so far, and expects that a fault or a
// wrong result shows it under three seeds; but `spare` are known not to be needed. Returns how many
// there are.
inline size_t expect_barriers_needed(const std::function<bool()>& is_right, size_t spare = 0,
                                     simt::SiteKind kind = simt::SiteKind::BlockBarrier) {
    size_t barriers = 0;
    std::set<std::pair<std::string, int>> unnoticed;
    for (const simt::Site& site : simt::sites()) {
        if (site.kind != kind) continue;
        ++barriers;
        for (uint64_t seed = 1; seed <= 3; ++seed) {
            simt::config().seed = seed;
            simt::config().without = site;
            bool right = false;
            const auto fault = simt::fault_of([&] { right = is_right(); });
            if (!fault && right) unnoticed.insert({site.file, site.line});
        }
    }
    EXPECT_EQ(unnoticed.size(), spare) << testing::PrintToString(unnoticed);
    return barriers;
}

// Dimension j of a code, without a centroid.
inline float value_of(const CodeView& code, const uint32_t* words, size_t j) {
    const auto byte = [&](size_t i) { return words[i / 4] >> (i % 4 * 8) & 255u; };
    const auto half = [&] { return static_cast<uint16_t>(words[j / 2] >> (j % 2 * 16)); };
    const auto entry = [&](size_t bits) {
        size_t m = 0;
        while (code.sub_begin[m + 1] <= j)
            ++m;
        const size_t begin = code.sub_begin[m], width = code.sub_begin[m + 1] - begin;
        const size_t number = byte(m * bits / 8) >> (m * bits % 8) & ((1u << bits) - 1);
        return code.codebooks[(begin << bits) + number * width + (j - begin)];
    };
    switch (code.kind) {
        case CodeKind::Float32: return std::bit_cast<float>(words[j]);
        case CodeKind::Float16: return float_from_float16(half());
        case CodeKind::BFloat16: return float_from_bfloat16(half());
        case CodeKind::RangeInt8:
            return std::fma(static_cast<float>(byte(j)), code.step[j], code.offset[j]);
        case CodeKind::ScaledInt8:
            return static_cast<float>(static_cast<int8_t>(byte(j))) *
                   std::bit_cast<float>(words[code.words - 1]);
        case CodeKind::Product8: return entry(8);
        case CodeKind::Product4: return entry(4);
        case CodeKind::Bits: break;
    }
    const size_t lines = (code.dim + 31) / 32;
    uint32_t value = 0;
    for (size_t p = 0; p < code.bits; ++p)
        value = 2 * value + (words[p * lines + j / 32] >> (j % 32) & 1u);
    const float middle = 0.5f * static_cast<float>((1u << code.bits) - 1);
    const uint32_t* const factors = words + code.words - bits_factor_words(code.bits);
    return (static_cast<float>(value) - middle) *
           bits_factor(factors, 1, code.bits, BitsFactor::Scale);
}

inline float step_of_key(Metric metric, float sum, float x, float query) {
    if (is_similarity(metric)) return std::fma(x, query, sum);
    const float difference = x - query;
    return metric == Metric::L1 ? std::fabs(difference) + sum
                                : std::fma(difference, difference, sum);
}

// Of a row of a re-rank store, as cpu/kernels_pair.cpp: 32 lanes, added by a tree.
inline float pair_key(Metric metric, const float* row, const float* query, size_t dim) {
    float lanes[32] = {};
    for (size_t j = 0; j < dim; ++j)
        lanes[j % 32] = step_of_key(metric, lanes[j % 32], row[j], query[j]);
    for (size_t half = 16; half > 0; half /= 2) {
        for (size_t i = 0; i < half; ++i)
            lanes[i] += lanes[i + half];
    }
    return is_similarity(metric) ? -lanes[0] : lanes[0];
}

constexpr CodeKind kRowKinds[] = {CodeKind::Float32, CodeKind::Float16, CodeKind::BFloat16,
                                  CodeKind::RangeInt8};

// Cells of codes, each from a block on, and their parts of at most chunk_blocks blocks.
class StoredCase {
   public:
    // centroids: of each cell, or of no rows. `masked`: some vectors may not be found.
    StoredCase(const CodeView& view, const std::vector<Rows>& cells, const Matrix& centroids,
               bool residual, size_t chunk_blocks, bool masked, Random& random)
        : view_(view), centroids_(centroids), residual_(residual) {
        for (size_t c = 0; c < cells.size(); ++c)
            add_cell(cells[c], static_cast<unsigned>(c), chunk_blocks);
        for (size_t place = 0; place < cell_of_block_.size() * kBlock; ++place)
            tags_.push_back(static_cast<unsigned>(place * 2654435761u));
        for (size_t b = 0; masked && b < cell_of_block_.size(); ++b)
            masks_.push_back(static_cast<uint16_t>(b % 3 == 1 ? 0 : random.next()));
        copy_to_device();
    }

    size_t dim() const { return view_.dim; }
    bool has_centroids() const { return centroids_.rows != 0; }
    const std::vector<Chunk>& chunks() const { return chunks_; }
    unsigned tag(unsigned place) const { return tags_[place]; }
    const float* centroid(unsigned cell) const { return centroids_.row(cell); }
    const unsigned* cell_of_block() const { return device_->cell_of_block.data(); }
    const unsigned* tags() const { return device_->tags.data(); }
    // Those of a chunk that may be found.
    std::vector<unsigned> places_of(const Chunk& chunk) const {
        std::vector<unsigned> places;
        for (unsigned v = 0; v < chunk.vectors; ++v) {
            const unsigned place = chunk.first_block * 16 + v;
            const bool found = masks_.empty() || (masks_[place / 16] >> (place % 16) & 1) != 0;
            if (found) places.push_back(place);
        }
        return places;
    }
    // The vector at a place, with its centroid.
    const std::vector<float>& vector(unsigned place) const { return vectors_.at(place); }
    float factor(unsigned place, BitsFactor which) const {
        const size_t first = view_.words - bits_factor_words(view_.bits);
        const uint32_t* const words =
            blocks_.data() + (place / 16 * view_.words + first) * kBlock + place % 16;
        return bits_factor(words, kBlock, view_.bits, which);
    }
    // With the bits of the CPU's scan.
    float key(Metric metric, unsigned place, const float* query) const {
        const std::vector<float>& x = vectors_.at(place);
        float sum = 0;
        for (size_t j = 0; j < x.size(); ++j)
            sum = step_of_key(metric, sum, x[j], query[j]);
        if (is_similarity(metric)) return 0.0f - sum;
        const bool biased = view_.kind == CodeKind::Bits && metric == Metric::L2;
        return biased ? sum + factor(place, BitsFactor::Bias) : sum;
    }
    StoredCodes stored() const {
        StoredCodes stored{};
        stored.code = view_;
        stored.code.offset = device_->offset.data();
        stored.code.step = device_->step.data();
        stored.code.sub_begin = device_->sub_begin.data();
        stored.code.codebooks = device_->codebooks.data();
        stored.blocks = device_->blocks.data();
        stored.tags = device_->tags.data();
        stored.masks = masks_.empty() ? nullptr : device_->masks.data();
        stored.chunks = device_->chunks.data();
        stored.centroids = has_centroids() ? device_->centroids.data() : nullptr;
        stored.residual = residual_;
        return stored;
    }
    std::vector<uint32_t> block_words() const { return blocks_; }

   private:
    struct OnDevice {
        DeviceArray<uint32_t> blocks;
        DeviceArray<unsigned> tags, cell_of_block, sub_begin;
        DeviceArray<unsigned short> masks;
        DeviceArray<Chunk> chunks;
        DeviceArray<float> centroids, offset, step, codebooks;
    };

    void add_cell(const Rows& rows, unsigned cell, size_t chunk_blocks) {
        const std::vector<uint32_t> blocks = checks::to_blocks(rows, view_.words);
        const size_t first = cell_of_block_.size();
        for (size_t i = 0; i < rows.size(); ++i) {
            std::vector<float>& x = vectors_[static_cast<unsigned>(first * kBlock + i)];
            for (size_t j = 0; j < view_.dim; ++j) {
                const float base = residual_ ? centroids_.row(cell)[j] : 0.0f;
                const float value = value_of(view_, rows[i].data(), j);
                x.push_back(residual_ ? value + base : value);
            }
        }
        for (size_t begin = 0; begin < rows.size(); begin += chunk_blocks * kBlock) {
            const size_t count = std::min(chunk_blocks * kBlock, rows.size() - begin);
            chunks_.push_back({static_cast<unsigned>(first + begin / kBlock),
                               static_cast<unsigned>(count), cell});
        }
        cell_of_block_.insert(cell_of_block_.end(), blocks_for(rows.size()), cell);
        blocks_.insert(blocks_.end(), blocks.begin(), blocks.end());
    }

    void copy_to_device() {
        const bool product = view_.kind == CodeKind::Product8 || view_.kind == CodeKind::Product4;
        const size_t entries = view_.kind == CodeKind::Product8 ? 256 : 16;
        std::vector<unsigned> sub_begin(1, 0);
        if (product) sub_begin.assign(view_.sub_begin, view_.sub_begin + view_.subquantizers + 1);
        std::vector<unsigned short> masks(masks_.begin(), masks_.end());
        masks.resize(std::max<size_t>(1, masks.size()));
        device_.reset(
            new OnDevice{DeviceArray<uint32_t>(blocks_), DeviceArray<unsigned>(tags_),
                         DeviceArray<unsigned>(cell_of_block_), DeviceArray<unsigned>(sub_begin),
                         DeviceArray<unsigned short>(masks), DeviceArray<Chunk>(chunks_),
                         DeviceArray<float>(copy_of(has_centroids() ? centroids_.row(0) : nullptr,
                                                    centroids_.rows * view_.dim)),
                         DeviceArray<float>(copy_of(view_.offset, view_.dim)),
                         DeviceArray<float>(copy_of(view_.step, view_.dim)),
                         DeviceArray<float>(copy_of(view_.codebooks, entries * view_.dim))});
    }

    CodeView view_;
    Matrix centroids_;
    bool residual_;
    std::vector<uint32_t> blocks_;
    std::vector<unsigned> tags_, cell_of_block_;
    std::vector<uint16_t> masks_;
    std::vector<Chunk> chunks_;
    std::map<unsigned, std::vector<float>> vectors_;
    std::unique_ptr<const OnDevice> device_;
};

// Codes of any words.
struct RandomCodes {
    checks::CodeCase code;
    std::vector<Rows> cells;
    Matrix centroids;
    RandomCodes(CodeKind kind, size_t dim, size_t bits, const std::vector<size_t>& sizes,
                bool with_centroids, Random& random)
        : code(kind, dim, bits, random), centroids(with_centroids ? sizes.size() : 0, dim, random) {
        for (const size_t size : sizes) {
            Rows rows;
            for (size_t i = 0; i < size; ++i)
                rows.push_back(i % 7 == 6 ? rows[i - 3] : code.draw_row(random, false));
            cells.push_back(std::move(rows));
        }
    }
    CodeView view() const { return code.view(); }
};

// Which queries look into which chunks. Every chunk is looked into by a number of queries that
// counts[chunk % size] says.
class PairsCase {
   public:
    PairsCase(const StoredCase& store, const Matrix& queries, Metric metric,
              const std::vector<size_t>& counts, Random& random, unsigned tile = kPairTile)
        : PairsCase(store, queries, metric, drawn(store, queries, counts, random), tile) {}
    // The queries of each chunk are given.
    PairsCase(const StoredCase& store, const Matrix& queries, Metric metric,
              const std::vector<std::vector<size_t>>& queries_of, unsigned tile = kPairTile) {
        begin_.push_back(0);
        for (size_t c = 0; c < store.chunks().size(); ++c) {
            for (const size_t query : queries_of[c]) {
                const unsigned cell = store.chunks()[c].cell;
                const float key = store.has_centroids() ? key_of(metric, store.centroid(cell),
                                                                 queries.row(query), store.dim())
                                                        : 0.0f;
                pairs_.push_back({static_cast<unsigned>(query), key});
            }
            const unsigned begin = begin_.back(), end = static_cast<unsigned>(pairs_.size());
            for (unsigned from = begin; from < end; from += tile)
                tiles_.push_back({store.chunks()[c], from, std::min(from + tile, end)});
            begin_.push_back(end);
        }
        std::vector<ScanPair> pairs = pairs_;
        pairs.resize(std::max<size_t>(1, pairs.size()));
        const std::vector<unsigned> count(1, static_cast<unsigned>(tiles_.size()));
        tiles_.resize(std::max<size_t>(1, tiles_.size()));
        device_.reset(new OnDevice{DeviceArray<ScanPair>(pairs), DeviceArray<PairTile>(tiles_),
                                   DeviceArray<unsigned>(count)});
    }
    // Calls with each chunk's number and each of its pairs.
    template <class Do>
    void for_each(Do&& run) const {
        for (size_t c = 0; c + 1 < begin_.size(); ++c) {
            for (unsigned p = begin_[c]; p < begin_[c + 1]; ++p)
                run(c, pairs_[p]);
        }
    }
    ScanPairs pairs() const {
        return {device_->pairs.data(), device_->tiles.data(), device_->count.data()};
    }

   private:
    struct OnDevice {
        DeviceArray<ScanPair> pairs;
        DeviceArray<PairTile> tiles;
        DeviceArray<unsigned> count;
    };
    static std::vector<std::vector<size_t>> drawn(const StoredCase& store, const Matrix& queries,
                                                  const std::vector<size_t>& counts,
                                                  Random& random) {
        std::vector<std::vector<size_t>> result;
        for (size_t c = 0; c < store.chunks().size(); ++c) {
            const size_t count = std::min(counts[c % counts.size()], queries.rows);
            result.push_back(random_sample(queries.rows, count, random));
        }
        return result;
    }
    static float key_of(Metric metric, const float* centroid, const float* query, size_t dim) {
        return static_cast<float>(checks::exact_key(metric, centroid, query, dim).key);
    }

    std::vector<ScanPair> pairs_;
    std::vector<unsigned> begin_;
    std::vector<PairTile> tiles_;
    std::unique_ptr<const OnDevice> device_;
};

using Offer = std::pair<unsigned, uint64_t>;  // place, packed key (0 where none is kept)
using Offers = std::vector<std::set<Offer>>;  // of each query

class ListsCase {
   public:
    ListsCase(size_t queries, size_t room)
        : queries_(queries),
          room_(room),
          counts_(queries, 0u),
          places_(queries * room, 0u),
          keys_(queries * room, uint64_t{0}) {}
    CandidateLists lists(bool keyed = true) const {
        return {counts_.data(), places_.data(), keyed ? keys_.data() : nullptr, room_};
    }
    std::vector<unsigned> counts() const { return counts_.to_host(); }
    void set(const std::vector<unsigned>& counts, const std::vector<unsigned>& places) {
        simt::copy_to_device(counts_.data(), counts.data(), counts.size() * 4, {});
        simt::copy_to_device(places_.data(), places.data(), places.size() * 4, {});
    }
    // What there was room for.
    Offers offers() const {
        const std::vector<unsigned> counts = counts_.to_host(), places = places_.to_host();
        const std::vector<uint64_t> keys = keys_.to_host();
        Offers result(queries_);
        for (size_t q = 0; q < queries_; ++q) {
            const size_t held = std::min<size_t>(counts[q], room_);
            for (size_t i = q * room_; i < q * room_ + held; ++i)
                result[q].insert({places[i], keys[i]});
            EXPECT_EQ(result[q].size(), held) << "an offer was made twice, query " << q;
        }
        return result;
    }

   private:
    size_t queries_, room_;
    DeviceArray<unsigned> counts_, places_;
    DeviceArray<uint64_t> keys_;
};

}  // namespace nearcell::gpu
