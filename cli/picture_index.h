// PictureIndex: pictures' features, reduced by a PCA where wanted, in an index; and what a search
// among them finds.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nearcell/index/factory.h>
#include <nearcell/pca/pca.h>

#include "device_option.h"
#include "session.h"

namespace nearcell::cli {

struct PictureIndexOptions {
    std::string spec = "Flat", metric = "cosine";
    std::optional<size_t> components;  // of the PCA
    uint64_t seed = 1234;
    DeviceOption device;

    // Throws InvalidArgument naming the option that so many pictures, or features of this
    // dimension, are too few for; and for a spec that cannot be.
    void check(size_t pictures, size_t dim) const;
};

struct FoundNeighbor {
    size_t row = 0;
    float score = 0;
};

class PictureIndex {
   public:
    PictureIndex(MatrixView<const float> features, const PictureIndexOptions& options,
                 Session& session);

    // k neighbours of each query. With `rows`, queries are the pictures of these rows, and are left
    // out of their own neighbours.
    std::vector<std::vector<FoundNeighbor>> search(MatrixView<const float> queries,
                                                   const std::vector<size_t>& rows, size_t k,
                                                   size_t probes, Session& session) const;

    const CellIndex& index() const { return *index_; }
    const std::optional<Pca>& pca() const { return pca_; }
    double pca_seconds() const { return pca_seconds_; }
    double build_seconds() const { return build_seconds_; }

   private:
    // As given, or projected into `memory`.
    MatrixView<const float> projected(MatrixView<const float> features, std::vector<float>& memory,
                                      int threads) const;
    std::optional<Pca> pca_;
    std::unique_ptr<CellIndex> index_;
    double pca_seconds_ = 0, build_seconds_ = 0;
};

}  // namespace nearcell::cli
