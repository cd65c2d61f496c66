// DeviceArray<T>: memory on the device, unwritten at first, freed in the stream it was allocated
// in. For host code of the GPU backend. Cost: an allocation, which CUDA takes from its pool, and
// which a budget, if there is one, must allow. Copies
// return at once; what they read or write on the host must stay until the stream was waited for.
// Thread safety: one call at a time.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/gpu/memory_budget.h>
#include <nearcell/gpu/simt/host.h>

namespace nearcell::gpu {

template <class T>
class DeviceArray {
    static_assert(std::is_trivially_copyable_v<T>);

   public:
    DeviceArray() = default;
    DeviceArray(size_t size, simt::Stream stream)
        : data_(static_cast<T*>(simt::device_allocate(bytes_of(size), stream))),
          size_(size),
          stream_(stream) {}
    DeviceArray(size_t size, simt::Stream stream, MemoryBudget& budget, const char* what)
        : stream_(stream) {
        budget.reserve(bytes_of(size), what);
        try {
            data_ = static_cast<T*>(simt::device_allocate(bytes_of(size), stream));
        } catch (...) {
            budget.release(bytes_of(size));
            throw;
        }
        size_ = size;
        budget_ = &budget;
    }
    DeviceArray(DeviceArray&& other) noexcept { swap(other); }
    DeviceArray& operator=(DeviceArray other) noexcept {
        swap(other);
        return *this;
    }
    DeviceArray(const DeviceArray&) = delete;
    ~DeviceArray() {
        if (data_ == nullptr) return;
        if (budget_ != nullptr) budget_->release(bytes());
        try {
            simt::device_free(data_, stream_);
        } catch (...) {  // after a failure that was thrown already: nothing can be freed any more
        }
    }

    T* data() const { return data_; }
    size_t size() const { return size_; }
    size_t bytes() const { return size_ * sizeof(T); }

    void copy_from(const T* host, size_t count, size_t first = 0) {
        if (count > 0) simt::copy_to_device(data_ + first, host, count * sizeof(T), stream_);
    }
    void copy_to(T* host, size_t count) const {
        if (count > 0) simt::copy_to_host(host, data_, count * sizeof(T), stream_);
    }
    void fill_zero() {
        if (size_ > 0) simt::fill_bytes(data_, 0, bytes(), stream_);
    }

   private:
    static size_t bytes_of(size_t size) {
        check(size <= static_cast<size_t>(-1) / sizeof(T), StatusCode::OutOfMemory,
              "device_allocate: ", size, " elements of ", sizeof(T), " bytes are too many");
        return size * sizeof(T);
    }
    void swap(DeviceArray& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(stream_, other.stream_);
        std::swap(budget_, other.budget_);
    }

    T* data_ = nullptr;
    size_t size_ = 0;
    simt::Stream stream_{};
    MemoryBudget* budget_ = nullptr;
};

}  // namespace nearcell::gpu
