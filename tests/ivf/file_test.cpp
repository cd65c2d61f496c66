// Whatever options an index can be made of, its file opens.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include <nearcell/core/error.h>

#include "ivf/model.h"

namespace nearcell {
namespace {

constexpr size_t kDim = 12;

void expect_opens_if_made(const CellIndexOptions& options, size_t bits) {
    std::unique_ptr<CellIndex> index;
    try {
        index = std::make_unique<CellIndex>(options);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::InvalidArgument) << error.what();
        return;
    }
    EXPECT_LE(bits, 8u) << index->spec();
    const std::vector<float> x = random_rows(300, kDim, 2);
    const MatrixView<const float> rows(x.data(), 300, kDim);
    index->train(rows);
    index->add(rows);
    const std::vector<uint8_t> bytes = index->to_bytes();
    EXPECT_EQ(CellIndex::from_bytes(bytes)->to_bytes(), bytes) << index->spec();
}

TEST(CellIndexFile, OpensWhateverOptionsItWasMadeBy) {
    for (uint32_t kind = 0; kind <= static_cast<uint32_t>(CodeKind::Bits); ++kind) {
        for (const size_t bits : {size_t{0}, size_t{1}, size_t{8}, size_t{9}, SIZE_MAX}) {
            for (const bool factors : {false, true}) {
                const CodecOptions codec{static_cast<CodeKind>(kind), 4, bits, factors};
                CellIndexOptions options;
                options.dim = kDim;
                CellIndexOptions other = options;
                options.codec = codec;
                if (codec.kind == CodeKind::ScaledInt8 || codec.kind == CodeKind::Bits) {
                    options.residual = true;
                    options.transforms = {{.kind = TransformKind::RandomRotation}};
                }
                expect_opens_if_made(options, bits);
                other.rerank = codec;
                expect_opens_if_made(other, bits);
            }
        }
    }
}

}  // namespace
}  // namespace nearcell
