// QuerySteps: what queries pass on a device before they are searched for: conversion to float32,
// for cosine length one, then the index's transforms. Results have the CPU's bits. For host code of
// the GPU backend. Thread safety: set() excludes all else.
#pragma once

#include <span>
#include <vector>

#include <nearcell/gpu/device_array.h>
#include <nearcell/gpu/session.h>
#include <nearcell/kernels/device.h>

namespace nearcell::gpu {

class QuerySteps {
   public:
    void set(std::span<const VectorStep> steps, size_t dim, MemoryBudget& budget,
             simt::Stream stream);
    size_t dim() const { return dim_; }
    size_t coded_dim() const { return steps_.empty() ? dim_ : steps_.back().out_dim; }
    // The largest number of values a query has on its way.
    size_t widest() const;

    // Queries [first, first + count) as float32 on the device, in scratch memory, of length one for
    // Cosine. bad, on the device: grows to the complement of the number of the first value that is
    // not one for searches.
    const float* load(const DeviceBatch& batch, size_t first, size_t count, Metric metric,
                      int threads, Session& session, unsigned long long* bad) const;
    const float* apply(const float* rows, size_t count, Session& session) const;

   private:
    enum class Kind { Normalize, Map, Rotate };
    struct Step {
        Kind kind = Kind::Normalize;
        size_t in_dim = 0, out_dim = 0;
        DeviceArray<float> matrix, bias;  // of Rotate: the factors in `matrix`
    };
    size_t dim_ = 0;
    std::vector<Step> steps_;
};

}  // namespace nearcell::gpu
