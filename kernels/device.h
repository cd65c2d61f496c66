// Device: one GPU, as the layers above see it. Index code asks it for two things: a Backend, whose
// operations over host arrays it carries out (training, assigning and encoding), and a DeviceCells,
// a copy of an index's cells on which whole searches run there, queries in and neighbours out.
// Networks ask it for a DeviceNetwork, pictures in and features out. What they know of CUDA ends
// here: gpu/ implements this, where it is built and finds a GPU; everywhere else find_device() says
// what is missing.
//
// Thread safety: all const calls may run at once.
#pragma once

#include <cstddef>
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
#include <nearcell/core/search_result.h>
#include <nearcell/core/vectors.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/kernels/code_view.h>
#include <nearcell/kernels/device_network.h>

namespace nearcell {

class LinearMap;
class FastRotation;

// How an index or a network uses a device.
struct DeviceOptions {
    // Device memory that the copy of an index and its searches may take together, or a network and
    // its maps; 0: all of it but a tenth. Where the re-rank store does not fit, it stays in host
    // memory.
    size_t memory_bytes = 0;
    bool rerank_on_host = false;  // leaves it there in any case
    // Of several devices each holds some of the cells, and searches them for all queries; else each
    // holds all cells, and searches them for some of the queries.
    bool shard = false;
    // Of a call: queries or pictures are taken some at a time, so that it takes no more, if it can
    // do with it.
    size_t scratch_bytes = size_t{1} << 30;
    // Where there is memory for it, the device also holds each vector rounded to a byte a dimension
    // (and 16 bytes), which says at the speed of integer tensor cores what cannot be found; not for
    // L1. Without, of up to 128 dimensions it holds the 16 bytes alone, and searches round codes
    // again. Of RaBitQ codes only where a re-rank store on the device decides by their bounds, and
    // then in place of these, so that none fails. Results of others are the same without.
    bool byte_tiles = true;
    // For tests: cells are cut into chunks of so many blocks, there is room for so many candidates
    // of a query, and chunks that so many queries share are scanned by tensor cores. 0: chosen.
    // They change what a search costs, never what it returns, but for RaBitQ codes whose bounds may
    // fail, the sooner the narrower limits are.
    size_t chunk_blocks = 0;
    size_t candidates = 0;
    size_t shared_queries = 0;
};

// A step of the way of a vector to its cell: of the three, the one that is not null; none of them:
// it is scaled to length one (rows of zeros stay).
struct VectorStep {
    const LinearMap* map = nullptr;
    const FastRotation* rotation = nullptr;
};

// What searches need of an index. Pointers belong to the index.
struct SearchableCells {
    size_t dim = 0;
    Metric metric = Metric::L2;  // Cosine: queries are scaled to length one before all steps
    std::span<const VectorStep> steps;
    MatrixView<const float> centroids;  // of no rows: all vectors are in one cell
    CodeView code;
    std::span<const CellView> cells;
    std::optional<CodeView> rerank;  // of the re-rank rows, whose values are those before the steps
    std::span<const uint32_t* const> rerank_rows;  // of each cell, rerank->words words a vector
    bool refines = false;  // the re-rank rows decide, unless a search has a depth (refine)
};

// A search, with nothing left to choose.
struct DeviceSearch {
    size_t k = 10;
    size_t probes = 1;  // at most the number of cells
    size_t depth = 0;   // the best by codes, which the re-rank store scores again; 0: none are
    // Codes are Bits, and each vector is scored from the re-rank store whose estimate, less
    // `margin` times the bound of its error, is as good as the k-th best score (Refinement).
    bool refine = false;
    float margin = 1;
    float reach = std::numeric_limits<float>::infinity();  // as ScanJob::reach
    const IdFilter* filter = nullptr;                      // null: every vector may be found
    int threads = 0;                                       // of the host
};

// Queries, and where their results go: rows of k scores and ids, best first, padded as in
// SearchResult; `counts` may be null. All in host memory, or all (Queries' values, too) in the
// device's, written and read in the order of `stream`, a cudaStream_t, which may still have work
// to do before.
struct DeviceBatch {
    Vectors queries;
    float* scores = nullptr;
    int64_t* ids = nullptr;
    uint64_t* counts = nullptr;
    bool on_device = false;
    void* stream = nullptr;
};

class DeviceCells {
   public:
    virtual ~DeviceCells() = default;
    // Makes the copy equal to these cells, copying those whose CellView::version changed. Excludes
    // all other calls. Throws OutOfMemory, naming what is wanted and what there is; then searches
    // must wait for another update.
    virtual void update(const SearchableCells& cells) = 0;
    virtual size_t memory_bytes() const = 0;

    // Results are those of the CPU but where codes' error bounds fail, and but for the last bits
    // of scores. Queries are of the cells' dimension. Checks that they are finite, as check_finite.
    // The cells given to update() must still be there: what stays on the host is read from them.
    virtual SearchStats search(const DeviceBatch& batch, const DeviceSearch& search) const = 0;
    // Every vector whose key is below `radius`, by its code, or with a re-rank store by that of
    // those whose code's key is below `scan_radius`. hits[q]: best first; ids and keys are set.
    // search.k and depth do not count. Queries are finite.
    virtual SearchStats range_search(const Vectors& queries, float radius, float scan_radius,
                                     const DeviceSearch& search,
                                     std::span<std::vector<Candidate>> hits) const = 0;
};

struct DeviceMemory {
    size_t total = 0, free = 0;  // bytes
};

class Device {
   public:
    virtual ~Device() = default;
    virtual std::string name() const = 0;  // "cuda:0"
    // For example "cuda:0 NVIDIA H100 80GB HBM3, sm_90, 132 processors, 79.1 GiB".
    virtual std::string describe() const = 0;
    virtual DeviceMemory memory() const = 0;
    // Operations over host arrays: those of many multiplications run on the device and give the
    // bits that the CPU's give; what is looked up by the one stays on the CPU.
    virtual const Backend& backend() const = 0;
    virtual std::unique_ptr<DeviceCells> hold(const SearchableCells& cells,
                                              const DeviceOptions& options) const = 0;
    // Memory of the device, for a caller's arrays; release() waits for what is still using it.
    virtual void* allocate(size_t bytes) const = 0;
    virtual void release(void* memory) const noexcept = 0;
    // Throws Unsupported where a device computes no networks, and for one that is too large.
    virtual std::unique_ptr<DeviceNetwork> hold_network(const NetworkSteps& network,
                                                        const DeviceOptions& options) const;
    // As exact_search (index/exact_search.h).
    virtual SearchResult exact_search(const Vectors& base, const Vectors& queries, Metric metric,
                                      size_t k, int threads) const = 0;
};

// What finds GPUs. list() is empty where there are none; why() then says what is missing and what
// to do.
class DeviceSource {
   public:
    virtual ~DeviceSource() = default;
    virtual std::vector<const Device*> list() const = 0;
    virtual std::string why() const = 0;
};

// The GPUs that this process can use.
std::vector<const Device*> devices();
// Where there are none: what is missing and what to do.
std::string why_no_devices();
// "cpu": null. "cuda:0", or "cuda" for the first: that GPU; "cuda:0,1" or "cuda:all": several as
// one (device_group.h). Throws NoDevice when one is not there, InvalidArgument for another name.
const Device* find_device(std::string_view name);

// For tests, which have an emulated GPU; null: the one that the library was built with. Must
// outlive its use.
void set_device_source(const DeviceSource* source);
// What the library was built with: defined by gpu/ or, without CUDA, in its place.
const DeviceSource& built_in_devices();

}  // namespace nearcell
