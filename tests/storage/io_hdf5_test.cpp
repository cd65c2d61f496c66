#include <thread>

#include "storage/hdf5_bytes.h"
#include "storage/vector_samples.h"

namespace nearcell {
namespace {

using Bytes = std::vector<uint8_t>;

// The samples' matrix: 3 x 4 values -2, -1.5, ...
float sample_value(size_t i) { return static_cast<float>(i) * 0.5f - 2.0f; }

TEST(Hdf5, GivesBackWhatWasWritten) {
    for (ElementType type :
         {ElementType::Float32, ElementType::Float16, ElementType::Int8, ElementType::UInt8}) {
        check_round_trips("x.hdf5", type);
        check_round_trips("x.h5", type);
    }
    check_id_round_trips("x.hdf5", {5, -1, int64_t{1} << 62, 0, 3, 4});
}

TEST(Hdf5, ReadsTheAnnBenchmarksLayoutThatH5pyWrites) {
    const ScratchDir dir;
    const std::string path = dir.file("ann.hdf5");
    put_bytes(path, hdf5_bytes(kHdf5Ann));
    const VectorData train = read_vectors(path);
    ASSERT_EQ(train.rows, 3u);
    ASSERT_EQ(train.cols, 4u);
    for (size_t i = 0; i < 12; ++i)
        EXPECT_EQ(static_cast<const float*>(train.view().data)[i], sample_value(i));
    const VectorData test = read_vectors(path + ":test");
    ASSERT_EQ(test.rows, 2u);
    EXPECT_EQ(static_cast<const float*>(test.view().data)[7], sample_value(7) + 1);
    EXPECT_EQ(read_ids(path).values, (std::vector<int64_t>{1, 0, 2, 1}));
    EXPECT_EQ(read_ids(path + ":/neighbors").values, (std::vector<int64_t>{1, 0, 2, 1}));
    EXPECT_EQ(vector_file_info(path + ":distances").element, "float32");
    EXPECT_EQ(vector_file_info(path + ":neighbors").element, "int32");

    const Error missing = error_of([&] { read_vectors(path + ":base"); });
    EXPECT_EQ(missing.code(), StatusCode::NotFound);
    EXPECT_NE(std::string(missing.what()).find("distances, neighbors, test, train"),
              std::string::npos)
        << missing.what();
    EXPECT_EQ(error_of([&] { read_vectors(path + ":neighbors"); }).code(), StatusCode::Unsupported);
    EXPECT_EQ(error_of([&] { read_ids(path + ":train"); }).code(), StatusCode::Unsupported);
    EXPECT_EQ(error_of([&] { read_ids(path + ":"); }).code(), StatusCode::InvalidArgument);
}

TEST(Hdf5, ReadsTheElementTypesThatH5pyWrites) {
    const ScratchDir dir;
    const std::string path = dir.file("types.h5");
    put_bytes(path, hdf5_bytes(kHdf5Types));
    for (const char* name : {"f8", "f4_big", "f2", "group/nested", "i1", "u1"}) {
        const VectorData data = read_vectors(path + ":" + name);
        ASSERT_EQ(data.rows, 3u) << name;
        std::vector<float> values(12);
        read_rows(data.view(), 0, MatrixView<float>(values.data(), 3, 4));
        for (size_t i = 0; i < 12; ++i) {
            const std::string which = name;
            const float integer = static_cast<float>(i) + (which == "u1" ? 244.0f : -6.0f);
            EXPECT_EQ(values[i], which == "i1" || which == "u1" ? integer : sample_value(i))
                << name;
        }
    }
    const VectorData packed = read_vectors(path + ":gzip");
    ASSERT_EQ(packed.rows, 120u);
    EXPECT_EQ(static_cast<const float*>(packed.view().row(119))[3], sample_value(11));
    VectorFileOptions part;
    part.first_row = 39;
    part.max_rows = 2;
    const VectorData border = read_vectors(path + ":gzip", part);
    ASSERT_EQ(border.rows, 2u);
    EXPECT_EQ(static_cast<const float*>(border.view().row(1))[0], sample_value(4));

    EXPECT_EQ(read_ids(path + ":i8").values, (std::vector<int64_t>{-1, int64_t{1} << 40, 3, 4}));
    EXPECT_EQ(read_ids(path + ":u4").values, (std::vector<int64_t>{1, 4294967295}));
    EXPECT_EQ(read_ids(path + ":line").values, (std::vector<int64_t>{5, 6, 7}));
    for (const char* name : {"u8", "cube", "text", "line", "f8_large"}) {
        EXPECT_EQ(error_of([&] { read_vectors(path + ":" + name); }).code(),
                  StatusCode::Unsupported)
            << name;
    }
    const Error large = error_of([&] { read_vectors(path + ":f8_large"); });
    EXPECT_NE(std::string(large.what()).find("row 0, column 0"), std::string::npos) << large.what();
    EXPECT_EQ(error_of([&] { read_vectors(path + ":group"); }).code(), StatusCode::Corrupt);
}

TEST(Hdf5, DataElsewhereAndImpossibleShapesAreRefused) {
    const ScratchDir dir;
    const std::string path = dir.file("hostile.h5");
    put_bytes(path, hdf5_bytes(kHdf5Hostile));
    EXPECT_EQ(read_vectors(path + ":real").rows, 3u);
    for (const char* name : {"soft", "outside", "external", "virtual"}) {
        EXPECT_EQ(error_of([&] { read_vectors(path + ":" + name); }).code(),
                  StatusCode::Unsupported)
            << name;
    }
    for (const char* name : {"unwritten", "chunked", "wide"}) {
        const Error error = error_of([&] { read_vectors(path + ":" + name); });
        EXPECT_EQ(error.code(), StatusCode::Corrupt) << name << error.what();
        EXPECT_EQ(error_of([&] { vector_file_info(path + ":" + name); }).code(),
                  StatusCode::Corrupt)
            << name;
    }
}

TEST(Hdf5, TruncatedIsRefused) {
    const ScratchDir dir;
    const Bytes good = hdf5_bytes(kHdf5Ann);
    for (size_t size = 0; size < good.size(); size += 7) {
        put_bytes(dir.file("x.h5"),
                  Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size)));
        const Error error = error_of([&] { read_vectors(dir.file("x.h5")); });
        ASSERT_EQ(error.code(), StatusCode::Corrupt) << size << error.what();
    }
    EXPECT_EQ(read_error("x.h5", random_bytes(5000, 1)).code(), StatusCode::Corrupt);
}

