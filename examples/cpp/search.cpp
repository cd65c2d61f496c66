// Searches random vectors, and checks that each finds itself first: the smallest whole program.
// Build: g++ -std=c++20 search.cpp $(pkg-config --cflags --static --libs nearcell)
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/index/factory.h>

int main() {
    constexpr size_t kRows = 10000, kDim = 32, kQueries = 100;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> values(kRows * kDim);
    for (float& value : values)
        value = normal(random);
    const nearcell::MatrixView<const float> base(values.data(), kRows, kDim);

    try {
        auto index =
            nearcell::make_index("IVF64,SQ8,RFlat", {.dim = kDim, .metric = nearcell::Metric::L2});
        index->train(base);
        index->add(base);  // ids 0, 1, 2, ...
        const auto result =
            index->search(base.slice(0, kQueries), {.k = 10, .probes = 8, .rerank = 50});

        size_t found = 0;
        for (size_t query = 0; query < kQueries; query++) {
            found += result.ids[query * result.k] == static_cast<int64_t>(query);
        }
        std::printf("%s: %zu of %zu vectors found themselves first\n", index->spec().c_str(), found,
                    kQueries);
        return found == kQueries ? 0 : 1;
    } catch (const nearcell::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
