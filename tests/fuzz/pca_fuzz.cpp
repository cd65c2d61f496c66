// The file of a fitted PCA, as sections with damage in them; what opens must transform rows.
#include <nearcell/pca/pca.h>

#include "memory_file.h"
#include "section_list.h"
#include "storage/sample_container.h"
#include "storage/scratch_dir.h"

namespace nearcell::cli {
void save_pca(const Pca& pca, const std::string& path);  // cli/pca_file.h, a layer above tests
Pca load_pca(const std::string& path);
}  // namespace nearcell::cli

namespace nearcell::fuzz {
namespace {

constexpr size_t kRows = 40, kDim = 6;

std::vector<float> rows_of(size_t count) {
    Random random(5);
    std::vector<float> values(count);
    for (float& value : values)
        value = static_cast<float>(random.normal());
    return values;
}

}  // namespace

std::vector<Bytes> seeds() {
    const ScratchDir folder;
    const std::vector<float> values = rows_of(kRows * kDim);
    std::vector<Bytes> lists;
    for (const PcaOptions options : {PcaOptions{.components = kDim}, PcaOptions{.components = 2},
                                     PcaOptions{.components = 3, .whiten = true}}) {
        const MatrixView<const float> rows(values.data(), kRows, kDim);
        cli::save_pca(Pca::fit(rows, options, cpu_backend(), 1), folder.file("pca"));
        lists.push_back(section_list(Container::open(folder.file("pca"))));
    }
    return lists;
}

void repair(Bytes&) {}

}  // namespace nearcell::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nearcell;
    static fuzz::MemoryFile file;
    const fuzz::Bytes bytes = fuzz::container_of("pca", data, size);
    file.set(bytes.data(), bytes.size());
    fuzz::read([&] {
        const Pca pca = cli::load_pca(file.path());
        fuzz::require(pca.matrix().size() * sizeof(float) <= bytes.size());
        const std::vector<float> values(pca.dim(), 1.0f);
        std::vector<float> reduced(pca.components()), back(pca.dim());
        pca.transform(MatrixView<const float>(values.data(), 1, pca.dim()),
                      {reduced.data(), 1, reduced.size()}, cpu_backend(), 1);
        pca.map();
        pca.explained_variance_ratio();
        pca.inverse(MatrixView<const float>(reduced.data(), 1, reduced.size()),
                    {back.data(), 1, back.size()}, cpu_backend(), 1);
    });
    return 0;
}
