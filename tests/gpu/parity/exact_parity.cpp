// Exact search on a device against exact_search on the CPU: ids, and the bits of scores.
#include <nearcell/index/exact_search.h>

#include <nearcell/kernels/device.h>
#include "parity_case.h"

namespace nearcell::parity {
namespace {

constexpr size_t kNumbersOfNeighbours[] = {1, 33, 100, 1000, 20000};

class ExactParity : public testing::Test {
   protected:
    ExactParity()
        : base_(clustered(size().exact_rows, size().dim, 3)),
          queries_(clustered(size().exact_queries, size().dim, 4)),
          device_(find_device("cuda:0")) {}

    SearchResult on_device(size_t queries, Metric metric, size_t k) const {
        return device_->exact_search(base_.view(), Vectors(queries_.view()).slice(0, queries),
                                     metric, k, 0);
    }
    void expect_as_cpu(size_t queries, Metric metric, size_t k) const {
        const SearchResult truth =
            exact_search(base_.view(), Vectors(queries_.view()).slice(0, queries), metric, k, 0);
        expect_equal(on_device(queries, metric, k), truth,
                     std::string(metric_name(metric)) + ", k = " + std::to_string(k));
    }

    Rows base_, queries_;
    const Device* device_;
};

TEST_F(ExactParity, EveryMetric) {
    for (const Metric metric : {Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1}) {
        expect_as_cpu(size().exact_queries, metric, 10);
        expect_as_cpu(1, metric, 1);
    }
}

TEST_F(ExactParity, KFrom1To20000) {
    for (const size_t k : kNumbersOfNeighbours) {
        expect_as_cpu(std::min<size_t>(size().exact_queries, k > 1000 ? 5 : 50), Metric::L2, k);
        expect_as_cpu(std::min<size_t>(size().exact_queries, 5), Metric::Cosine, k);
    }
}

// Another kernel, in shapes that go by the number of queries.
TEST_F(ExactParity, WideVectors) {
    constexpr size_t kDim = 200;
    const Rows base = clustered(std::min<size_t>(size().exact_rows, 100000), kDim, 5);
    const Rows queries = clustered(130, kDim, 6);
    for (const size_t count : std::initializer_list<size_t>{1, 7, 8, 9, 48, 49, 100, 130}) {
        const Vectors some = Vectors(queries.view()).slice(0, count);
        expect_equal(device_->exact_search(base.view(), some, Metric::L2, 10, 0),
                     exact_search(base.view(), some, Metric::L2, 10, 0),
                     std::to_string(count) + " queries");
    }
}

TEST_F(ExactParity, TheSameBitsEveryTime) {
    const size_t queries = std::min<size_t>(size().exact_queries, 100);
    const SearchResult first = on_device(queries, Metric::L2, 10);
    for (size_t i = 1; i < size().repetitions; ++i)
        expect_equal(on_device(queries, Metric::L2, 10), first, "search " + std::to_string(i));
}

}  // namespace
}  // namespace nearcell::parity
