// Scans of stored codes on a device as tests see them: codes of random words or of vectors, a scan
// of them, and what it must offer.
#pragma once

#include <bit>
#include <sstream>
#include <string>

#include <nearcell/kernels/backend.h>
#include <nearcell/quantize/codec.h>
#include <nearcell/gpu/kernels/scan_chunks.cuh>

#include "stored_case.h"

namespace nearcell::gpu {

constexpr unsigned kGrid = 3;

// Vectors about the centres of cells, in codes of their own codec.
struct EncodedCodes {
    std::unique_ptr<Codec> codec;
    std::vector<Rows> cells;
    Matrix centroids;

    struct Shape {
        CodeKind kind = CodeKind::Float32;
        size_t dim = 32, bits = 1;
        double offset = 0;  // how far the centres are from the origin
        double spread = 1;  // of the centres
        double width = 1;   // of a cell
        bool residual = true;
        double zeros = 0.0;  // the part of the vectors that are their centre
    };
    EncodedCodes(const Shape& shape, const std::vector<size_t>& sizes, Random& random)
        : codec(make_codec({shape.kind, std::max<size_t>(1, shape.dim / 3), shape.bits, false},
                           shape.dim)),
          centroids(sizes.size(), shape.dim) {
        size_t total = 0;
        for (const size_t size : sizes)
            total += size;
        Matrix rows(total, shape.dim);
        size_t row = 0;
        for (size_t c = 0; c < sizes.size(); ++c) {
            for (size_t j = 0; j < shape.dim; ++j)
                centroids.row(c)[j] =
                    static_cast<float>(shape.offset + shape.spread * random.normal());
            for (size_t i = 0; i < sizes[c]; ++i, ++row)
                draw_row(shape, centroids.row(c), rows.row(row), random);
        }
        Matrix training(std::max<size_t>(total, 256), shape.dim);  // codebooks want as many
        for (size_t i = 0; i < training.rows; ++i)
            draw_row(shape, centroids.row(i % sizes.size()), training.row(i), random);
        codec->train(training.view(), {7, 1, 1, {}}, cpu_backend());
        std::vector<uint32_t> words(total * codec->code_words());
        codec->encode(rows.view(), words.data(), 1, cpu_backend());
        auto at = words.begin();
        const auto step = static_cast<ptrdiff_t>(codec->code_words());
        for (const size_t size : sizes) {
            Rows cell;
            for (size_t i = 0; i < size; ++i, at += step)
                cell.emplace_back(at, at + step);
            cells.push_back(std::move(cell));
        }
    }
    CodeView view() const { return codec->view(); }

   private:
    static void draw_row(const Shape& shape, const float* centre, float* row, Random& random) {
        const double width = random.uniform() < shape.zeros ? 0 : shape.width;
        for (size_t j = 0; j < shape.dim; ++j) {
            const double base = shape.residual ? 0 : static_cast<double>(centre[j]);
            row[j] = static_cast<float>(base + width * random.normal());
        }
    }
};

// Six queries: within cells, at their centres, and as far off as `scale`.
inline Matrix queries_near(const EncodedCodes& codes, const EncodedCodes::Shape& shape,
                           double scale, Random& random) {
    Matrix queries(6, shape.dim);
    for (size_t q = 0; q < queries.rows; ++q) {
        for (size_t j = 0; j < shape.dim; ++j) {
            const double base = static_cast<double>(codes.centroids.row(q % 3)[j]);
            const double width = q % 4 == 3 ? 0 : q % 4 == 2 ? scale : shape.width;
            queries.row(q)[j] = static_cast<float>(base + width * random.normal());
        }
    }
    return queries;
}

// For messages.
inline std::string text_of(const EncodedCodes::Shape& shape, double scale) {
    std::ostringstream text;
    text << "kind " << static_cast<int>(shape.kind) << ", dim " << shape.dim << ", scale " << scale
         << ", offset " << shape.offset << ", width " << shape.width
         << (shape.residual ? ", residual" : "");
    return text.str();
}

// Of float32 codes every fourth vector of the first 28 of a cell, and zeros, as queries.
inline Matrix queries_among(const RandomCodes& codes) {
    const size_t dim = codes.view().dim;
    Matrix queries(8, dim);
    for (size_t q = 0; q < 8; ++q) {
        for (size_t j = 0; j < dim; ++j)
            queries.row(q)[j] = q == 7 ? 0 : std::bit_cast<float>(codes.cells[0][q * 4][j]);
    }
    return queries;
}

// A scan and what it must offer.
struct ScanCase {
    Metric metric;
    StoredCase store;
    Matrix queries;
    PairsCase pairs;
    DeviceArray<float> values, lengths;
    std::vector<float> limits, host_lengths;
    bool refined = false;
    float margin = 1;

