// What the tests of kernels share: an emulator as new for each test, arrays on the device, and the
// fault that a piece of host code meets.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <vector>

#include <nearcell/gpu/simt/emulator.h>
#include <nearcell/gpu/simt/host.h>

namespace nearcell::simt {

class SimtTest : public testing::Test {
   protected:
    SimtTest() { reset(); }
    ~SimtTest() override { reset(); }
};

// Rows of values on the device; freed when it goes.
template <class T>
class DeviceArray {
   public:
    explicit DeviceArray(size_t size)
        : size_(size), data_(static_cast<T*>(device_allocate(size * sizeof(T), {}))) {}
    explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
        copy_to_device(data_, values.data(), size_ * sizeof(T), {});
    }
    DeviceArray(size_t size, T value) : DeviceArray(std::vector<T>(size, value)) {}
    ~DeviceArray() { device_free(data_, {}); }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    T* data() const { return data_; }
    std::vector<T> to_host() const {
        std::vector<T> values(size_);
        copy_to_host(values.data(), data_, size_ * sizeof(T), {});
        synchronize({});
        return values;
    }

   private:
    size_t size_;
    T* data_;
};

inline std::optional<Report> fault_of(const std::function<void()>& host_code) {
    try {
        host_code();
    } catch (const FaultError& error) {
        return error.report();
    }
    return std::nullopt;
}

// Every order in turn, with some seeds each.
inline void for_each_order(const std::function<void()>& body, uint64_t seeds = 4) {
    for (const Order order :
         {Order::Ascending, Order::Descending, Order::Random, Order::WarpPriority}) {
        for (uint64_t seed = 1; seed <= seeds; ++seed) {
            SCOPED_TRACE(testing::Message()
                         << "order " << static_cast<int>(order) << ", seed " << seed);
            config().order = order;
            config().seed = seed;
            body();
            if (testing::Test::HasFatalFailure()) return;
        }
    }
}

}  // namespace nearcell::simt