TEST(Hdf5, WritesASecondDataSetBesideTheFirst) {
    const ScratchDir dir;
    const std::string path = dir.file("x.hdf5");
    const VectorSample train(ElementType::Float32, 50, 8), test(ElementType::Float32, 5, 8);
    const int64_t ids[] = {1, 2, 3, 4, 5};
    write_vectors(path, train.vectors);
    write_vectors(path + ":test", test.vectors);
    write_ids(path, ids, 5, 1);
    expect_same(read_vectors(path), train.vectors);
    expect_same(read_vectors(path + ":test"), test.vectors);
    EXPECT_EQ(read_ids(path).values, (std::vector<int64_t>{1, 2, 3, 4, 5}));

    const Bytes before = file_bytes(path);
    const Error error = error_of([&] { write_vectors(path, test.vectors); });
    EXPECT_EQ(error.code(), StatusCode::AlreadyExists) << error.what();
    EXPECT_EQ(file_bytes(path), before);
    EXPECT_EQ(dir.entries(), 1u);
}

TEST(Hdf5, ReplacesDataSetsThatAreWrittenTogetherWhereThereAreNoOthers) {
    const ScratchDir dir;
    const std::string path = dir.file("x.hdf5");
    const VectorSample before(ElementType::Float32, 500, 8), after(ElementType::Float32, 700, 3);
    const std::vector<int64_t> first = {1, 2, 3, 4, 5}, second = {6, 7};
    VectorFileOptions options;
    options.together = {path + ":distances", path + ":neighbors", dir.file("y.hdf5") + ":test"};
    const auto check_both = [&] {
        check_writes_vectors(path + ":distances", ElementType::Float32, options);
        check_writes_ids(path, options);
    };
    check_both();
    write_vectors(path + ":distances", before.vectors, options);
    check_both();
    write_ids(path, first.data(), 5, 1, options);
    for (int i = 0; i < 3; ++i) {
        check_both();
        write_vectors(path + ":distances", after.vectors, options);
        // The first takes the others of an earlier time away.
        EXPECT_EQ(error_of([&] { read_ids(path); }).code(), StatusCode::NotFound);
        write_ids(path, second.data(), 1, 2, options);
        expect_same(read_vectors(path + ":distances"), after.vectors);
        EXPECT_EQ(read_ids(path).values, second);
        EXPECT_LT(file_bytes(path).size(), 40'000u) << "what is replaced takes no room";
    }
    EXPECT_EQ(error_of([&] { check_writes_ids(path); }).code(), StatusCode::AlreadyExists);
    write_vectors(path + ":test", before.vectors, options);
    const Bytes whole = file_bytes(path);
    for (const auto& refused : {error_of([&] { check_writes_ids(path, options); }),
                                error_of([&] { write_ids(path, first.data(), 5, 1, options); })}) {
        EXPECT_EQ(refused.code(), StatusCode::AlreadyExists) << refused.what();
    }
    EXPECT_EQ(file_bytes(path), whole);
}

TEST(Hdf5, ReplacesTheOnlyDataSetAndGivesTheSameBytesAgain) {
    const ScratchDir dir;
    const VectorSample first(ElementType::Float32, 500, 8), second(ElementType::UInt8, 5, 3);
    write_vectors(dir.file("a.h5"), first.vectors);
    write_vectors(dir.file("a.h5"), second.vectors);
    expect_same(read_vectors(dir.file("a.h5")), second.vectors);
    write_vectors(dir.file("b.h5"), second.vectors);
    EXPECT_EQ(file_bytes(dir.file("a.h5")), file_bytes(dir.file("b.h5")));
}

TEST(Hdf5, RefusesToWriteOverWhatItDoesNotKnow) {
    const ScratchDir dir;
    const VectorSample sample(ElementType::Float32, 5, 3);
    for (const Bytes& bytes : {Bytes(), Bytes{1, 2, 3}}) {
        put_bytes(dir.file("x.h5"), bytes);
        EXPECT_EQ(error_of([&] { write_vectors(dir.file("x.h5"), sample.vectors); }).code(),
                  StatusCode::Corrupt);
        EXPECT_EQ(error_of([&] { check_writes_ids(dir.file("x.h5")); }).code(),
                  StatusCode::Corrupt);
        EXPECT_EQ(file_bytes(dir.file("x.h5")), bytes);
    }
    const VectorSample brain(ElementType::BFloat16, 5, 3);
    EXPECT_EQ(error_of([&] { write_vectors(dir.file("y.h5"), brain.vectors); }).code(),
              StatusCode::InvalidArgument);
    EXPECT_EQ(error_of([&] { write_vectors(dir.file("y.h5:a/b"), sample.vectors); }).code(),
              StatusCode::InvalidArgument);
    for (const char* path : {"y.h5:a/b", "y.h5:"}) {
        EXPECT_EQ(error_of([&] { check_writes_ids(dir.file(path)); }).code(),
                  StatusCode::InvalidArgument);
    }
    EXPECT_EQ(error_of([&] { check_writes_vectors(dir.file("y.h5"), brain.vectors.type); }).code(),
              StatusCode::InvalidArgument);
    EXPECT_EQ(dir.entries(), 1u);
}

TEST(Hdf5, ThreadsMayReadAndWrite) {
    const ScratchDir dir;
    std::vector<std::thread> threads;
    for (size_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            const std::string path = dir.file(std::to_string(t) + ".h5");
            const VectorSample sample(ElementType::Float32, 20 + t, 3);
            for (int i = 0; i < 10; ++i) {
                write_vectors(path, sample.vectors);
                expect_same(read_vectors(path), sample.vectors);
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
}

}  // namespace
}  // namespace nearcell
