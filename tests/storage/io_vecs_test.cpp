#include "storage/vector_samples.h"

namespace nearcell {
namespace {

TEST(Vecs, GiveBackWhatWasWritten) {
    check_round_trips("x.fvecs", ElementType::Float32);
    check_round_trips("x.bvecs", ElementType::UInt8);
    check_id_round_trips("x.ivecs", {5, 0, -1, 2147483647, -2147483648, 7});
}

TEST(Vecs, HaveTheBytesOfTheFormat) {
    const ScratchDir dir;
    const float values[] = {1.0f, -2.0f};
    write_vectors(dir.file("x.fvecs"), MatrixView<const float>(values, 1, 2));
    EXPECT_EQ(file_bytes(dir.file("x.fvecs")),
              (std::vector<uint8_t>{2, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}));
    const int64_t ids[] = {258, -1};
    write_ids(dir.file("x.ivecs"), ids, 2, 1);
    EXPECT_EQ(file_bytes(dir.file("x.ivecs")),
              (std::vector<uint8_t>{1, 0, 0, 0, 2, 1, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}));
}

TEST(Vecs, DamagedAreRefused) {
    const std::vector<uint8_t> two_rows{3, 0, 0, 0, 1, 2, 3, 3, 0, 0, 0, 4, 5, 6};
    EXPECT_STREQ(read_error("x.bvecs", two_rows).what(), "");
    for (int size : {0, 1, 3, 6, 8, 13}) {
        const std::vector<uint8_t> cut(two_rows.begin(), two_rows.begin() + size);
        EXPECT_EQ(read_error("x.bvecs", cut).code(), StatusCode::Corrupt) << size;
    }
    EXPECT_EQ(read_error("x.fvecs", two_rows).code(), StatusCode::Corrupt);
    std::vector<uint8_t> uneven = two_rows;
    uneven[7] = 4;  // the dimension of row 1
    const Error error = read_error("x.bvecs", uneven);
    EXPECT_EQ(error.code(), StatusCode::Corrupt);
    EXPECT_NE(std::string(error.what()).find("row 1 at offset 7 has dimension 4"),
              std::string::npos)
        << error.what();
    check_hostile_fields("x.bvecs", two_rows, 11);
    check_hostile_fields("x.fvecs", std::vector<uint8_t>{1, 0, 0, 0, 0, 0, 0, 0}, 4);
}

TEST(Vecs, RefuseWhatTheyCannotHold) {
    const ScratchDir dir;
    const VectorSample bytes(ElementType::UInt8, 2, 3);
    const auto refused = [&](const std::string& name, const Vectors& vectors) {
        return error_of([&] { write_vectors(dir.file(name), vectors); }).code() ==
               StatusCode::InvalidArgument;
    };
    EXPECT_TRUE(refused("x.fvecs", bytes.vectors));
    EXPECT_TRUE(refused("x.ivecs", bytes.vectors));
    EXPECT_TRUE(refused("x.bvecs", bytes.vectors.slice(0, 0)));
    EXPECT_EQ(dir.entries(), 0u);
}

}  // namespace
}  // namespace nearcell
