// A GPU that is none, alone in its machine, for tests that look at what one is asked for: they
// override what they look at. The rest computes nothing.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/kernels/device.h>

namespace nearcell::checks {

class FakeDevice : public Device, public DeviceSource {
   public:
    explicit FakeDevice(std::string name = "cuda:0") : name_(std::move(name)) {}
    std::string name() const override { return name_; }
    std::string describe() const override { return name_ + " fake"; }
    DeviceMemory memory() const override { return {}; }
    const Backend& backend() const override { return cpu_backend(); }
    std::unique_ptr<DeviceCells> hold(const SearchableCells&, const DeviceOptions&) const override {
        return nullptr;
    }
    void* allocate(size_t) const override { return nullptr; }
    void release(void*) const noexcept override {}
    SearchResult exact_search(const Vectors&, const Vectors&, Metric, size_t, int) const override {
        return {};
    }
    std::vector<const Device*> list() const override { return {this}; }
    std::string why() const override { return ""; }

   private:
    std::string name_;
};

}  // namespace nearcell::checks
