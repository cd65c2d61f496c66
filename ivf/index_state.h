// What a CellIndex holds, and the steps that several of its operations share. Internal: one file
// per operation (train.cpp, add.cpp, search.cpp, remove.cpp, file.cpp) works on it under its lock.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include <nearcell/core/shared_mutex.h>
#include <nearcell/ivf/cell.h>
#include <nearcell/ivf/cell_index.h>
#include <nearcell/ivf/cell_memory.h>
#include <nearcell/ivf/id_map.h>
#include <nearcell/ivf/planner.h>
#include <nearcell/ivf/transform.h>
#include <nearcell/kernels/coarse_rows.h>
#include <nearcell/kernels/device.h>
#include <nearcell/storage/container.h>

namespace nearcell {

// Rows on their way in: as given (normalised for cosine), and transformed.
struct PreparedRows {
    AlignedBuffer<float> original_values, coded_values, scratch;
    MatrixView<const float> original, coded;
};

// Rows on their way from encoding to their cells.
struct EncodedRows {
    bool codes_given = false, rerank_given = false;  // the rows, as they are given, are the codes
    AlignedBuffer<uint32_t> labels;                  // cells
    AlignedBuffer<uint32_t> code_buffer, rerank_buffer;
    const uint32_t* codes = nullptr;  // row after row
    const uint32_t* rerank = nullptr;
};

struct CellIndex::State {
    // `saved`: from_container() sets what training leaves.
    explicit State(CellIndexOptions options_, bool saved = false);

    CellIndexOptions options;
    const Backend* backend;
    size_t coded_dim = 0;  // after the transforms
    std::vector<Transform> transforms;
    std::vector<float> centroids;  // cells x coded_dim; one cell: the mean if residual, else empty
    CoarseRows coarse;             // of the centroids
    std::vector<float> centroid_squares;  // of similarities
    float centroid_length = 1;            // root mean square, from their mean; of Cosine 1
    std::vector<float> center;            // Refinement's; empty where none is needed
    std::unique_ptr<Codec> codec;
    std::unique_ptr<Codec> rerank_codec;  // null: no re-rank store
    bool trained = false;
    size_t default_probes = 0;  // 0: by rule
    size_t default_rerank = 0;
    float default_cutoff = std::numeric_limits<float>::infinity();

    std::vector<Cell> cells;
    CellMemory memory;  // of the cells
    size_t size = 0;
    int64_t next_id = 0;
    std::optional<Container> file;  // keeps the memory that opened cells view, while any does

    // Rebuilt after each change: what the backend scans.
    std::vector<CellView> views;
    std::vector<const uint32_t*> rerank_rows;

    mutable SharedMutex mutex;
    mutable MeasuredCosts costs;

    // Where searches run; null: here. Its copy is made by the first search, and equal to the cells
    // when held_changes is changes.
    const Device* device = nullptr;
    DeviceOptions device_options;
    uint64_t changes = 0;  // counted by refresh_views()
    mutable std::mutex held_mutex;
    mutable std::unique_ptr<DeviceCells> held;
    mutable std::optional<uint64_t> held_changes;

    CellShape shape() const;
    Metric coarse_metric() const;
    MatrixView<const float> centroid_view() const;
    void set_centroids(std::vector<float> values);
    // Everything that searches need is there: transforms, centroids and codecs.
    void set_trained();
    // Takes centroids and codec of a state that is trained, with all that is made of them.
    void adopt(State& fresh) noexcept;
    std::unique_ptr<Codec> make_scan_codec() const;
    void refresh_views();
    void require_trained(const char* operation) const;
    // Throws when the metric knows no distances that a cutoff could be of.
    void require_cutoff(float cutoff) const;
    // ScanJob::reach: a cutoff is in units of the centroids' length to the power of 3 / 2.
    float reach_of(float cutoff) const;

    // Rows [first, first + count) as float32, normalised for cosine, and transformed.
    // Uses the memory that `rows` has.
    void prepare(const Vectors& x, size_t first, size_t count, int threads,
                 PreparedRows& rows) const;
    // Whether what codes say of an error bounds scores of the original space.
    bool bounds_hold() const;
    // Whether a scan may score candidates from the re-rank store on its way, and whether it may
    // from the codes themselves (Refinement).
    bool can_refine() const;
    bool scans_by_integers() const;
    bool keeps_factors() const;  // CodeView::factors
    // Fills in what scans by bounds want to know of a vector (factors of CodeView). `rows` are what
    // the codes are of.
    void complete_codes(MatrixView<const float> rows, uint32_t* codes, const uint32_t* labels,
                        int threads) const;
    // residuals = x - centroid of its label.
    void subtract_centroids(MatrixView<const float> x, const uint32_t* labels,
                            MatrixView<float> residuals, int threads) const;

    // Assigns, encodes and appends rows under ids; all or none. The caller checked everything.
    void append(const Vectors& x, RowIds ids, int threads, const Progress& progress);
    // Its two halves: labels and codes, telling after each slice how many rows are done, and the
    // change of the cells.
    void encode_rows(const Vectors& x, EncodedRows& out, int threads,
                     const std::function<void(size_t done)>& tell) const;
    void place_rows(const EncodedRows& rows, RowIds ids, int threads);
    // Makes sure that remove_at(places) cannot fail.
    void own_cells(std::span<const Location> places);
    // Removes what is at these places, each of which must be distinct.
    void remove_at(std::vector<Location> places) noexcept;

    // The id map, built on first use. Changing operations keep it true from then on. Throws Corrupt
    // when the file that was opened names an id twice.
    const IdMap& id_map() const;
    void check_distinct_ids() const;  // by the map
    IdMap* id_map_if_built() { return map_built ? &map : nullptr; }

    // The sections point into this state: save them while its lock is held.
    ContainerWriter to_container() const;
    // Cells view the file's memory until they change.
    static std::unique_ptr<State> from_container(Container opened);

    mutable std::mutex map_mutex;
    mutable IdMap map;
    mutable bool map_built = false;
};

// Words of the blocks of a cell, as memory and files hold them.
inline size_t cell_code_words(size_t vectors, const CellShape& shape) {
    return blocks_for(vectors) * kBlock * shape.code_words;
}

}  // namespace nearcell