    template <class Codes>
    ScanCase(const Codes& codes, Metric metric_, bool residual, bool masked,
             const std::vector<size_t>& counts, const Matrix& queries_, Random& random,
             size_t chunk_blocks = 5)
        : metric(metric_),
          store(codes.view(), codes.cells, codes.centroids, residual, chunk_blocks, masked, random),
          queries(queries_),
          pairs(store, queries, metric, counts, random),
          values(queries.data),
          lengths(queries.rows, 0.0f),
          limits(queries.rows, kInfinity),
          host_lengths(queries.rows, 0.0f) {}
    // With normal queries.
    template <class Codes>
    ScanCase(const Codes& codes, Metric metric_, bool residual, bool masked,
             const std::vector<size_t>& counts, size_t query_count, Random& random)
        : ScanCase(codes, metric_, residual, masked, counts,
                   Matrix(query_count, codes.view().dim, random), random) {}

    // Of the least key; where `refined` is not set, that is the key.
    float tested(unsigned place, const ScanPair& pair, float key) const {
        if (!refined) return key;
        if (metric == Metric::L2 && !store.has_centroids()) return -kInfinity;
        const float error = store.factor(place, BitsFactor::Error);
        const float reach = metric == Metric::L2 ? error * std::sqrt(std::max(0.0f, pair.key))
                                                 : 0.5f * error * host_lengths[pair.query];
        return key - margin * reach;
    }
    Offers expected(bool keyed = true) const {
        Offers offers(queries.rows);
        pairs.for_each([&](size_t chunk, const ScanPair& pair) {
            for (const unsigned place : store.places_of(store.chunks()[chunk])) {
                const float key = store.key(metric, place, queries.row(pair.query));
                if (tested(place, pair, key) <= limits[pair.query])
                    offers[pair.query].insert({place, keyed ? pack_key(key, store.tag(place)) : 0});
            }
        });
        return offers;
    }
    void scan(ChunkScanKernel kernel, const CandidateLists& lists, unsigned grid = kGrid,
              unsigned threads = kChunkThreads) const {
        const DeviceArray<float> device_limits(limits);
        ChunkScan job{};
        job.stored = store.stored();
        job.pairs = pairs.pairs();
        job.lists = lists;
        job.queries = values.data();
        job.limits = device_limits.data();
        job.refined = refined;
        job.margin = margin;
        simt::copy_to_device(lengths.data(), host_lengths.data(), host_lengths.size() * 4, {});
        job.lengths = lengths.data();
        simt::launch({"scan_chunks", grid, threads}, kernel, job);
    }
    Offers found(bool keyed = true, unsigned grid = kGrid) const {
        const ListsCase lists(queries.rows, room());
        scan(scan_chunks_kernel(kind(), metric), lists.lists(keyed), grid);
        return lists.offers();
    }
    CodeKind kind() const { return store.stored().code.kind; }
    // More than any query can find.
    size_t room() const { return 500; }

    // Limits that let some pass: keys themselves, infinities, and one that lets nothing pass.
    void draw_limits(Random& random) {
        for (size_t q = 0; q < limits.size(); ++q) {
            const Chunk& chunk = store.chunks()[random.below(store.chunks().size())];
            const unsigned place =
                chunk.first_block * 16 + static_cast<unsigned>(random.below(chunk.vectors));
            limits[q] = store.key(metric, place, queries.row(q));
            if (q % 6 == 1) limits[q] = q % 12 == 1 ? kInfinity : -kInfinity;
            if (q % 7 == 5) limits[q] = std::numeric_limits<float>::quiet_NaN();
        }
    }
};

}  // namespace nearcell::gpu
