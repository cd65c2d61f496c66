// The extension module with one GPU, cuda:0, that is none: its memory is the host's. It finds rows
// i, i + 100, ... for query i, and scores that tell of the query's first value, so that a test sees
// which arrays were read and written; what it was asked for is in last_search().
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <cstdlib>
#include <mutex>
#include <new>

#include <nearcell/index/exact_search.h>
#include <nearcell/kernels/device.h>

namespace nearcell::python {

void bind_all(nanobind::module_& module);

namespace {

namespace nb = nanobind;

struct Asked {
    bool on_device = false;
    uintptr_t stream = 0;
    size_t rows = 0, stride = 0, k = 0, probes = 0, memory_bytes = 0;
    bool rerank_on_host = false, filtered = false;
    size_t allocated = 0, released = 0, exact_searches = 0;
    std::string type;
};
Asked asked;
std::mutex asked_mutex;

class FakeCells : public DeviceCells {
   public:
    void update(const SearchableCells&) override {}
    size_t memory_bytes() const override { return 0; }
    SearchStats search(const DeviceBatch& batch, const DeviceSearch& search) const override {
        check_finite(batch.queries, "queries", 1);
        const std::lock_guard lock(asked_mutex);
        asked.on_device = batch.on_device;
        asked.stream = reinterpret_cast<uintptr_t>(batch.stream);
        asked.rows = batch.queries.rows;
        asked.stride = batch.queries.stride;
        asked.type = element_name(batch.queries.type);
        asked.k = search.k;
        asked.probes = search.probes;
        asked.filtered = search.filter != nullptr;
        std::vector<float> query(batch.queries.cols);
        for (size_t q = 0; q < batch.queries.rows; ++q) {
            read_rows(batch.queries, q, {query.data(), 1, query.size()});
            for (size_t i = 0; i < search.k; ++i) {
                batch.ids[q * search.k + i] = static_cast<int64_t>(q + 100 * i);
                batch.scores[q * search.k + i] = query[0] + static_cast<float>(i);
            }
            if (batch.counts != nullptr) batch.counts[q] = search.k;
        }
        SearchStats stats;
        stats.plan = "fake";
        return stats;
    }
    SearchStats range_search(const Vectors&, float, float, const DeviceSearch&,
                             std::span<std::vector<Candidate>>) const override {
        return {};
    }
};

class FakeDevice : public Device, public DeviceSource {
   public:
    std::string name() const override { return "cuda:0"; }
    std::string describe() const override { return "cuda:0 fake"; }
    DeviceMemory memory() const override { return {2000, 1000}; }
    const Backend& backend() const override { return cpu_backend(); }
    std::unique_ptr<DeviceCells> hold(const SearchableCells&,
                                      const DeviceOptions& options) const override {
        asked.memory_bytes = options.memory_bytes;
        asked.rerank_on_host = options.rerank_on_host;
        return std::make_unique<FakeCells>();
    }
    void* allocate(size_t bytes) const override {
        ++asked.allocated;
        void* const memory = std::malloc(bytes);
        if (memory == nullptr) throw std::bad_alloc();
        return memory;
    }
    void release(void* memory) const noexcept override {
        ++asked.released;
        std::free(memory);
    }
    SearchResult exact_search(const Vectors& base, const Vectors& queries, Metric metric, size_t k,
                              int threads) const override {
        ++asked.exact_searches;
        return nearcell::exact_search(base, queries, metric, k, threads);
    }
    std::vector<const Device*> list() const override { return {this}; }
    std::string why() const override { return ""; }
};

nb::dict last_search() {
    nb::dict out;
    out["on_device"] = asked.on_device;
    out["stream"] = asked.stream;
    out["rows"] = asked.rows;
    out["stride"] = asked.stride;
    out["type"] = asked.type;
    out["k"] = asked.k;
    out["probes"] = asked.probes;
    out["filtered"] = asked.filtered;
    out["memory_bytes"] = asked.memory_bytes;
    out["rerank_on_host"] = asked.rerank_on_host;
    out["allocated"] = asked.allocated;
    out["released"] = asked.released;
    out["exact_searches"] = asked.exact_searches;
    return out;
}

}  // namespace
}  // namespace nearcell::python

NB_MODULE(fake_nearcell, module) {
    static const nearcell::python::FakeDevice device;
    nearcell::set_device_source(&device);
    nearcell::python::bind_all(module);
    module.def("last_search", &nearcell::python::last_search);
}
