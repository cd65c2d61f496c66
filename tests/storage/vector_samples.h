// For the tests of vector files: round trips of every element type, and damage that must be
// refused.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <nearcell/storage/vector_file.h>

#include "storage/sample_container.h"
#include "storage/scratch_dir.h"

namespace nearcell {

// Any bits will do: files do not look at values.
struct VectorSample {
    std::vector<uint8_t> bytes;
    Vectors vectors;

    VectorSample(ElementType type, size_t rows, size_t cols, size_t stride = 0)
        : bytes(
              random_bytes(rows * (stride == 0 ? cols : stride) * element_size(type), rows + cols)),
          vectors(bytes.data(), type, rows, cols) {
        if (stride != 0) vectors.stride = stride;
    }
};

inline void expect_same(const VectorData& found, const Vectors& expected) {
    ASSERT_EQ(found.type, expected.type);
    ASSERT_EQ(found.rows, expected.rows);
    ASSERT_EQ(found.cols, expected.cols);
    const size_t row_bytes = expected.cols * element_size(expected.type);
    for (size_t i = 0; i < expected.rows; ++i) {
        ASSERT_EQ(std::memcmp(found.view().row(i), expected.row(i), row_bytes), 0) << "row " << i;
    }
}

// Writes vectors of several shapes and reads them back, whole and in parts.
inline void check_round_trips(const std::string& name, ElementType type) {
    const ScratchDir dir;
    const std::string path = dir.file(name);
    for (size_t cols : {size_t{1}, size_t{3}, size_t{128}, size_t{1500}}) {
        for (size_t rows : {size_t{1}, size_t{7}, size_t{700}}) {
            for (size_t stride : {cols, cols + 5}) {
                const VectorSample sample(type, rows, cols, stride);
                VectorFileOptions options;
                options.raw_type = type;
                options.raw_cols = cols;
                write_vectors(path, sample.vectors, options);
                const VectorFileInfo info = vector_file_info(path, options);
                EXPECT_EQ(info.rows, rows);
                EXPECT_EQ(info.cols, cols);
                EXPECT_EQ(info.element, element_name(type));
                expect_same(read_vectors(path, options), sample.vectors);
                options.first_row = rows / 3;
                options.max_rows = 300;
                expect_same(read_vectors(path, options),
                            sample.vectors.slice(rows / 3, std::min<size_t>(300, rows - rows / 3)));
                options.first_row = rows;
                EXPECT_EQ(read_vectors(path, options).rows, 0u);
                options.first_row = rows + 1;
                EXPECT_EQ(error_of([&] { read_vectors(path, options); }).code(),
                          StatusCode::InvalidArgument);
                EXPECT_EQ(dir.entries(), 1u);
            }
        }
    }
}

inline void check_id_round_trips(const std::string& name, const std::vector<int64_t>& ids) {
    const ScratchDir dir;
    const std::string path = dir.file(name);
    write_ids(path, ids.data(), ids.size() / 2, 2);
    const IdData found = read_ids(path);
    EXPECT_EQ(found.rows, ids.size() / 2);
    EXPECT_EQ(found.cols, 2u);
    EXPECT_EQ(found.values, ids);
    VectorFileOptions options;
    options.first_row = 1;
    options.max_rows = 1;
    EXPECT_EQ(read_ids(path, options).values, (std::vector<int64_t>{ids[2], ids[3]}));
    EXPECT_EQ(
        error_of([&] { read_vectors(path, options); }).code(),
        name.find("hdf5") == std::string::npos ? StatusCode::Unsupported : StatusCode::NotFound);
}

// What reading these bytes as a file of this name gives: the error, or an empty message.
inline Error read_error(const std::string& name, const std::vector<uint8_t>& bytes,
                        const VectorFileOptions& options = {}) {
    const ScratchDir dir;
    put_bytes(dir.file(name), bytes);
    return error_of([&] { read_vectors(dir.file(name), options); });
}

inline bool is_refusal(const Error& error) {
    return error.code() == StatusCode::Corrupt || error.code() == StatusCode::Unsupported;
}

// Every shortening is refused, and so is every lengthening that is not a whole row.
inline void check_other_lengths_refused(const std::string& name,
                                        const std::vector<uint8_t>& bytes) {
    const ScratchDir dir;
    const std::string path = dir.file(name);
    for (size_t size = 0; size < bytes.size(); ++size) {
        put_bytes(path, {bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)});
        const Error error = error_of([&] { read_vectors(path); });
        ASSERT_EQ(error.code(), StatusCode::Corrupt) << size << ": " << error.what();
        ASSERT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    }
    std::vector<uint8_t> longer = bytes;
    longer.push_back(0);
    put_bytes(path, longer);
    EXPECT_EQ(error_of([&] { read_vectors(path); }).code(), StatusCode::Corrupt);
}

// Each 4 or 8 bytes of the first `header` set to values that hostile files like: refused or
// harmless.
inline void check_hostile_fields(const std::string& name, const std::vector<uint8_t>& bytes,
                                 size_t header) {
    const ScratchDir dir;
    const std::string path = dir.file(name);
    for (size_t at = 0; at < header; ++at) {
        for (uint64_t value :
             {uint64_t{0}, uint64_t{1}, uint64_t{255}, (uint64_t{1} << 31) - 1, uint64_t{1} << 31,
              (uint64_t{1} << 32) - 1, (uint64_t{1} << 61) + 1, ~uint64_t{0}}) {
            for (size_t width : {size_t{1}, size_t{4}, size_t{8}}) {
                std::vector<uint8_t> hostile = bytes;
                std::memcpy(hostile.data() + at, &value, std::min(width, bytes.size() - at));
                put_bytes(path, hostile);
                bool read = false;
                const Error error = error_of([&] {
                    const VectorData found = read_vectors(path);
                    EXPECT_LE(found.bytes.size(), bytes.size());
                    read = true;
                });
                ASSERT_TRUE(read || is_refusal(error))
                    << at << " " << value << ": " << error.what();
            }
        }
    }
}

}  // namespace nearcell
