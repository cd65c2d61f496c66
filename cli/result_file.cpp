#include "result_file.h"

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
        if (!is_hdf5(path_)) return writer_.commit();
        writer_.seal();
        copy_to_hdf5(AtomicFile::partial_path(staged_path(path_)));
        writer_.discard();
    }
    void discard() override { writer_.discard(); }

   protected:
    template <class... Arguments>
    explicit StagedFile(const std::string& path, const Arguments&... arguments)
        : path_(path), writer_(staged_path(path), arguments...) {}
    virtual void copy_to_hdf5(const std::string& part) const = 0;

    std::string path_;
    Writer writer_;
};

class IdFile : public StagedFile<IdWriter> {
   public:
    IdFile(const std::string& path, size_t k, uint64_t kept)
        : StagedFile(path, k, staged_format(path), kept) {}
    void append(const SearchResult& result) override {
        writer_.append(result.ids.data(), result.queries);
    }

   private:
    void copy_to_hdf5(const std::string& part) const override {
        const IdData ids = read_ids(part, staged_format(path_));
        write_ids(path_, ids.values.data(), ids.rows, ids.cols);
    }
};

class ScoreFile : public StagedFile<VectorWriter> {
   public:
    ScoreFile(const std::string& path, size_t k, uint64_t kept)
        : StagedFile(path, ElementType::Float32, k, staged_format(path), kept) {}
    void append(const SearchResult& result) override {
        const MatrixView<const float> rows(result.scores.data(), result.queries, result.k);
        writer_.append(rows);
    }

   private:
    void copy_to_hdf5(const std::string& part) const override {
        write_vectors(path_, read_vectors(part, staged_format(path_)).view());
    }
};

}  // namespace

std::string staged_path(const std::string& path) {
    const std::string file = output_file(path);
    return file == path ? path : file + "." + path.substr(file.size() + 1);
}

std::unique_ptr<ResultFile> open_id_file(const std::string& path, size_t k, uint64_t kept) {
    return std::make_unique<IdFile>(path, k, kept);
}

std::unique_ptr<ResultFile> open_score_file(const std::string& path, size_t k, uint64_t kept) {
    return std::make_unique<ScoreFile>(path, k, kept);
}

}  // namespace nearcell::cli
