// CellIndex::add: rows are assigned to cells and encoded, slice by slice; then each cell grows
// once, by all of its rows, or once for each kCodeBytes of codes. A failure on the way takes back
// what was appended.
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <nearcell/core/half.h>
#include <nearcell/core/parallel.h>
#include <nearcell/ivf/index_state.h>
#include <nearcell/quantize/cluster_rows.h>

namespace nearcell {
namespace {

constexpr size_t kSliceRows = 16384;
constexpr size_t kSliceBytes = size_t{8} << 20;  // of rows that go to a device together
constexpr size_t kSlicesAtOnce = 8;              // there: copies and kernels of some overlap
constexpr size_t kLeastKept = 4096;  // rows of a slice: fewer are not worth a place on a device
constexpr size_t kPieceRows = 4096;  // of a cell, that a task fills in
constexpr size_t kCodeBytes = size_t{2} << 30;  // of codes that wait for their places

// Whether ids ascend from `next` on, which is above all that are stored: they are new, then, and
// distinct, and nothing need be looked up.
bool follow_all(std::span<const int64_t> ids, int64_t next) {
    return ids.front() >= next && ids.back() < std::numeric_limits<int64_t>::max() &&
           std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end();
}

void check_new_ids(std::span<const int64_t> ids, const IdMap& stored) {
    for (size_t i = 0; i < ids.size(); ++i) {
        check(ids[i] >= 0, StatusCode::InvalidArgument, "ids[", i, "] = ", ids[i],
              " is negative; ids must be at least 0 (-1 marks a missing neighbour)");
        check(ids[i] < std::numeric_limits<int64_t>::max(), StatusCode::InvalidArgument, "ids[", i,
              "] = ", ids[i], " is the largest 64-bit number; ids must be below it");
        check(stored.find(ids[i]) == nullptr, StatusCode::AlreadyExists, "ids[", i, "] = ", ids[i],
              " is already stored: use update() to replace its vector, or another id");
    }
    std::vector<int64_t> sorted(ids.begin(), ids.end());
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    check(twice == sorted.end(), StatusCode::InvalidArgument, "ids has ",
          twice == sorted.end() ? 0 : *twice, " twice; ids must be distinct");
}

bool is_float32(const Codec* codec) {
    return codec != nullptr && codec->view().kind == CodeKind::Float32;
}

float finite(double value) {
    constexpr double kLargest = static_cast<double>(std::numeric_limits<float>::max());
    return static_cast<float>(std::clamp(value, -kLargest, kLargest));
}

}  // namespace

int64_t CellIndex::add(const Vectors& x, std::span<const int64_t> ids, const CallOptions& call) {
    const std::unique_lock lock(state_->mutex);
    State& state = *state_;
    state.require_trained("add()");
    check_dim(x, state.options.dim, "x");
    check(ids.empty() || ids.size() == x.rows, StatusCode::InvalidArgument, "ids has ", ids.size(),
          " entries and x has ", x.rows, " rows: pass one id a row, or none");
    check_finite(x, "x", call.threads);
    if (ids.empty()) {
        const int64_t first = state.next_id, end = std::numeric_limits<int64_t>::max();
        check(x.rows <= static_cast<uint64_t>(end - first), StatusCode::InvalidArgument, "x has ",
              x.rows, " rows, but only ", end - first, " ids are left from the next one, ", first,
              ", to 2^63 - 2; ids of removed vectors are not given again: pass ids");
        state.append(x, {nullptr, first}, call.threads, call.progress);
        state.next_id += static_cast<int64_t>(x.rows);
        return first;
    }
    if (!follow_all(ids, state.next_id)) check_new_ids(ids, state.id_map());
    state.append(x, {ids.data()}, call.threads, call.progress);
    state.next_id = std::max(state.next_id, *std::max_element(ids.begin(), ids.end()) + 1);
    return ids.front();
}

void CellIndex::State::complete_codes(MatrixView<const float> rows, uint32_t* codes,
                                      const uint32_t* labels, int threads) const {
    const CodeView view = codec->view();
    const bool bits = view.kind == CodeKind::Bits;
    const bool similarity = coarse_metric() == Metric::InnerProduct;
    const size_t count = rows.rows;
    constexpr size_t kRows = 256;
    parallel_for((count + kRows - 1) / kRows, threads, [&](size_t task, int) {
        const size_t first = task * kRows, some = std::min(kRows, count - first);
        std::vector<float> decoded(some * coded_dim), values(coded_dim);
        backend->decode_rows(view, codes + first * view.words, some,
                             {decoded.data(), some, coded_dim});
        for (size_t i = 0; i < some; ++i) {
            const float* x = decoded.data() + i * coded_dim;
            uint32_t* const end = codes + (first + i + 1) * view.words;
            if (bits) {
                const float* centroid = centroids.data() + labels[first + i] * coded_dim;
                const auto dot = [&](const float* a, const float* b) {
                    return 0.0f - backend->key(a, b, coded_dim, Metric::InnerProduct);
                };
                uint32_t* factors = end - bits_factor_words(view.bits);
                float term = 0;
                if (similarity) {  // <c - m, x> of the decoded residual less <c, r> of the true one
                    for (size_t j = 0; j < coded_dim; ++j)
                        values[j] = centroid[j] - center[j];
                    term = dot(x, values.data()) - dot(centroid, rows.row(first + i));
                } else {  // |x|^2 + 2 <c - m, x>, as one dot product
                    for (size_t j = 0; j < coded_dim; ++j)
                        values[j] = x[j] + 2.0f * (centroid[j] - center[j]);
                    term = bits_factor(factors, 1, view.bits, BitsFactor::Bias) +
                           dot(x, values.data());
                }
                if (view.bits == 1)
                    term = float_from_bfloat16(bfloat16_below(finite(static_cast<double>(term))));
                set_bits_factor(factors, view.bits, BitsFactor::Term, term);
                continue;
            }
            double square = 0, cross = 0, steps = 0;
            for (size_t j = 0; j < coded_dim; ++j) {
                const double m = center.empty() ? 0.0 : static_cast<double>(center[j]);
                const double moved = static_cast<double>(x[j]) - (options.residual ? 0.0 : m);
                const double step = static_cast<double>(view.step[j]);
                square += moved * moved;
                if (step > 0) steps += moved / step * (moved / step);
                if (!options.residual) continue;
                cross +=
                    moved * (static_cast<double>(centroids[labels[first + i] * coded_dim + j]) - m);
            }
            // Lowered by more than the roundings of a scan.
            const double slack = 0x1p-20 * (square + std::fabs(2 * cross));
            const double term = similarity ? 0 : square + 2 * cross - slack;
            end[-2] = std::bit_cast<uint32_t>(finite(term));
            end[-1] = std::bit_cast<uint32_t>(finite(std::sqrt(steps)));
        }
    });
}

void CellIndex::State::encode_rows(const Vectors& x, EncodedRows& out, int threads,
                                   const std::function<void(size_t done)>& tell) const {
    const CellShape shape = this->shape();
    const uint32_t* const values = static_cast<const uint32_t*>(x.data);
    out.labels.resize_for_overwrite(x.rows);
    if (!out.codes_given) out.code_buffer.resize_for_overwrite(x.rows * shape.code_words);
    if (!out.rerank_given) out.rerank_buffer.resize_for_overwrite(x.rows * shape.rerank_words);
    uint32_t* const labels = out.labels.mutable_data();
    uint32_t* const codes = out.code_buffer.mutable_data();
    uint32_t* const rerank = out.rerank_buffer.mutable_data();
    out.codes = out.codes_given ? values : codes;
    out.rerank = out.rerank_given ? values : rerank;

    const bool is_device = backend->least_rows() > 1;
    const size_t slice =
        is_device ? std::max(kLeastKept, kSliceBytes / (4 * coded_dim)) : kSliceRows;
    const size_t slices = (x.rows + slice - 1) / slice;
    const CodeKind kind = codec->view().kind;
    const bool completes = kind == CodeKind::Bits || keeps_factors();
    // All threads share a slice, or a device has slices of several, one of a thread each; of all
    // threads where they have work of their own.
    int workers = 1;
    if (is_device && slices >= kSlicesAtOnce) {
        const bool encodes = completes || (rerank_codec && !out.rerank_given);
        const int most = static_cast<int>(kSlicesAtOnce);
        workers = encodes ? resolve_threads(threads) : std::min(resolve_threads(threads), most);
    }
    const bool uses_rows = options.cells > 1 || kind != CodeKind::Float32;  // a backend does
    struct Buffers {
        PreparedRows rows;
        AlignedBuffer<float> residuals;
    };
    std::vector<Buffers> buffers(static_cast<size_t>(workers));
    tell(0);
    parallel_for(slices, workers, [&](size_t i, int worker) {
        const size_t first = i * slice, count = std::min(slice, x.rows - first);
        if (worker == 0) tell(first);  // the calling thread
        PreparedRows& rows = buffers[static_cast<size_t>(worker)].rows;
        AlignedBuffer<float>& residual_values = buffers[static_cast<size_t>(worker)].residuals;
        prepare(x, first, count, threads, rows);
        const std::shared_ptr<const void> kept =
            count >= kLeastKept && uses_rows ? backend->keep(rows.coded) : nullptr;
        uint32_t* const code = out.codes_given ? nullptr : codes + first * shape.code_words;
        std::fill_n(labels + first, count, 0u);
        if (options.cells > 1) {
            backend->assign(rows.coded, centroid_view(), coarse_metric(), labels + first, nullptr,
                            threads);
        }
        // On a device nothing but codes is made of residuals, unless the host wants them, too.
        const bool is_coded =
            options.residual && codec->encode_residuals(rows.coded, labels + first, centroid_view(),
                                                        code, threads, *backend);
        MatrixView<const float> coded = rows.coded;
        if (options.residual && (completes || !is_coded)) {
            residual_values.resize_for_overwrite(count * coded_dim);
            const MatrixView<float> to(residual_values.mutable_data(), count, coded_dim);
            subtract_centroids(rows.coded, labels + first, to, threads);
            coded = to;
        }
        const auto encode = [&](const Codec& by, MatrixView<const float> from, uint32_t* to) {
            try {
                by.encode(from, to, threads, *backend);
            } catch (const UnfitValue& error) {
                std::string name = "x";
                if (from.data != rows.original.data && !transforms.empty()) name = "transformed x";
                if (from.data == residual_values.data()) name = "residual of " + name;
                throw error.of_rows_from(first, name);
            }
        };
        if (!out.codes_given && !is_coded) encode(*codec, coded, code);
        if (completes) complete_codes(coded, code, labels + first, threads);
        if (rerank_codec && !out.rerank_given) {
            encode(*rerank_codec, rows.original, rerank + first * shape.rerank_words);
        }
    });
}

void CellIndex::State::place_rows(const EncodedRows& rows, RowIds ids, int threads) {
    const CellShape shape = this->shape();
    ClusterRows groups;
    groups.group({rows.labels.data(), rows.labels.size()}, cells.size(), threads);
    std::vector<size_t> old_sizes(cells.size()), sizes(cells.size());
    struct Piece {
        size_t cell, first;  // of the cell's new rows
        std::span<const uint32_t> rows;
    };
    std::vector<Piece> pieces;
    for (size_t c = 0; c < cells.size(); ++c) {
        const std::span<const uint32_t> all = groups.rows(c);
        old_sizes[c] = cells[c].size();
        sizes[c] = old_sizes[c] + all.size();
        check(sizes[c] <= std::numeric_limits<uint32_t>::max(), StatusCode::Unsupported,
              "a cell would hold more than 2^32 - 1 vectors: use more cells");
        for (size_t i = 0; i < all.size(); i += kPieceRows)
            pieces.push_back({c, i, all.subspan(i, std::min(kPieceRows, all.size() - i))});
    }
    memory.make_room(cells, sizes, shape, threads);
    // Side by side, since that copies what is there already.
    parallel_for(cells.size(), threads, [&](size_t c, int) {
        if (sizes[c] != old_sizes[c]) cells[c].grow(sizes[c] - old_sizes[c], shape);
    });
    parallel_for(pieces.size(), threads, [&](size_t i, int) {
        const Piece& piece = pieces[i];
        cells[piece.cell].set(old_sizes[piece.cell] + piece.first, piece.rows, ids, rows.codes,
                              rows.rerank, shape);
    });
}

void CellIndex::State::append(const Vectors& x, RowIds ids, int threads, const Progress& progress) {
    const CellShape shape = this->shape();
    std::vector<size_t> old_sizes(cells.size());
    for (size_t c = 0; c < cells.size(); ++c)
        old_sizes[c] = cells[c].size();
    IdMap* const mapped = id_map_if_built();
    const std::shared_ptr<const void> kept = backend->keep(centroid_view());
    const double total = static_cast<double>(x.rows);
    try {
        if (mapped != nullptr) mapped->reserve(mapped->size() + x.rows);
        EncodedRows rows;
        const bool as_given = x.type == ElementType::Float32 && options.metric != Metric::Cosine &&
                              x.stride == x.cols;
        rows.codes_given =
            as_given && is_float32(codec.get()) && !options.residual && transforms.empty();
        rows.rerank_given = as_given && is_float32(rerank_codec.get());
        const size_t words = 1 + (rows.codes_given ? 0 : shape.code_words) +
                             (rows.rerank_given ? 0 : shape.rerank_words);
        const size_t some = std::max(kSliceRows, kCodeBytes / (4 * words));
        for (size_t first = 0; first < x.rows; first += some) {
            try {
                encode_rows(x.slice(first, std::min(some, x.rows - first)), rows, threads,
                            [&](size_t done) {
                                report(progress, "add", static_cast<double>(first + done), total);
                            });
            } catch (const UnfitValue& error) {
                throw error.of_rows_from(first);
            }
            place_rows(rows, ids.from(first), threads);
        }
        report(progress, "add", total, total);
    } catch (...) {
        for (size_t c = 0; c < cells.size(); ++c) {
            if (cells[c].size() > old_sizes[c]) cells[c].truncate(old_sizes[c], shape);
        }
        refresh_views();
        throw;
    }
    if (mapped != nullptr) {
        for (size_t c = 0; c < cells.size(); ++c) {
            for (size_t s = old_sizes[c]; s < cells[c].size(); ++s) {
                mapped->set(cells[c].ids()[s],
                            {static_cast<uint32_t>(c), static_cast<uint32_t>(s)});
            }
        }
    }
    size += x.rows;
    refresh_views();
}

}  // namespace nearcell
