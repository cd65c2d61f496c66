// CellIndex::add: rows are assigned to cells, encoded, and appended, slice by slice; a failure on
// the way takes back what was appended.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <new>
#include <numeric>
#include <span>
#include <vector>

#include <nearcell/core/half.h>
#include <nearcell/core/large_pages.h>
#include <nearcell/core/parallel.h>
#include <nearcell/ivf/index_state.h>

namespace nearcell {
namespace {

constexpr size_t kSliceRows = 16384;
constexpr size_t kLeastKept = 4096;  // rows of a slice: fewer are not worth a place on a device

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

// Codes of the rows of x, row after row: in the buffer, or x itself where that is its own code.
const uint32_t* encode(const Codec& codec, MatrixView<const float> x, std::vector<uint32_t>& buffer,
                       int threads, const Backend& backend) {
    if (codec.view().kind == CodeKind::Float32 && x.stride == x.cols)
        return reinterpret_cast<const uint32_t*>(x.data);
    buffer.resize(x.rows * codec.code_words());
    codec.encode(x, buffer.data(), threads, backend);
    return buffer.data();
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
    const int64_t limit = std::numeric_limits<int64_t>::max() - 1;
    std::vector<int64_t> generated;
    if (ids.empty()) {
        check(static_cast<uint64_t>(limit - state.next_id) >= x.rows, StatusCode::InvalidArgument,
              "no ", x.rows, " ids are left above the largest one stored, ", state.next_id - 1,
              ": pass ids");
        generated.resize(x.rows);
        std::iota(generated.begin(), generated.end(), state.next_id);
        ids = generated;
    } else {
        check_new_ids(ids, state.id_map());
    }
    const int64_t first = ids.empty() ? state.next_id : ids.front();
    state.append(x, ids.data(), call.threads, call.progress);
    for (const int64_t id : ids)
        state.next_id = std::max(state.next_id, id + 1);
    return first;
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

void CellIndex::State::append(const Vectors& x, const int64_t* ids, int threads,
                              const Progress& progress) {
    const CellShape shape = this->shape();
    std::vector<size_t> old_sizes(cells.size());
    for (size_t c = 0; c < cells.size(); ++c)
        old_sizes[c] = cells[c].size();
    IdMap* const mapped = id_map_if_built();
    std::vector<uint32_t> labels, code_buffer, rerank_buffer;  // of a slice
    const std::shared_ptr<const void> kept = backend->keep(centroid_view());
    const CodeKind kind = codec->view().kind;
    const bool completes = kind == CodeKind::Bits || keeps_factors();
    const bool uses_rows = options.cells > 1 || kind != CodeKind::Float32;  // a backend does
    try {
        if (mapped != nullptr) mapped->reserve(mapped->size() + x.rows);
        const size_t slice = std::max(kSliceRows, backend->least_rows());
        for (size_t first = 0; first < x.rows; first += slice) {
            report(progress, "add", static_cast<double>(first), static_cast<double>(x.rows));
            const size_t count = std::min(slice, x.rows - first);
            const PreparedRows rows = prepare(x, first, count, threads);
            const std::shared_ptr<const void> kept_rows =
                count >= kLeastKept && uses_rows ? backend->keep(rows.coded) : nullptr;
            labels.assign(count, 0);
            if (options.cells > 1) {
                backend->assign(rows.coded, centroid_view(), coarse_metric(), labels.data(),
                                nullptr, threads);
            }
            // On a device nothing but codes is made of residuals, unless the host wants them, too.
            if (options.residual) code_buffer.resize(count * codec->code_words());
            const bool is_coded =
                options.residual &&
                codec->encode_residuals(rows.coded, labels.data(), centroid_view(),
                                        code_buffer.data(), threads, *backend);
            const std::vector<float> residual = options.residual && (completes || !is_coded)
                                                    ? residuals(rows.coded, labels.data())
                                                    : std::vector<float>();
            const MatrixView<const float> coded =
                options.residual ? MatrixView<const float>(residual.data(), count, coded_dim)
                                 : rows.coded;
            const uint32_t* const codes =
                is_coded ? code_buffer.data()
                         : encode(*codec, coded, code_buffer, threads, *backend);
            if (completes) complete_codes(coded, code_buffer.data(), labels.data(), threads);
            const uint32_t* const rerank = rerank_codec ? encode(*rerank_codec, rows.original,
                                                                 rerank_buffer, threads, *backend)
                                                        : nullptr;

            // Rows of each cell together, so that cells can be filled side by side.
            std::vector<size_t> starts(cells.size() + 1, 0);
            for (const uint32_t label : labels)
                ++starts[label + 1];
            for (size_t c = 0; c < cells.size(); ++c) {
                check(cells[c].size() + starts[c + 1] <= std::numeric_limits<uint32_t>::max(),
                      StatusCode::Unsupported,
                      "a cell would hold more than 2^32 - 1 vectors: use more cells");
                starts[c + 1] += starts[c];
            }
            // Side by side, since that copies what is there already.
            parallel_for(cells.size(), threads, [&](size_t c, int) {
                const size_t here = starts[c + 1] - starts[c];
                if (here != 0) cells[c].grow(here, shape);
            });
            std::vector<size_t> next(starts.begin(), starts.end() - 1);
            std::vector<uint32_t> order(count);
            for (size_t i = 0; i < count; ++i)
                order[next[labels[i]]++] = static_cast<uint32_t>(i);
            parallel_for(cells.size() > 1 ? cells.size() : 1, threads, [&](size_t c, int) {
                const size_t here = starts[c + 1] - starts[c];
                if (here == 0) return;
                cells[c].set(cells[c].size() - here, {order.data() + starts[c], here}, ids + first,
                             codes, rerank, shape);
            });
        }
        report(progress, "add", static_cast<double>(x.rows), static_cast<double>(x.rows));
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
    use_large_pages();
}

void CellIndex::State::use_large_pages() noexcept {
    constexpr size_t kLeastBytes = 8 * kLargePage;
    if (size < size_in_large_pages + size_in_large_pages / 4) return;
    try {
        std::vector<std::span<const std::byte>> arrays;
        size_t bytes = 0;
        for (const Cell& cell : cells) {
            cell.append_arrays(arrays);
            bytes += cell.memory_bytes();
        }
        if (bytes < kLeastBytes) return;
        size_in_large_pages = size;
        move_to_large_pages(std::move(arrays));
    } catch (const std::bad_alloc&) {  // searches are slower, that is all
    }
}

}  // namespace nearcell
