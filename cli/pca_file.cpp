#include "pca_file.h"

#include <filesystem>
#include <utility>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/storage/container.h>

namespace nearcell::cli {

void append_pca(AtomicFile& file, const Pca& pca) {
    const double numbers[2] = {pca.total_variance(), pca.options().epsilon};
    const uint8_t whiten = pca.options().whiten ? 1 : 0;
    ContainerWriter writer("pca");
    writer.add("matrix", SectionType::F32, pca.components(), pca.dim(), pca.matrix().data());
    writer.add("mean", SectionType::F32, pca.dim(), 1, pca.mean().data());
    writer.add("variances", SectionType::F32, pca.components(), 1, pca.variances().data());
    writer.add("numbers", SectionType::F64, 2, 1, numbers);
    writer.add("whiten", SectionType::U8, 1, 1, &whiten);
    const std::vector<uint8_t> bytes = writer.to_bytes();
    file.append(bytes.data(), bytes.size());
}

void save_pca(const Pca& pca, const std::string& path) {
    AtomicFile file(path);
    append_pca(file, pca);
    file.commit();
}

bool is_pca(const std::string& path) {
    if (!std::filesystem::is_regular_file(path)) return false;
    try {
        return Container::open(path).kind() == "pca";
    } catch (const Error&) {  // of another kind, or damaged
        return false;
    }
}

Pca load_pca(const std::string& path) {
    const Container file = Container::open(path);
    check(file.kind() == "pca", StatusCode::InvalidArgument, path, " is of kind ", file.kind(),
          ", not pca; give a file made by `nearcell reduce --save`");
    const SectionInfo& shape = file.info("matrix");
    const auto matrix = file.get<float>("matrix", shape.rows, shape.cols);
    const auto mean = file.get<float>("mean", shape.cols);
    const auto variances = file.get<float>("variances", shape.rows);
    const auto numbers = file.get<double>("numbers", 2);
    const uint8_t whiten = file.get<uint8_t>("whiten", 1)[0];
    check(whiten <= 1, StatusCode::Corrupt, path, ": whiten = ", int{whiten}, " must be 0 or 1");
    PcaOptions options;
    options.components = shape.rows;
    options.whiten = whiten == 1;
    options.epsilon = numbers[1];
    return Pca::from_parts(shape.cols, options, {matrix.begin(), matrix.end()},
                           {mean.begin(), mean.end()}, {variances.begin(), variances.end()},
                           numbers[0]);
}

}  // namespace nearcell::cli
