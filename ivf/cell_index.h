// CellIndex: the one index. Vectors pass through a chain of transforms, are put into the cell of
// the nearest centroid (one cell: a flat index), and are stored as codes, with an optional second
// copy for re-ranking. Every operation below works for every combination of parts, or throws
// Unsupported naming the combination. Made from a factory string by index/factory.h or from
// CellIndexOptions.
//
// Thread safety: all const calls may run concurrently; train, add, remove, update exclude each
// other and wait for running searches, and searches that come later wait for them: so a progress
// callback must not wait for another thread's use of the same index. Nor may it call the index that
// is working itself, but for const calls during a search: that throws Unsupported. save() and
// to_bytes() are such a search until they end: an add() that waits for one makes later searches
// wait, too. Results are the same bits for any number of threads. Where the system gives no more
// threads, libgomp, which the default build uses, ends the process; a build with
// -DNEARCELL_THREADS=std goes on with fewer.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nearcell/core/id_filter.h>
#include <nearcell/core/metric.h>
#include <nearcell/core/progress.h>
#include <nearcell/core/search_result.h>
#include <nearcell/core/vectors.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/kernels/device.h>
#include <nearcell/quantize/codec.h>

namespace nearcell {

enum class TransformKind : uint32_t {
    Normalize = 0,
    Pca = 1,
    PcaWhiten = 2,
    Opq = 3,
    RandomRotation = 4
};

struct TransformOptions {
    TransformKind kind = TransformKind::Normalize;
    size_t out_dim = 0;        // 0: as the input
    size_t subquantizers = 0;  // Opq
};

struct CellIndexOptions {
    size_t dim = 0;
    Metric metric = Metric::L2;
    std::vector<TransformOptions> transforms;
    size_t cells = 1;  // 1: flat, every vector is scanned
    CodecOptions codec;
    bool residual = false;               // codes of x - centroid rather than of x
    std::optional<CodecOptions> rerank;  // Float32, Float16, BFloat16, RangeInt8: the second copy
    uint64_t seed = 1234;
    size_t cell_iterations = 10;       // k-means iterations of the cells
    size_t max_points_per_cell = 256;  // training rows a cell; more are sampled, see TrainReport
};

// What training did; nothing is sampled silently.
struct TrainReport {
    size_t rows_given = 0;
    size_t rows_used_for_cells = 0;
    size_t rows_used_for_codec = 0;
    size_t empty_splits = 0;
    double cells_objective = 0;
};

struct CallOptions {
    int threads = 0;  // 0: all that the process may use
    Progress progress = {};
};

struct SearchOptions {
    size_t k = 10;
    size_t probes = 0;  // cells looked into; 0: default_probes()
    // As rerank: not default_rerank(), but what a search does where none is set.
    static constexpr size_t kNoDepth = std::numeric_limits<size_t>::max();
    size_t rerank = 0;  // candidates re-scored; 0: default_rerank(); at least k
    // Leaves out the probes of a query that lie far from it for how near its k-th best vector of
    // the nearest cell is: the smaller, the more; about 0.5 to 1 is useful. Infinity: none is. 0:
    // default_cutoff(), and where probes are given, none. Only L2 and Cosine. (An observation, see
    // ScanJob::reach; tune() finds what a recall allows.)
    float cutoff = 0;
    // Scans by integers (SQ8 without a re-rank store; RaBitQ with one and no rerank) score every
    // vector exactly whose estimate, less `margin` times the bound of its error, is as good as the
    // k-th best score. (PQ of 4 bits needs no margin: its bound cannot fail.)
    float margin = 1;
    // Without probes, a query that finds fewer than k looks into all cells; not in search_into().
    const IdFilter* filter = nullptr;
    int threads = 0;
    Progress progress = {};
};

struct IndexStats {
    std::string spec;
    size_t size = 0;
    size_t cells = 0;
    size_t largest_cell = 0;
    size_t empty_cells = 0;
    double imbalance = 0;         // 1 when all cells are equally full
    double bytes_per_vector = 0;  // codes, ids and re-rank store
    size_t code_bytes = 0;        // a vector
    size_t rerank_bytes = 0;      // a vector
    size_t memory_bytes = 0;      // vectors, centroids, the file that was read, where ids are
    size_t device_bytes = 0;      // on a device, with its searches' scratch; 0 before the first
    size_t default_probes = 0;
    size_t default_rerank = 0;
    float default_cutoff = 0;  // infinity: none
    std::string backend;
};

class CellIndex {
   public:
    // Throws InvalidArgument or Unsupported, naming the option, for combinations that cannot be.
    explicit CellIndex(CellIndexOptions options);
    ~CellIndex();
    CellIndex(const CellIndex&) = delete;
    CellIndex& operator=(const CellIndex&) = delete;

