// Arrays on a GPU, by DLPack: queries that a search reads where they lie, and results that stay
// there. What such an array needs of the host is its shape and its address. All throw Python errors
// that name the argument; all need the GIL, for their whole life.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <nearcell/core/vectors.h>
#include <nearcell/kernels/device.h>

namespace nearcell::python {

namespace nb = nanobind;

// The CUDA stream that a caller names: an integer, an object of torch, cupy or cuda.core, or None,
// which is the legacy default stream, as DLPack has it.
class Stream {
   public:
    explicit Stream(nb::handle stream);
    void* handle() const { return handle_; }  // a cudaStream_t
    // What producers are given, so that their work on an array is done before what follows there.
    nb::object dlpack() const;

   private:
    void* handle_ = nullptr;
};

// "cuda:0" for an array in a GPU's memory, "" for anything else.
std::string gpu_of(nb::handle x);

// A matrix of vectors on `device`, never copied: float32, float16, bfloat16, int8 or uint8, with
// values of a row beside each other.
class DeviceRows {
   public:
    DeviceRows(nb::handle x, const char* name, const std::string& device, const Stream& stream);
    const Vectors& view() const { return view_; }

   private:
    nb::ndarray<nb::ro> array_;  // keeps the memory alive
    Vectors view_;
};

// The arrays that a search fills: (scores, ids) as the caller gives them, or new ones.
class DeviceResults {
   public:
    DeviceResults(const Device& device, size_t rows, size_t k);
    DeviceResults(nb::handle out, const std::string& device, size_t rows, size_t k,
                  const Stream& stream);
    float* scores() const { return scores_; }
    int64_t* ids() const { return ids_; }
    nb::object scores_array() const { return scores_array_; }
    nb::object ids_array() const { return ids_array_; }

   private:
    float* scores_ = nullptr;
    int64_t* ids_ = nullptr;
    nb::object scores_array_, ids_array_;
    nb::ndarray<> given_scores_, given_ids_;
};

// A new int64 array on the device; `values` is its memory.
nb::object new_device_counts(const Device& device, size_t rows, int64_t*& values);

}  // namespace nearcell::python
