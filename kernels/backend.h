// Backend: the batch operations that index code is written against, once, for every device. One
// call handles a batch, never a vector. Implementations: the CPU's (cpu/), with its kernels chosen
// for the machine's instruction set; a GPU's (gpu/cuda_backend.h), which gives the same bits. Calls
// from several threads are safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <nearcell/core/aligned_buffer.h>
#include <nearcell/core/matrix_view.h>
#include <nearcell/core/metric.h>
#include <nearcell/core/top_k.h>
#include <nearcell/kernels/code_view.h>
#include <nearcell/kernels/convolution.h>

namespace nearcell {

class CoarseRows;

// Vectors in the blocked float32 layout of CodeView (Float32): what batches are multiplied with.
class FloatBlocks {
   public:
    FloatBlocks() = default;
    explicit FloatBlocks(MatrixView<const float> x);
    size_t rows() const { return rows_; }
    size_t dim() const { return dim_; }
    const float* data() const { return data_.data(); }
    const float* block(size_t i) const { return data_.data() + i * dim_ * kBlock; }

   private:
    size_t rows_ = 0;
    size_t dim_ = 0;
    AlignedBuffer<float> data_;
};

// One such block: at most 16 rows of x, less `offset` (x.cols values; null: nothing), as
// [x.cols][16]; lanes without a row are zero.
void pack_block(MatrixView<const float> x, const float* offset, float* block);

// The coded vectors of one cell, as the scan sees them.
struct CellView {
    const uint8_t* blocks = nullptr;  // blocks_for(size) blocks, see CodeView
    const int64_t* ids = nullptr;     // size; null: a vector's id is its slot
    size_t size = 0;
    const float* centroid =
        nullptr;  // added to decoded vectors; null where codes are not residuals
    const uint16_t* masks = nullptr;  // one bit a vector, one word a block; null lets all pass
    uint64_t version = 0;             // another one after every change
};

// How the loops of a scan go; chosen by ivf/planner.
struct ScanPlan {
    size_t queries_per_task = 1;  // cell-major batches of this many queries
    size_t splits = 1;            // parts into which each cell is cut, each with its own TopK
};

// Scans by lower bounds. A code is compared by integers first, and scored exactly at once when the
// lower bound that they give passes the query's threshold, while its cell is in the caches: from
// the re-rank rows (Bits of one bit) or from the code itself (RangeInt8 with factors, and Product4,
// whose codes are residuals for inner products only). The
// threshold is the k-th best of max(exact key, lower bound). Ordering by that maximum, rather than
// by the exact key, makes the outcome independent of the order of the scan; it differs only where a
// bound fails.
struct Refinement {
    MatrixView<const float> queries;  // as the rows that are scored have them
    CodeView code;                    // of these rows
    // Each cell's rows, code.words words a vector; empty: the scanned codes are the rows.
    std::span<const uint32_t* const> cell_rows;
    const float* center = nullptr;  // m of CodeView; for residuals of bytes not needed
    // |c|^2 of each cell's centroid; of Bits and inner products, whose bounds grow with |q - c|.
    const float* cell_squares = nullptr;
    bool residual = true;  // codes are relative to centroids; keys of these are needed then
    float margin = 1;      // times each code's error bound
    // False: what the integers say counts as the exact key. For candidates that are scored by other
    // rows afterwards.
    bool scores = true;
};

struct ScanJob {
    MatrixView<const float> queries;
    Metric metric = Metric::L2;  // Cosine scans like InnerProduct: rows and queries are normalised
    CodeView code;
    std::span<const CellView> cells;
    const uint32_t* probes = nullptr;  // queries x probe_count cell numbers, nearest first
    size_t probe_count = 0;
    const float* probe_keys = nullptr;  // queries x probe_count coarse keys, or null. With Bits and
                                        // L2 they give each candidate its lower bound
    const Refinement* refine = nullptr;  // scores candidates exactly on the way
    // L2 and Cosine, with probe_keys: once a query's nearest cell was scanned, those cells are left
    // out whose centroid's squared distance exceeds that of the nearest one by more than this times
    // t / sqrt(c): t is the distance of the k-th best vector found so far, or the radius, and c
    // that of the nearest centroid. Infinity: none is.
    float reach = std::numeric_limits<float>::infinity();
    ScanPlan plan;
    int threads = 0;
};

struct ScanCounts {
    uint64_t scanned = 0;
    uint64_t refined = 0;  // scored exactly, with ScanJob::refine
};

struct RerankJob {
    MatrixView<const float> queries;
    Metric metric = Metric::L2;
    CodeView code;                               // of the re-rank rows
    std::span<const uint32_t* const> cell_rows;  // each cell's rows, code.words words a vector
    size_t k = 0;
    int threads = 0;
};

struct RerankCounts {
    uint64_t scored = 0;
    uint64_t skipped = 0;  // their lower bound was already beaten
};

// Rows by group: those of group g are order[begin[g]] to order[begin[g + 1]].
struct RowGroups {
    const uint32_t* order = nullptr;
    const size_t* begin = nullptr;  // count + 1
    size_t count = 0;
};

// Rows that are to become codes: x, or with labels what is left of each when the centroid of its
// label is taken from it, by one subtraction of floats a value.
struct EncodeJob {
    CodeView code;
    MatrixView<const float> x;
    const uint32_t* labels = nullptr;   // of each row; null: rows are coded as they are
    MatrixView<const float> centroids;  // of code.dim values; not needed without labels
    uint32_t* codes = nullptr;          // code.words words a row
    int threads = 0;
};

class Backend {
   public:
    virtual ~Backend() = default;
    // For example "cpu avx512vnni (openmp)".
    virtual std::string describe() const = 0;

