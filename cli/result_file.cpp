#include "result_file.h"

#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <optional>

#include <nearcell/storage/checksum.h>
#include <nearcell/storage/vector_writer.h>

#include "files.h"

namespace nearcell::cli {
namespace {

bool is_hdf5(const std::string& path) { return output_file(path) != path; }

VectorFileOptions staged_format(const std::string& path) {
    VectorFileOptions options;
    options.format = is_hdf5(path) ? VectorFormat::Npy : format_from_path(path);
    return options;
}

template <class Writer>
class StagedFile : public ResultFile {
   public:
    void sync() override { writer_.sync(); }
    void finish() override {
        if (!is_hdf5(target_.path)) return writer_.commit();
        writer_.seal();
        copy_to_hdf5();
        writer_.discard();
    }
    void discard() override { writer_.discard(); }

   protected:
    template <class... Arguments>
    explicit StagedFile(const ResultTarget& target, const Arguments&... arguments)
        : target_(target), writer_(staged_path(target.path), arguments..., target.owner) {}
    // May be done again: a kill may come between it and the end of the .part file.
    virtual void copy_to_hdf5() const = 0;

    ResultTarget target_;
    Writer writer_;
};

class IdFile : public StagedFile<IdWriter> {
   public:
    IdFile(const ResultTarget& target, size_t k, uint64_t kept)
        : StagedFile(target, k, staged_format(target.path), std::optional(kept)) {}
    void append(const SearchResult& result) override {
        writer_.append(result.ids.data(), result.queries);
    }

   private:
    void copy_to_hdf5() const override {
        const IdData ids = read_ids(target_.part(), staged_format(target_.path));
        write_ids(target_.path, ids.values.data(), ids.rows, ids.cols, target_.options);
    }
};

class ScoreFile : public StagedFile<VectorWriter> {
   public:
    ScoreFile(const ResultTarget& target, size_t k, uint64_t kept)
        : StagedFile(target, ElementType::Float32, k, staged_format(target.path),
                     std::optional(kept)) {}
    void append(const SearchResult& result) override {
        const MatrixView<const float> rows(result.scores.data(), result.queries, result.k);
        writer_.append(rows);
    }

   private:
    void copy_to_hdf5() const override {
        const VectorData scores = read_vectors(target_.part(), staged_format(target_.path));
        write_vectors(target_.path, scores.view(), target_.options);
    }
};

}  // namespace

std::string staged_path(const std::string& path) {
    const std::string file = output_file(path);
    return file == path ? path : file + "." + path.substr(file.size() + 1);
}

ResultTarget id_target(const NeighborOutput& output) {
    return {output.id_path(), "", output.options()};
}

ResultTarget score_target(const NeighborOutput& output) {
    namespace fs = std::filesystem;
    // From here to there, so that folders may get other names meanwhile.
    const auto place = [](const std::string& path) {
        return fs::weakly_canonical(fs::absolute(staged_path(path)));
    };
    const std::string ids =
        place(output.id_path()).lexically_relative(place(output.score_path()).parent_path());
    char owner[20];
    std::snprintf(owner, sizeof owner, "%016" PRIx64, checksum(ids.data(), ids.size()));
    return {output.score_path(), owner, output.options()};
}

std::unique_ptr<ResultFile> open_id_file(const ResultTarget& target, size_t k, uint64_t kept) {
    return std::make_unique<IdFile>(target, k, kept);
}

std::unique_ptr<ResultFile> open_score_file(const ResultTarget& target, size_t k, uint64_t kept) {
    return std::make_unique<ScoreFile>(target, k, kept);
}

}  // namespace nearcell::cli
