// Rows written in pieces give the file that write_vectors() makes of all of them.
#include <nearcell/storage/vector_writer.h>

#include <limits>
#include <numeric>

#include "storage/vector_samples.h"

namespace nearcell {
namespace {

// Rows [0, rows) in pieces of 1, 2, 3, ... rows.
void write_in_pieces(VectorWriter& writer, const Vectors& rows) {
    for (size_t first = 0, count = 1; first < rows.rows; first += count, ++count)
        writer.append(rows.slice(first, std::min(count, rows.rows - first)));
}

TEST(VectorWriter, WritesWhatWriteVectorsWrites) {
    const ScratchDir dir;
    for (const char* name : {"x.npy", "x.fbin", "x.fvecs", "x.raw"}) {
        for (const size_t cols : {size_t{1}, size_t{3}, size_t{1280}}) {
            for (const size_t rows : {size_t{1}, size_t{9}, size_t{1000}}) {
                for (const size_t stride : {cols, cols + 5}) {
                    const VectorSample sample(ElementType::Float32, rows, cols, stride);
                    write_vectors(dir.file("all"), sample.vectors, {format_from_path(name)});
                    VectorWriter writer(dir.file(name), ElementType::Float32, cols);
                    write_in_pieces(writer, sample.vectors);
                    EXPECT_EQ(writer.rows(), rows);
                    writer.commit();
                    EXPECT_EQ(file_bytes(dir.file(name)), file_bytes(dir.file("all")))
                        << name << " " << rows << " x " << cols;
                }
            }
        }
    }
}

TEST(VectorWriter, WritesEveryElementTypeThatTheFormatHolds) {
    const ScratchDir dir;
    for (const ElementType type : {ElementType::Float32, ElementType::Float16,
                                   ElementType::BFloat16, ElementType::Int8, ElementType::UInt8}) {
        for (const char* name : {"x.npy", "x.fvecs", "x.bvecs", "x.u8bin", "x.i8bin", "x.raw"}) {
            const VectorSample sample(type, 20, 6);
            const Error whole = error_of([&] { write_vectors(dir.file(name), sample.vectors); });
            const Error pieces = error_of([&] {
                VectorWriter writer(dir.file("y"), type, 6, {format_from_path(name)});
                write_in_pieces(writer, sample.vectors);
                writer.commit();
                EXPECT_EQ(file_bytes(dir.file("y")), file_bytes(dir.file(name)));
            });
            EXPECT_EQ(pieces.code(), whole.code()) << name;
            EXPECT_STREQ(pieces.what(), whole.what()) << name;
        }
    }
}

TEST(VectorWriter, NoRowsAreAFileWhereTheFormatKnowsTheDimension) {
    const ScratchDir dir;
    VectorWriter npy(dir.file("x.npy"), ElementType::Float32, 7);
    npy.commit();
    EXPECT_EQ(vector_file_info(dir.file("x.npy")).rows, 0u);
    EXPECT_EQ(vector_file_info(dir.file("x.npy")).cols, 7u);
    VectorWriter fvecs(dir.file("x.fvecs"), ElementType::Float32, 7);
    EXPECT_EQ(error_of([&] { fvecs.commit(); }).code(), StatusCode::InvalidArgument);
}

TEST(VectorWriter, WithoutCommitTheOldFileStays) {
    const ScratchDir dir;
    const VectorSample old(ElementType::Float32, 3, 4), fresh(ElementType::Float32, 300, 4);
    write_vectors(dir.file("x.npy"), old.vectors);
    {
        VectorWriter writer(dir.file("x.npy"), ElementType::Float32, 4);
        writer.append(fresh.vectors);
        EXPECT_EQ(dir.entries(), 2u);
    }
    EXPECT_EQ(dir.entries(), 1u);
    expect_same(read_vectors(dir.file("x.npy")), old.vectors);
}

TEST(VectorWriter, RefusesWhatCannotBe) {
    const ScratchDir dir;
    const auto made = [&](const char* name, size_t cols) {
        return error_of([&] { VectorWriter(dir.file(name), ElementType::Float32, cols); });
    };
    for (const char* name : {"x.hdf5", "x.h5", "x.h5:train", "x.ibin", "x.u8bin", "x.csv"})
        EXPECT_EQ(made(name, 4).code(), StatusCode::InvalidArgument) << name;
    EXPECT_NE(std::string(made("x.hdf5", 4).what()).find("write npy"), std::string::npos);
    EXPECT_EQ(made("x.npy", 0).code(), StatusCode::InvalidArgument);
    EXPECT_EQ(made("none/x.npy", 4).code(), StatusCode::Io);
    VectorWriter writer(dir.file("x.npy"), ElementType::Float32, 4);
    for (const VectorSample& other :
         {VectorSample(ElementType::Float32, 2, 5), VectorSample(ElementType::UInt8, 2, 4)}) {
        EXPECT_EQ(error_of([&] { writer.append(other.vectors); }).code(),
                  StatusCode::InvalidArgument);
    }
    const Vectors nothing(nullptr, ElementType::Float32, 2, 4);
    EXPECT_EQ(error_of([&] { writer.append(nothing); }).code(), StatusCode::InvalidArgument);
    EXPECT_EQ(writer.rows(), 0u);
}

std::vector<int64_t> some_ids(size_t count) {
    std::vector<int64_t> ids(count);
    std::iota(ids.begin(), ids.end(), -1);
    return ids;
}

TEST(IdWriter, WritesWhatWriteIdsWrites) {
    const ScratchDir dir;
    for (const char* name : {"x.npy", "x.ibin", "x.ivecs"}) {
        for (const size_t cols : {size_t{1}, size_t{10}}) {
            for (const size_t rows : {size_t{1}, size_t{9}, size_t{1000}}) {
                const std::vector<int64_t> ids = some_ids(rows * cols);
                write_ids(dir.file("all"), ids.data(), rows, cols, {format_from_path(name)});
                IdWriter writer(dir.file(name), cols);
                for (size_t first = 0; first < rows; first += 7)
                    writer.append(ids.data() + first * cols, std::min<size_t>(7, rows - first));
                EXPECT_EQ(writer.rows(), rows);
                writer.commit();
                EXPECT_EQ(file_bytes(dir.file(name)), file_bytes(dir.file("all"))) << name;
            }
        }
    }
}

TEST(IdWriter, RefusesWhatTheFormatCannotHold) {
    const ScratchDir dir;
    for (const char* name : {"x.fbin", "x.fvecs", "x.raw", "x.hdf5"})
        EXPECT_EQ(error_of([&] { IdWriter(dir.file(name), 3); }).code(),
                  StatusCode::InvalidArgument)
            << name;
    EXPECT_EQ(dir.entries(), 0u);
    IdWriter writer(dir.file("x.ibin"), 2);
    const std::vector<int64_t> ids = {1, 2, 3, int64_t{1} << 31};
    writer.append(ids.data(), 1);
    const Error error = error_of([&] { writer.append(ids.data() + 2, 1); });
    EXPECT_EQ(error.code(), StatusCode::InvalidArgument);
    EXPECT_NE(std::string(error.what()).find("row 1, column 1"), std::string::npos);
    EXPECT_EQ(writer.rows(), 1u);
}

// Each process is an object here; what it wrote after the last row that the next one keeps is lost.
TEST(RowWriter, SeveralOneAfterTheOtherWriteTheSameFile) {
    const ScratchDir dir;
    constexpr size_t kRows = 100, kCols = 6;
    const VectorSample sample(ElementType::Float32, kRows, kCols);
    const std::vector<int64_t> ids = some_ids(kRows * kCols);
    for (const char* name : {"x.npy", "x.fbin", "x.fvecs", "x.raw", "x.ibin", "x.ivecs"}) {
        const VectorFormat format = format_from_path(name);
        const bool holds_ids = format == VectorFormat::Ibin || format == VectorFormat::Ivecs;
        if (holds_ids) {
            write_ids(dir.file("all"), ids.data(), kRows, kCols, {format});
        } else {
            write_vectors(dir.file("all"), sample.vectors, {format});
        }
        for (size_t kept = 0; kept <= kRows; kept += 20) {
            const size_t written = std::min(kRows - kept, size_t{27});
            const auto go_on = [&](auto& writer, const auto& append) {
                EXPECT_EQ(writer.rows(), kept);
                append(writer, kept, written);
                writer.sync();
                EXPECT_FALSE(std::filesystem::exists(dir.file(name)));
                if (kept + written == kRows) writer.seal();
                if (kept == kRows) writer.commit();
            };
            if (holds_ids) {
                IdWriter writer(dir.file(name), kCols, {}, kept);
                go_on(writer, [&](IdWriter& to, size_t first, size_t count) {
                    to.append(ids.data() + first * kCols, count);
                });
            } else {
                VectorWriter writer(dir.file(name), ElementType::Float32, kCols, {}, kept);
                go_on(writer, [&](VectorWriter& to, size_t first, size_t count) {
                    to.append(sample.vectors.slice(first, count));
                });
            }
        }
        EXPECT_EQ(file_bytes(dir.file(name)), file_bytes(dir.file("all"))) << name;
        EXPECT_FALSE(std::filesystem::exists(dir.file(name) + ".part"));
    }
}

TEST(RowWriter, DiscardRemovesWhatWasWritten) {
    const ScratchDir dir;
    const VectorSample sample(ElementType::Float32, 3, 4);
    VectorWriter writer(dir.file("x.npy"), ElementType::Float32, 4, {}, 0);
    writer.append(sample.vectors);
    writer.discard();
    EXPECT_EQ(dir.entries(), 0u);
}

}  // namespace
}  // namespace nearcell
