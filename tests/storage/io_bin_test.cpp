#include "storage/vector_samples.h"

namespace nearcell {
namespace {

TEST(Bin, GivesBackWhatWasWritten) {
    check_round_trips("x.fbin", ElementType::Float32);
    check_round_trips("x.u8bin", ElementType::UInt8);
    check_round_trips("x.i8bin", ElementType::Int8);
    check_id_round_trips("x.ibin", {5, 0, -1, 2147483647, -2147483648, 7});
}

TEST(Bin, HasTheBytesOfTheFormat) {
    const ScratchDir dir;
    const int8_t values[] = {1, -2, 3, 4, 5, 6};
    write_vectors(dir.file("x.i8bin"), Vectors(values, ElementType::Int8, 2, 3));
    EXPECT_EQ(file_bytes(dir.file("x.i8bin")),
              (std::vector<uint8_t>{2, 0, 0, 0, 3, 0, 0, 0, 1, 0xfe, 3, 4, 5, 6}));
    write_vectors(dir.file("x.i8bin"), Vectors(values, ElementType::Int8, 0, 3));
    EXPECT_EQ(read_vectors(dir.file("x.i8bin")).cols, 3u);
}

TEST(Bin, DamagedIsRefused) {
    const std::vector<uint8_t> rows{2, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3, 4, 5, 6};
    check_other_lengths_refused("x.u8bin", rows);
    check_hostile_fields("x.u8bin", rows, 8);
    // 65536 x 65536 float32 values take 2^34 bytes: 0 in 32 bits.
    EXPECT_EQ(read_error("x.fbin", {0, 0, 1, 0, 0, 0, 1, 0}).code(), StatusCode::Corrupt);
    EXPECT_EQ(read_error("x.fbin", {5, 0, 0, 0, 0, 0, 0, 0}).code(), StatusCode::Corrupt);
    EXPECT_EQ(read_error("x.fbin", {0, 0, 0, 0, 255, 255, 255, 255}).code(), StatusCode::Corrupt);
}

TEST(Bin, TruthWithDistancesGivesItsIds) {
    const ScratchDir dir;
    const int64_t ids[] = {1, 2, 3, 4};
    write_ids(dir.file("gt.ibin"), ids, 2, 2);
    std::vector<uint8_t> bytes = file_bytes(dir.file("gt.ibin"));
    bytes.resize(bytes.size() + 16);
    put_bytes(dir.file("gt.ibin"), bytes);
    EXPECT_EQ(read_ids(dir.file("gt.ibin")).values, (std::vector<int64_t>{1, 2, 3, 4}));
    bytes.pop_back();
    put_bytes(dir.file("gt.ibin"), bytes);
    EXPECT_EQ(error_of([&] { read_ids(dir.file("gt.ibin")); }).code(), StatusCode::Corrupt);
}

TEST(Bin, RefusesWhatItCannotHold) {
    const ScratchDir dir;
    const auto refused = [&](const std::string& name, const Vectors& vectors) {
        return error_of([&] { write_vectors(dir.file(name), vectors); }).code() ==
               StatusCode::InvalidArgument;
    };
    const VectorSample bytes(ElementType::UInt8, 2, 3);
    EXPECT_TRUE(refused("x.fbin", bytes.vectors));
    EXPECT_TRUE(refused("x.i8bin", bytes.vectors));
    EXPECT_TRUE(refused("x.ibin", bytes.vectors));
    Vectors many(nullptr, ElementType::UInt8, 0, size_t{1} << 32);
    EXPECT_TRUE(refused("x.u8bin", many));
    EXPECT_EQ(dir.entries(), 0u);
}

TEST(Bin, IdsBeyondInt32AreRefusedBeforeAnythingIsWritten) {
    const ScratchDir dir;
    for (const char* name : {"x.ibin", "x.ivecs"}) {
        for (int64_t id : {int64_t{1} << 31, -(int64_t{1} << 31) - 1}) {
            const int64_t ids[] = {1, 2, 3, id};
            const Error error = error_of([&] { write_ids(dir.file(name), ids, 2, 2); });
            EXPECT_EQ(error.code(), StatusCode::InvalidArgument);
            const std::string text = error.what();
            EXPECT_NE(text.find(std::to_string(id)), std::string::npos) << text;
            EXPECT_NE(text.find("row 1, column 1"), std::string::npos) << text;
            EXPECT_NE(text.find("npy"), std::string::npos) << text;
            EXPECT_EQ(dir.entries(), 0u);
        }
    }
}

}  // namespace
}  // namespace nearcell
