// DeviceFlat: exact search on a GPU. The base stays there, for batches of queries to search.
// Results are those of exact_search (index/exact_search.h) on the CPU, ids and score bits, ties
// included: tensor cores only tell which rows cannot be among the nearest, by a bound that is
// proven (gpu/kernels/exact_bound.cuh), and the rest is scored in float64. (Where so many rows are
// so nearly equally near that exact_search's float32 misses some, these are what sorting all of its
// scores would give.) So there is nothing to tune, but data whose rows 16 bits cannot tell apart
// are slow, vectors that all point nearly the same way by Cosine among them, and so is L1, which is
// no product: there every row is scored in float64.
//
// Cost: 4 dim + 2 dim rounded up to a multiple of 32, and 8 bytes, of device memory a row, and
// `scratch_bytes` a search; queries x rows x dim multiply-adds on tensor cores, of bfloat16, or
// before sm_80 of half. What a search has used of its `scratch_bytes` stays for the next one, and
// with it host memory for the queries and results of a batch: as often as searches ran at once, and
// until one of them finds no memory.
// Thread safety: searches may run at once, each in a stream of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <nearcell/core/metric.h>
#include <nearcell/core/search_result.h>
#include <nearcell/core/vectors.h>

namespace nearcell::gpu {

class SessionPool;
struct LabelCandidates;
struct Session;

struct DeviceFlatOptions {
    int threads = 0;                           // of the host, to read vectors; 0: all
    size_t scratch_bytes = size_t{512} << 20;  // device memory that a search may take, if it can do
                                               // with it: queries are then taken some at a time
    size_t candidates = 0;  // room for so many of a query; 0: chosen. Less only costs time
};

class DeviceFlat {
   public:
    // Copies the base to the device. Throws InvalidArgument and NonFinite as exact_search does,
    // Unsupported for 2^32 rows or more, NoDevice, OutOfMemory. It is copied in sessions of
    // `uploads`, where there are some already; null: of its own.
    DeviceFlat(const Vectors& base, Metric metric, const DeviceFlatOptions& options = {},
               SessionPool* uploads = nullptr);
    ~DeviceFlat();
    DeviceFlat(DeviceFlat&&) noexcept;
    DeviceFlat& operator=(DeviceFlat&&) noexcept;

    // Ids are row numbers of the base. Throws InvalidArgument (k = 0, another dimension),
    // NonFinite, OutOfMemory.
    SearchResult search(const Vectors& queries, size_t k) const;

    // For vectors that are on the device, one behind the other, the few rows of each among which
    // that one is whose float32 key is the smallest, without waiting: it is not for Cosine or L1.
    // Where that cannot be said there are none, or more than the capacity. Vectors need not be
    // finite. Takes kLabelBytes of the session's scratch a vector and 2 bytes a dimension.
    static constexpr size_t kLabelBytes = 400;  // at least what exact_search.cu takes
    LabelCandidates find_candidates(const float* vectors, size_t count, Session& session) const;

    size_t rows() const;
    size_t dim() const;

   private:
    struct Base;
    std::unique_ptr<Base> base_;
};

// The same for one batch.
SearchResult device_exact_search(const Vectors& base, const Vectors& queries, Metric metric,
                                 size_t k, const DeviceFlatOptions& options = {});

}  // namespace nearcell::gpu
