// DeviceGroup: several devices that an index uses as one. Each holds all cells and searches some of
// the queries (replicas), or, with DeviceOptions::shard, each holds some of the cells, searches
// them for all queries, and the best are merged on the host. Cost of shards: queries go to every
// device, k answers of each come back. What a member does on the host (staging, re-ranking there)
// it does on one thread. Thread safety: as Device's.
#pragma once

#include <string>
#include <vector>

#include <nearcell/kernels/device.h>

namespace nearcell {

class DeviceGroup : public Device {
   public:
    // At least one, of which none twice; they must outlive this object.
    explicit DeviceGroup(std::vector<const Device*> members);

    std::string name() const override;  // "cuda:0,1"
    std::string describe() const override;
    DeviceMemory memory() const override;  // of all
    const Backend& backend() const override { return members_.front()->backend(); }
    std::unique_ptr<DeviceCells> hold(const SearchableCells& cells,
                                      const DeviceOptions& options) const override;
    // Each holds the network, and computes some of the pictures.
    std::unique_ptr<DeviceNetwork> hold_network(const NetworkSteps& network,
                                                const DeviceOptions& options) const override;
    SearchResult exact_search(const Vectors& base, const Vectors& queries, Metric metric, size_t k,
                              int threads) const override;
    // On the first of them.
    void* allocate(size_t bytes) const override { return members_.front()->allocate(bytes); }
    void release(void* memory) const noexcept override { members_.front()->release(memory); }

   private:
    std::vector<const Device*> members_;
};

}  // namespace nearcell