    const CellIndexOptions& options() const;
    size_t dim() const { return options().dim; }
    Metric metric() const { return options().metric; }
    bool is_trained() const;
    size_t size() const;

    // Learns transforms, centroids and codec from rows(x). Flat float indexes need none of it and
    // accept it. Throws when vectors are already stored.
    TrainReport train(const Vectors& x, const CallOptions& call = {});

    // Stores rows under the given ids (distinct, >= 0, not stored yet), or under the next unused
    // ids. Returns the first id given when ids is empty. All rows are added, or none. Memory,
    // beside what is stored: the codes of these rows, up to 2 GiB of them.
    int64_t add(const Vectors& x, std::span<const int64_t> ids = {}, const CallOptions& call = {});

    SearchResult search(const Vectors& queries, const SearchOptions& search) const;
    // Score strictly better than radius: < for L2 (squared) and L1, > for InnerProduct and Cosine.
    // With a re-rank store no score outside the radius is returned, but a vector whose code puts it
    // more than a tenth of the radius outside is not looked at.
    RangeResult range_search(const Vectors& queries, float radius,
                             const SearchOptions& search) const;

    // Moves the work to a device, "cuda:0" for example, or back to the "cpu". What is stored stays
    // in host memory, byte for byte the same; the device holds a copy for searches, which the first
    // search after a change brings up to date. Throws NoDevice, saying what is missing, and then
    // nothing has changed; OutOfMemory comes from that search.
    void to(std::string_view device, const DeviceOptions& options = {});
    std::string device() const;
    // search() of an index on a device, between the caller's arrays, which may lie on it. Throws
    // NoDevice when the index is on the CPU; NonFinite, InvalidArgument for what queries have, and
    // then part of the results may have been written.
    SearchStats search_into(const DeviceBatch& batch, const SearchOptions& search) const;

    // What finds vectors by id, which is reconstruct(), contains(), remove(), update() and add() of
    // ids that are not above all stored, makes a map of them once, 16 to 48 bytes a vector. It
    // throws Corrupt when an index from a file names one twice: open() does not look, as that takes
    // several times what opening does.

    // The stored approximations of the vectors, in the original space. Throws NotFound naming the
    // id.
    void reconstruct(std::span<const int64_t> ids, MatrixView<float> out) const;
    bool contains(int64_t id) const;
    // All stored ids, ascending.
    std::vector<int64_t> ids() const;

    // Removes what is stored of the ids; returns how many were.
    size_t remove(std::span<const int64_t> ids);
    // Replaces the vectors of stored ids. Throws NotFound when one is missing; then none is
    // changed.
    void update(std::span<const int64_t> ids, const Vectors& x, const CallOptions& call = {});

    // The probes, their cutoff and the re-rank depth used when a call names none.
    size_t default_probes() const;
    size_t default_rerank() const;
    float default_cutoff() const;
    void set_defaults(size_t probes, size_t rerank,
                      float cutoff = std::numeric_limits<float>::infinity());
    // Whether searches without a re-rank depth score again what the codes' bounds let pass
    // (SearchOptions::margin), rather than a fixed number of candidates.
    bool reranks_by_bound() const;

    IndexStats stats() const;
    // A factory string that builds the same thing; of options that none gave, such as Cosine with
    // Pca and no Normalize behind it, it may build another (ivf/spec.h).
    std::string spec() const;

    // Trained parts, for inspection and for tests against other engines.
    // cells x transformed dim; of a flat index the mean, with I8 and RaBitQ, else empty.
    std::vector<float> centroids() const;
    std::vector<float> codec_parameters() const;
    // Replaces training by parts made elsewhere: an index without transforms becomes trained. For
    // Cosine, centroids have length 1.
    void set_trained(MatrixView<const float> centroids, std::span<const float> codec_parameters);

    // Atomic; see storage/container.h. open(): the file is verified; mmap leaves the codes on disk.
    void save(const std::string& path) const;
    static std::unique_ptr<CellIndex> open(const std::string& path, bool mmap = false);
    std::vector<uint8_t> to_bytes() const;
    static std::unique_ptr<CellIndex> from_bytes(std::vector<uint8_t> bytes);

    struct State;  // internal, see ivf/index_state.h

   private:
    explicit CellIndex(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace nearcell
