// Vectors: every element type, strides, slices, and the checks that name the first bad value.
#include <nearcell/core/vectors.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/half.h>
#include <nearcell/core/random.h>

namespace nearcell {
namespace {

constexpr ElementType kTypes[] = {ElementType::Float32, ElementType::Float16, ElementType::BFloat16,
                                  ElementType::Int8, ElementType::UInt8};

// rows x cols small integers, which every type holds exactly, with `padding` elements after a row.
struct Sample {
    std::vector<float> values;
    std::vector<uint8_t> bytes;
    Vectors vectors;

    Sample(ElementType type, size_t rows, size_t cols, size_t padding, uint64_t seed = 1)
        : values(rows * cols), bytes(rows * (cols + padding) * element_size(type), 0xff) {
        Random random(seed);
        const size_t stride = cols + padding;
        for (size_t i = 0; i < rows * cols; ++i) {
            values[i] = static_cast<float>(random.below(100));
            put(type, i / cols * stride + i % cols, values[i]);
        }
        vectors = Vectors(bytes.data(), type, rows, cols);
        vectors.stride = stride;
    }
    void put(ElementType type, size_t at, float value) {
        uint8_t* const target = bytes.data() + at * element_size(type);
        const uint16_t half =
            type == ElementType::Float16 ? float16_from_float(value) : bfloat16_from_float(value);
        const uint8_t byte = static_cast<uint8_t>(static_cast<int>(value));
        switch (element_size(type)) {
            case 4: std::memcpy(target, &value, 4); break;
            case 2: std::memcpy(target, &half, 2); break;
            default: *target = byte;
        }
    }
};

std::vector<float> read(const Vectors& vectors, size_t first, size_t rows) {
    std::vector<float> out(rows * vectors.cols);
    read_rows(vectors, first, {out.data(), rows, vectors.cols});
    return out;
}

TEST(Vectors, ReadsEveryTypeAndStride) {
    for (const ElementType type : kTypes) {
        for (const size_t padding : {0u, 3u}) {
            const Sample sample(type, 9, 5, padding);
            EXPECT_EQ(read(sample.vectors, 0, 9), sample.values) << element_name(type);
            const std::vector<float> part(sample.values.begin() + 10, sample.values.begin() + 25);
            EXPECT_EQ(read(sample.vectors, 2, 3), part) << element_name(type);
            EXPECT_EQ(read(sample.vectors.slice(2, 5), 0, 3), part) << element_name(type);
        }
    }
}

TEST(Vectors, WritesToStridedRowsOnly) {
    const Sample sample(ElementType::Float32, 4, 3, 0);
    std::vector<float> out(4 * 5, -7.0f);
    read_rows(sample.vectors, 0, {out.data(), 4, 3, 5});
    for (size_t i = 0; i < 4; ++i) {
        for (size_t j = 0; j < 5; ++j) {
            EXPECT_EQ(out[i * 5 + j], j < 3 ? sample.values[i * 3 + j] : -7.0f);
        }
    }
}

TEST(Vectors, GathersRowsInAnyOrder) {
    for (const ElementType type : kTypes) {
        const Sample sample(type, 9, 5, 1);
        const std::vector<size_t> rows = {8, 0, 3, 3};
        std::vector<float> out(rows.size() * 5);
        gather_rows(sample.vectors, rows.data(), {out.data(), rows.size(), 5}, 2);
        for (size_t i = 0; i < out.size(); ++i) {
            EXPECT_EQ(out[i], sample.values[rows[i / 5] * 5 + i % 5]) << element_name(type);
        }
    }
}

TEST(Vectors, SignedAndUnsignedBytesDiffer) {
    const uint8_t byte = 0xf0;
    EXPECT_EQ(read({&byte, ElementType::Int8, 1, 1}, 0, 1)[0], -16.0f);
    EXPECT_EQ(read({&byte, ElementType::UInt8, 1, 1}, 0, 1)[0], 240.0f);
}

TEST(Vectors, TakesMatrixViews) {
    std::vector<float> values = {1, 2, 3, 4, 5, 6};
    const Vectors vectors = MatrixView<float>(values.data(), 2, 2, 3);
    EXPECT_EQ(read(vectors, 0, 2), (std::vector<float>{1, 2, 4, 5}));
}

TEST(CheckFinite, NamesTheFirstBadValueForAnyThreads) {
    const float infinity = std::numeric_limits<float>::infinity();
    for (const ElementType type :
         {ElementType::Float32, ElementType::Float16, ElementType::BFloat16}) {
        for (const float bad : {infinity, -infinity, std::nanf("")}) {
            Sample sample(type, 5000, 7, 2);
            EXPECT_NO_THROW(check_finite(sample.vectors, "rows", 2)) << "padding is not looked at";
            for (const size_t row : {4999u, 3100u, 3099u})
                sample.put(type, row * 9 + 6, bad);
            sample.put(type, 3099 * 9 + 4, bad);
            for (const int threads : {1, 2, 4}) {
                try {
                    check_finite(sample.vectors, "rows", threads, 1000);
                    ADD_FAILURE() << "accepted " << bad << " as " << element_name(type);
                } catch (const Error& error) {
                    EXPECT_EQ(error.code(), StatusCode::NonFinite);
                    EXPECT_NE(std::string(error.what()).find("rows[4099, 4]"), std::string::npos)
                        << error.what();
                }
            }
        }
    }
}

TEST(CheckFinite, AcceptsValuesWhoseDistancesStayFinite) {
    const std::vector<float> values = {3e18f, -3e18f, std::numeric_limits<float>::denorm_min(),
                                       -0.0f};
    EXPECT_NO_THROW(check_finite(MatrixView<const float>(values.data(), 2, 2), "rows", 1));
    EXPECT_NO_THROW(check_finite(Vectors(), "rows", 1));
}

TEST(CheckFinite, RefusesValuesWhoseDistancesOverflow) {
    for (const float large : {1e30f, -1e19f, std::numeric_limits<float>::max()}) {
        const std::vector<float> values = {1.0f, 2.0f, 3.0f, large};
        try {
            check_finite(MatrixView<const float>(values.data(), 2, 2), "rows", 1);
            FAIL() << large;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), StatusCode::InvalidArgument);
            EXPECT_NE(std::string(error.what()).find("rows[1, 1] = "), std::string::npos);
        }
    }
}

TEST(CheckDim, NamesBothDimensions) {
    const Sample sample(ElementType::Float32, 2, 5, 0);
    EXPECT_NO_THROW(check_dim(sample.vectors, 5, "queries"));
    try {
        check_dim(sample.vectors, 6, "queries");
        FAIL() << "accepted";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::InvalidArgument);
        const std::string message = error.what();
        for (const char* word : {"queries", "5", "6"}) {
            EXPECT_NE(message.find(word), std::string::npos) << message;
        }
    }
    EXPECT_THROW(check_dim(Vectors(nullptr, ElementType::Int8, 3, 5), 5, "rows"), Error);
    EXPECT_NO_THROW(check_dim(Vectors(nullptr, ElementType::Int8, 0, 5), 5, "rows"));
}

}  // namespace
}  // namespace nearcell
