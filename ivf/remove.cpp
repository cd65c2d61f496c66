// CellIndex::remove, update and reconstruct: the operations that find vectors by id.
#include <algorithm>
#include <cmath>

#include <nearcell/ivf/index_state.h>

namespace nearcell {
namespace {

Location find_or_throw(const IdMap& map, int64_t id, size_t i) {
    const Location* place = map.find(id);
    check(place != nullptr, StatusCode::NotFound, "ids[", i, "] = ", id,
          " is not stored: pass ids that contains() confirms");
    return *place;
}

}  // namespace

void CellIndex::State::own_cells(std::span<const Location> places) {
    for (const Location& place : places)
        cells[place.cell].own();
}

void CellIndex::State::remove_at(std::vector<Location> places) noexcept {
    // From the last slot down, so that what moves into a gap is never itself to be removed.
    std::sort(places.begin(), places.end(), [](const Location& a, const Location& b) {
        return a.cell != b.cell ? a.cell < b.cell : a.slot > b.slot;
    });
    IdMap* const mapped = id_map_if_built();
    for (const Location& place : places) {
        const int64_t moved = cells[place.cell].swap_remove(place.slot, shape());
        if (moved >= 0 && mapped != nullptr) mapped->set(moved, place);
    }
    size -= places.size();
    refresh_views();
}

size_t CellIndex::remove(std::span<const int64_t> ids) {
    const std::unique_lock lock(state_->mutex);
    State& state = *state_;
    const IdMap& map = state.id_map();
    std::vector<int64_t> present;
    for (const int64_t id : ids) {
        if (map.find(id) != nullptr) present.push_back(id);
    }
    std::sort(present.begin(), present.end());
    present.erase(std::unique(present.begin(), present.end()), present.end());
    std::vector<Location> places;
    places.reserve(present.size());
    for (const int64_t id : present)
        places.push_back(*map.find(id));
    state.own_cells(places);
    for (const int64_t id : present)
        state.id_map_if_built()->erase(id);
    state.remove_at(std::move(places));
    return present.size();
}

void CellIndex::update(std::span<const int64_t> ids, const Vectors& x, const CallOptions& call) {
    const std::unique_lock lock(state_->mutex);
    State& state = *state_;
    state.require_trained("update()");
    check_dim(x, state.options.dim, "x");
    check(ids.size() == x.rows, StatusCode::InvalidArgument, "ids has ", ids.size(),
          " entries and x has ", x.rows, " rows: pass one id a row");
    check_finite(x, "x", call.threads);
    const IdMap& map = state.id_map();
    std::vector<Location> old_places(ids.size());
    for (size_t i = 0; i < ids.size(); ++i)
        old_places[i] = find_or_throw(map, ids[i], i);
    std::vector<int64_t> sorted(ids.begin(), ids.end());
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    check(twice == sorted.end(), StatusCode::InvalidArgument, "ids has ",
          twice == sorted.end() ? 0 : *twice, " twice; ids must be distinct");
    state.own_cells(old_places);
    // The new rows go in under the same ids, which the map then points at; then the old ones go.
    state.append(x, {ids.data()}, call.threads, call.progress);
    state.remove_at(std::move(old_places));
}

void CellIndex::reconstruct(std::span<const int64_t> ids, MatrixView<float> out) const {
    const std::shared_lock lock(state_->mutex);
    const State& state = *state_;
    check(out.rows == ids.size() && out.cols == state.options.dim, StatusCode::InvalidArgument,
          "out is ", out.rows, " x ", out.cols, "; it must be ", ids.size(), " x ",
          state.options.dim);
    check_dim(MatrixView<const float>(out), state.options.dim, "out");
    const IdMap& map = state.id_map();
    std::vector<Location> places(ids.size());
    for (size_t i = 0; i < ids.size(); ++i)
        places[i] = find_or_throw(map, ids[i], i);

    const CellShape shape = state.shape();
    const bool from_rerank =
        state.rerank_codec != nullptr;  // the better copy, in the original space
    const Codec& codec = from_rerank ? *state.rerank_codec : *state.codec;
    const size_t words = from_rerank ? shape.rerank_words : shape.code_words;
    std::vector<uint32_t> codes(ids.size() * words);
    for (size_t i = 0; i < ids.size(); ++i) {
        const Cell& cell = state.cells[places[i].cell];
        uint32_t* code = codes.data() + i * words;
        if (from_rerank) {
            std::copy_n(cell.rerank_row(places[i].slot, shape), words, code);
        } else {
            cell.copy_code(places[i].slot, code, shape);
        }
    }
    if (from_rerank) {
        codec.decode(codes.data(), out, *state.backend);
        return;
    }
    std::vector<float> values(ids.size() * state.coded_dim);
    MatrixView<float> rows(values.data(), ids.size(), state.coded_dim);
    codec.decode(codes.data(), rows, *state.backend);
    if (state.options.residual) {
        for (size_t i = 0; i < ids.size(); ++i) {
            const float* centroid = state.centroids.data() + places[i].cell * state.coded_dim;
            for (size_t j = 0; j < state.coded_dim; ++j)
                rows.row(i)[j] += centroid[j];
        }
    }
    for (auto transform = state.transforms.rbegin(); transform != state.transforms.rend();
         ++transform) {
        std::vector<float> next(ids.size() * transform->in_dim());
        const MatrixView<float> back(next.data(), ids.size(), transform->in_dim());
        transform->inverse(rows, back, *state.backend, 1);
        values.swap(next);
        rows = back;
    }
    for (size_t i = 0; i < ids.size(); ++i)
        std::copy_n(rows.row(i), out.cols, out.row(i));
}

}  // namespace nearcell
