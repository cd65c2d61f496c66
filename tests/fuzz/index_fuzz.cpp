// The file of an index, as sections with damage in them. What opens is searched, reconstructed,
// changed, saved and opened again: damage that no check could see must not hurt later either.
#include <nearcell/core/random.h>
#include <nearcell/index/factory.h>

#include "section_list.h"

namespace nearcell::fuzz {
namespace {

constexpr size_t kDim = 8, kRows = 260;
// Larger ones open, too; searching them takes as much memory as their queries.
constexpr size_t kMostDim = 4096;

std::vector<float> rows_of(size_t count, uint64_t seed) {
    Random random(seed);
    std::vector<float> values(count);
    for (float& value : values)
        value = static_cast<float>(random.below(64)) / 16.0f;
    return values;
}

Bytes sample(std::string_view spec, Metric metric, size_t rows) {
    const auto index = make_index(spec, {.dim = kDim, .metric = metric});
    const std::vector<float> values = rows_of(kRows * kDim, spec.size());
    const CallOptions call{.threads = 1};
    index->train(MatrixView<const float>(values.data(), kRows, kDim), call);
    if (rows > 0) index->add(MatrixView<const float>(values.data(), rows, kDim), {}, call);
    const size_t rerank = index->options().rerank ? size_t{1} << 60 : 0;
    if (rows > 30) index->set_defaults(1, rerank);
    return section_list(Container::from_bytes(index->to_bytes()));
}

void search(const CellIndex& index) {
    const std::vector<float> values = rows_of(2 * index.dim(), 9);
    const MatrixView<const float> queries(values.data(), 2, index.dim());
    for (const SearchOptions& options :
         {SearchOptions{.k = 3, .threads = 1},
          SearchOptions{.k = 100, .probes = 1000, .threads = 1},
          SearchOptions{
              .k = 2, .probes = 2, .rerank = index.options().rerank ? 5u : 0u, .threads = 1}}) {
        const SearchResult found = index.search(queries, options);
        require(found.ids.size() == 2 * options.k);
        for (const int64_t id : found.ids)
            require(id >= -1);
    }
    read([&] { index.range_search(queries, 1.0f, {.threads = 1}); });
}

void visit(CellIndex& index) {
    const CallOptions call{.threads = 1};
    index.stats();
    index.spec();
    std::vector<int64_t> ids = index.ids();
    require(ids.size() == index.size());
    ids.resize(std::min<size_t>(ids.size(), 5));
    if (index.dim() > kMostDim) return;
    search(index);
    std::vector<float> rows(ids.size() * index.dim());
    index.reconstruct(ids, {rows.data(), ids.size(), index.dim()});
    const std::vector<float> one = rows_of(index.dim(), 3);
    index.add(MatrixView<const float>(one.data(), 1, index.dim()), {}, call);
    index.remove(ids);
    search(*CellIndex::from_bytes(index.to_bytes()));
}

}  // namespace

std::vector<Bytes> seeds() {
    std::vector<Bytes> lists;
    for (const std::string_view spec :
         {"Flat", "IVF4,Flat", "SQ8", "IVF3,SQ8", "IVF3,SQ8nr", "IVF2,PQ4x4fs,RFlat", "PQ2",
          "PCA4,IVF2,SQfp16", "PCAW3,SQbf16,RFlat", "OPQ2,PQ2x4", "RR,I8", "RR6,IVF2,Flat",
          "L2norm,IVF2,SQ8,Refine(SQ8)", "IVF3,RaBitQ,Refine(SQ8)", "IVF2,RaBitQ4", "RaBitQ"}) {
        lists.push_back(sample(spec, Metric::L2, 20));
    }
    lists.push_back(sample("IVF4,SQ8", Metric::InnerProduct, 40));
    lists.push_back(sample("IVF2,RaBitQ,RFlat", Metric::Cosine, 33));
    lists.push_back(sample("IVF2,Flat", Metric::L1, 5));
    lists.push_back(sample("IVF2,PQ2", Metric::Cosine, 0));
    return lists;
}

void repair(Bytes&) {}

}  // namespace nearcell::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nearcell;
    fuzz::Bytes bytes = fuzz::container_of("index", data, size);
    std::unique_ptr<CellIndex> index;
    if (!fuzz::read([&] { index = CellIndex::from_bytes(std::move(bytes)); })) return 0;
    fuzz::read([&] { fuzz::visit(*index); });
    return 0;
}
