// An index may be given another's trained parts, by what tells of them.
#include <gtest/gtest.h>

#include <vector>

#include "ivf/model.h"

namespace nearcell {
namespace {

constexpr size_t kDim = 12;

TEST(CellIndexTrain, TakesItsOwnParts) {
    const std::vector<float> x = random_rows(300, kDim, 2);
    const MatrixView<const float> rows(x.data(), 300, kDim);
    for (const char* spec : {"Flat", "SQ8", "I8", "PQ4x4", "RaBitQ", "RR,SQ8", "IVF9,Flat",
                             "IVF9,SQ8", "IVF9,I8", "IVF9,PQ4x4fs", "IVF9,RaBitQ4,RFlat"}) {
        const auto trained = trained_index(spec, kDim, Metric::L2, 500);
        const std::vector<float> centroids = trained->centroids();
        const auto other = make_index(spec, {.dim = kDim});
        other->set_trained({centroids.data(), centroids.size() / kDim, kDim},
                           trained->codec_parameters());
        EXPECT_EQ(other->to_bytes(), trained->to_bytes()) << spec;
        other->add(rows);
        trained->add(rows);
        EXPECT_EQ(other->to_bytes(), trained->to_bytes()) << spec;
    }
}

}  // namespace
}  // namespace nearcell