    // Rows that a call should have where its caller may choose: with fewer, most of its time goes
    // to starting it. Callers that cut batches to suit the caches make them no smaller.
    virtual size_t least_rows() const { return 1; }

    // A hint: many calls will come with these rows, with some of them, or with some of their
    // columns, and nobody changes or frees them until the returned object is gone. A device copies
    // them once, then. Null: nothing is kept, and nothing lost.
    virtual std::shared_ptr<const void> keep(MatrixView<const float> /*rows*/) const {
        return nullptr;
    }

    // out[i][j] = key of query i and row j of the blocks, computed directly (no cancellation).
    virtual void scores(MatrixView<const float> queries, const FloatBlocks& blocks, Metric metric,
                        MatrixView<float> out, int threads) const = 0;

    // labels[i] = the one of `rows` nearest to x[i], ties to the smaller; keys[i] its key (may be
    // null). A blocked matrix product on centred data, with an exact second look where two rows are
    // too close to tell apart: the labels are those of an exhaustive direct computation.
    virtual void assign(MatrixView<const float> x, MatrixView<const float> rows, Metric metric,
                        uint32_t* labels, float* keys, int threads) const = 0;

    // means[g] becomes the mean of the rows of group g, each as often as its weight says (null: all
    // weights are one), or with `unit` the vector of length one in its direction. Sums run in
    // double precision over a group's rows in their order. Where weights add up to nothing, or
    // `unit` finds no direction, means[g] stays.
    virtual void move_to_means(MatrixView<const float> x, const float* weights,
                               const RowGroups& groups, bool unit, MatrixView<float> means,
                               int threads) const = 0;

    // Adds the rows, each less `shift`, to `sums`, and their products to `products` (x.cols
    // squared, of which only what is on and above the diagonal counts), in double precision. False:
    // this backend leaves it to pca/, which has a matrix product for it; nothing was changed.
    virtual bool add_products(MatrixView<const float> /*x*/, const double* /*shift*/,
                              double* /*sums*/, double* /*products*/, int /*threads*/) const {
        return false;
    }
    // The eigenvalues of a symmetric matrix in ascending order, whose lower triangle is given
    // column by column, and in its place the eigenvectors, one behind the other. False as above.
    virtual bool solve_symmetric(size_t /*dim*/, double* /*matrix*/, double* /*values*/) const {
        return false;
    }

    // The `count` rows nearest to each query by direct keys, nearest first, ties to the smaller:
    // out_rows and out_keys are queries x count, and count is at most the number of rows. Where the
    // rows are grouped (CoarseRows::groups), of those in the groups whose means are nearest: 8
    // times the square root of the number of groups, or more for a large count.
    virtual void nearest(MatrixView<const float> queries, const CoarseRows& rows, size_t count,
                         uint32_t* out_rows, float* out_keys, int threads) const = 0;

    // Scans the probed cells; results[q] receives the k best of query q (k = results[q].k()). With
    // job.refine a candidate's key is the maximum that Refinement speaks of, and `lower` the exact
    // key.
    virtual ScanCounts scan_cells(const ScanJob& job, std::span<TopK> results) const = 0;

    // Scans the probed cells; hits[q] receives every vector with key < radius, in no order. With
    // job.refine as scan_cells: the larger of exact key and bound is what must be below.
    virtual ScanCounts scan_cells_range(const ScanJob& job, float radius,
                                        std::span<std::vector<Candidate>> hits) const = 0;

    // Scores candidates exactly from the re-rank rows and leaves them sorted, best first: the job.k
    // best, or all of them when job.k = 0. Candidates must come sorted by key.
    virtual RerankCounts rerank(const RerankJob& job,
                                std::span<std::vector<Candidate>> candidates) const = 0;

    // Rows of x rotated by the factors of a FastRotation, or back. out must not overlap x.
    virtual void rotate(MatrixView<const float> x, const float* factors, bool inverse,
                        MatrixView<float> out, int threads) const = 0;

    // One layer of one picture, on the calling thread.
    virtual void convolve(const ConvJob& job) const = 0;
    virtual void pool(const PoolJob& job) const = 0;

    // The key of two vectors, for where one is wanted now and then (seeding): batches have their
    // own.
    virtual float key(const float* a, const float* b, size_t dim, Metric metric) const = 0;

    // Rows to codes, with the bytes of the codec's own encoding (quantize/). False: this backend
    // leaves it to the codec, which must write all codes; so it is for kinds that the backend does
    // not know, for batches too small to be worth the way, and where a value does not fit the code,
    // which the codec says in its error.
    virtual bool encode_rows(const EncodeJob& /*job*/) const { return false; }

    // Rows of code.words words each to floats: out is count x code.dim.
    virtual void decode_rows(const CodeView& code, const uint32_t* rows, size_t count,
                             MatrixView<float> out) const = 0;
};

// The CPU of this machine, with the best kernels it can run, or those NEARCELL_ISA names. Throws
// Unsupported, naming the variants, when NEARCELL_ISA names one that this machine cannot run. On a
// CPU with AMX the first call asks the system for its tile registers, whichever is chosen: from
// then on sigaltstack() refuses the process stacks too small to save them, below about 11 KB.
Backend& cpu_backend();
// The variants that this machine can run, plainest first: what NEARCELL_ISA may name.
std::vector<std::string> cpu_instruction_sets();

}  // namespace nearcell
