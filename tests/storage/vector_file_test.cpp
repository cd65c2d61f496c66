#include <csignal>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/vector_samples.h"

namespace nearcell {
namespace {

TEST(VectorFile, FormatsFollowNamesAndSuffixes) {
    for (const char* name :
         {"fvecs", "bvecs", "ivecs", "fbin", "u8bin", "i8bin", "ibin", "npy", "raw", "hdf5"}) {
        const auto format = format_from_name(name);
        ASSERT_TRUE(format.has_value()) << name;
        EXPECT_EQ(format_name(*format), name);
        EXPECT_EQ(format_from_path(std::string("/some.where/x.") + name), *format);
    }
    EXPECT_EQ(format_from_path("x.h5"), VectorFormat::Hdf5);
    EXPECT_EQ(format_from_path("x.h5:test"), VectorFormat::Hdf5);
    EXPECT_EQ(format_from_path("x.hdf5:group/test"), VectorFormat::Hdf5);
    EXPECT_FALSE(format_from_name("csv"));
    for (const char* path : {"x.csv", "x", "fvecs", "dir.npy/x", ""}) {
        const Error error = error_of([&] { format_from_path(path); });
        EXPECT_EQ(error.code(), StatusCode::InvalidArgument) << path;
        EXPECT_NE(std::string(error.what()).find(".fvecs"), std::string::npos) << error.what();
    }
}

TEST(VectorFile, ANamedFormatOverridesTheSuffix) {
    const ScratchDir dir;
    const VectorSample sample(ElementType::Float32, 5, 4);
    VectorFileOptions options;
    options.format = VectorFormat::Fbin;
    write_vectors(dir.file("x.npy"), sample.vectors, options);
    expect_same(read_vectors(dir.file("x.npy"), options), sample.vectors);
    EXPECT_EQ(error_of([&] { read_vectors(dir.file("x.npy")); }).code(), StatusCode::Corrupt);
}

TEST(VectorFile, RawHoldsEveryElementType) {
    for (ElementType type : {ElementType::Float32, ElementType::Float16, ElementType::BFloat16,
                             ElementType::Int8, ElementType::UInt8}) {
        check_round_trips("x.raw", type);
    }
}

TEST(VectorFile, RawNeedsItsColumns) {
    const std::vector<uint8_t> bytes(24);
    VectorFileOptions options;
    EXPECT_EQ(read_error("x.raw", bytes, options).code(), StatusCode::InvalidArgument);
    for (size_t cols : {size_t{4}, size_t{7}, size_t{1} << 62, ~size_t{0}}) {
        options.raw_cols = cols;
        EXPECT_EQ(read_error("x.raw", bytes, options).code(), StatusCode::InvalidArgument) << cols;
    }
    options.raw_cols = 3;
    EXPECT_STREQ(read_error("x.raw", bytes, options).what(), "");
}

TEST(VectorFile, MissingFilesAndDirectoriesAreTold) {
    const ScratchDir dir;
    for (const char* name : {"x.fvecs", "x.fbin", "x.npy", "x.h5", "x.h5:train"}) {
        EXPECT_EQ(error_of([&] { read_vectors(dir.file(name)); }).code(), StatusCode::NotFound)
            << name;
        EXPECT_EQ(error_of([&] { read_ids(dir.file(name)); }).code(), StatusCode::NotFound) << name;
        EXPECT_EQ(error_of([&] { vector_file_info(dir.file(name)); }).code(), StatusCode::NotFound)
            << name;
    }
    std::filesystem::create_directory(dir.file("d.npy"));
    std::filesystem::create_directory(dir.file("d.h5"));
    EXPECT_EQ(error_of([&] { read_vectors(dir.file("d.npy")); }).code(), StatusCode::Io);
    EXPECT_EQ(error_of([&] { read_vectors(dir.file("d.h5")); }).code(), StatusCode::Io);
}

// The name before it would be that of another file, or data set.
TEST(VectorFile, PathsWithAZeroByteAreRefused) {
    using namespace std::string_literals;
    const ScratchDir dir;
    const VectorSample sample(ElementType::Float32, 5, 4);
    for (const std::string name : {"x.fvecs", "x.fbin", "x.npy", "x.h5"}) {
        write_vectors(dir.file(name), sample.vectors);
        const std::string path = dir.file(name) + "\0."s + name;
        EXPECT_EQ(error_of([&] { read_vectors(path); }).code(), StatusCode::Io) << name;
        EXPECT_EQ(error_of([&] { read_ids(path); }).code(), StatusCode::Io) << name;
        EXPECT_EQ(error_of([&] { vector_file_info(path); }).code(), StatusCode::Io) << name;
        EXPECT_EQ(error_of([&] { write_vectors(path, sample.vectors); }).code(), StatusCode::Io);
    }
    const std::string set = dir.file("x.h5:train\0x"s);
    EXPECT_EQ(error_of([&] { read_vectors(set); }).code(), StatusCode::Io);
    EXPECT_EQ(error_of([&] { write_vectors(set, sample.vectors); }).code(), StatusCode::Io);
}

TEST(VectorFile, WritersRefuseNullAndNoColumns) {
    const ScratchDir dir;
    for (const char* name : {"x.fvecs", "x.fbin", "x.npy", "x.raw", "x.h5"}) {
        const auto refused = [&](const Vectors& vectors) {
            return error_of([&] { write_vectors(dir.file(name), vectors); }).code() ==
                   StatusCode::InvalidArgument;
        };
        const float value = 1;
        EXPECT_TRUE(refused(Vectors(&value, ElementType::Float32, 1, 0))) << name;
        EXPECT_TRUE(refused(Vectors(nullptr, ElementType::Float32, 1, 1))) << name;
    }
    const int64_t id = 1;
    EXPECT_EQ(error_of([&] { write_ids(dir.file("x.fbin"), &id, 1, 1); }).code(),
              StatusCode::InvalidArgument);
    EXPECT_EQ(error_of([&] { write_ids(dir.file("x.raw"), &id, 1, 1); }).code(),
              StatusCode::InvalidArgument);
    EXPECT_EQ(dir.entries(), 0u);
}

TEST(VectorFile, AtAFileSizeLimitLeavesTheOldFile) {
    const ScratchDir dir;
    const VectorSample small(ElementType::Float32, 2, 3), large(ElementType::Float32, 5000, 16);
    for (const char* name : {"x.fvecs", "x.fbin", "x.npy", "x.raw", "x.h5"}) {
        write_vectors(dir.file(name), small.vectors);
        const std::vector<uint8_t> old = file_bytes(dir.file(name));
        const size_t entries = dir.entries();
        const pid_t child = ::fork();
        if (child == 0) {
            std::signal(SIGXFSZ, SIG_IGN);
            const rlimit limit{100000, 100000};
            ::setrlimit(RLIMIT_FSIZE, &limit);
            const Error error = error_of([&] { write_vectors(dir.file(name), large.vectors); });
            ::_exit(error.code() == StatusCode::Io ? 0 : 1);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << name;
        EXPECT_EQ(file_bytes(dir.file(name)), old) << name;
        EXPECT_EQ(dir.entries(), entries) << name;
    }
}

}  // namespace
}  // namespace nearcell
