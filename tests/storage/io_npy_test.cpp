#include <algorithm>
#include <cmath>
#include <limits>

#include "storage/vector_samples.h"

namespace nearcell {
namespace {

using Bytes = std::vector<uint8_t>;

// An npy file around a dict, as numpy makes it.
Bytes npy(const std::string& dict, const Bytes& values, int version = 1) {
    std::string text = dict + "\n";
    Bytes bytes{0x93, 'N', 'U', 'M', 'P', 'Y', static_cast<uint8_t>(version), 0};
    for (int i = 0; i < (version == 1 ? 2 : 4); ++i)
        bytes.push_back(static_cast<uint8_t>(text.size() >> (8 * i)));
    bytes.insert(bytes.end(), text.begin(), text.end());
    bytes.insert(bytes.end(), values.begin(), values.end());
    return bytes;
}

std::string dict(const std::string& descr, const std::string& shape,
                 const std::string& order = "False") {
    return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }";
}

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
    Bytes bytes(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

TEST(Npy, GivesBackWhatWasWritten) {
    for (ElementType type :
         {ElementType::Float32, ElementType::Float16, ElementType::Int8, ElementType::UInt8}) {
        check_round_trips("x.npy", type);
    }
    check_id_round_trips("x.npy",
                         {5, -1, int64_t{1} << 62, std::numeric_limits<int64_t>::min(), 3, 4});
}

// numpy.save(path, numpy.zeros((3, 4), dtype)) byte for byte, as numpy 1.26 and 2.3 write it.
TEST(Npy, HasTheBytesThatNumpyWrites) {
    const ScratchDir dir;
    const float zeros[12] = {};
    write_vectors(dir.file("x.npy"), MatrixView<const float>(zeros, 3, 4));
    std::string expected(
        "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }", 69);
    expected.append(58, ' ');
    expected += '\n';
    ASSERT_EQ(expected.size(), 128u);
    expected.append(48, '\0');
    EXPECT_EQ(file_bytes(dir.file("x.npy")), Bytes(expected.begin(), expected.end()));
}

TEST(Npy, OfAnyVersionAndSpellingIsRead) {
    const Bytes values = bytes_of<float>({1, 2, 3, 4, 5, 6});
    for (int version : {1, 2, 3}) {
        EXPECT_STREQ(read_error("x.npy", npy(dict("<f4", "(2, 3)"), values, version)).what(), "")
            << version;
    }
    for (const char* text :
         {"{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f4\"}",
          "{'fortran_order': False , 'descr' : '<f4', 'shape': (2, 3,)}       "}) {
        EXPECT_STREQ(read_error("x.npy", npy(text, values)).what(), "") << text;
    }
}

TEST(Npy, DoublesAreNarrowedAndThoseTooLargeAreNamed) {
    const ScratchDir dir;
    const double inf = std::numeric_limits<double>::infinity();
    put_bytes(dir.file("x.npy"), npy(dict("<f8", "(2, 2)"),
                                     bytes_of<double>({0.1, -inf, std::nan(""), 3.4028234e38})));
    const VectorData data = read_vectors(dir.file("x.npy"));
    ASSERT_EQ(data.type, ElementType::Float32);
    const float* row = static_cast<const float*>(data.view().row(0));
    EXPECT_EQ(row[0], 0.1f);
    EXPECT_EQ(row[1], -std::numeric_limits<float>::infinity());
    EXPECT_TRUE(std::isnan(row[2]));
    EXPECT_EQ(vector_file_info(dir.file("x.npy")).element, "float64");

    const Error error =
        read_error("x.npy", npy(dict("<f8", "(2, 2)"), bytes_of<double>({1, 2, 3, -1e39})));
    EXPECT_EQ(error.code(), StatusCode::Unsupported);
    EXPECT_NE(std::string(error.what()).find("row 1, column 1"), std::string::npos) << error.what();
}

TEST(Npy, IdsOfBothWidthsAndOfOneDimensionAreRead) {
    const ScratchDir dir;
    put_bytes(dir.file("x.npy"), npy(dict("<i4", "(2, 2)"), bytes_of<int32_t>({1, -1, 3, 4})));
    EXPECT_EQ(read_ids(dir.file("x.npy")).values, (std::vector<int64_t>{1, -1, 3, 4}));
    put_bytes(dir.file("x.npy"),
              npy(dict("<i8", "(3,)"), bytes_of<int64_t>({1, int64_t{1} << 40, 3})));
    const IdData ids = read_ids(dir.file("x.npy"));
    EXPECT_EQ(ids.values, (std::vector<int64_t>{1, int64_t{1} << 40, 3}));
    EXPECT_EQ(ids.cols, 1u);
    put_bytes(dir.file("x.npy"), npy(dict("<f4", "(1, 1)"), bytes_of<float>({1})));
    EXPECT_EQ(error_of([&] { read_ids(dir.file("x.npy")); }).code(), StatusCode::Unsupported);
}

TEST(Npy, WhatIsNotSupportedSaysWhatToDo) {
    const Bytes values(24);
    const auto says = [&](const std::string& text, const char* remedy) {
        const Error error = read_error("x.npy", npy(text, values));
        EXPECT_EQ(error.code(), StatusCode::Unsupported) << error.what();
        EXPECT_NE(std::string(error.what()).find(remedy), std::string::npos) << error.what();
    };
    says(dict(">f4", "(2, 3)"), "newbyteorder");
    says(dict("<f4", "(2, 3)", "True"), "ascontiguousarray");
    says(dict("<f4", "(6,)"), "reshape");
    says(dict("<f4", "(1, 2, 3)"), "reshape");
    says(dict("<f4", "()"), "reshape");
    says(dict("|O", "(2, 3)"), "astype");
    says(dict("|b1", "(2, 3)"), "astype");
    says(dict("<c8", "(1, 3)"), "astype");
    says("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }", "plain array");
    says(dict("<i4", "(2, 3)"), "ids");
    EXPECT_EQ(read_error("x.npy", npy(dict("<f4", "(2, 3)"), values, 4)).code(),
              StatusCode::Unsupported);
}

TEST(Npy, MessagesShowNothingThatATerminalObeys) {
    for (const std::string& type : {std::string("\x1b[2J\0<f4", 8), std::string(3000, 'x')}) {
        const Error error = read_error("x.npy", npy(dict(type, "(2, 3)"), Bytes(24)));
        const std::string& message = error.status().message;
        EXPECT_EQ(error.code(), StatusCode::Unsupported);
        EXPECT_NE(message.find("astype"), std::string::npos) << message;
        EXPECT_LT(message.size(), 300u);
        EXPECT_TRUE(std::all_of(message.begin(), message.end(), [](char c) { return c >= ' '; }));
    }
}

TEST(Npy, DamagedIsRefused) {
    const Bytes good = npy(dict("<f4", "(2, 3)"), Bytes(24));
    check_other_lengths_refused("x.npy", good);
    check_hostile_fields("x.npy", good, good.size() - 24);
    for (const std::string& text :
         {std::string(""), std::string("{"), std::string("{}"), std::string("{'descr'"),
          std::string("{'descr': '<f4"), dict("<f4", "(18446744073709551617, 3)"),
          dict("<f4", "(4611686018427387904, 4)"), dict("<f4", "(2, 0)"), dict("<f4", "(2, -3)"),
          dict("<f4", "(2, 3"), dict("<f4", "(0, 4611686018427387904)"), dict("<f4", "(2, 3)", "0"),
          dict("<f4", "(2, 3)") + "x", dict("<f4", "(2, 4)"), dict("<f4", "(1, 3)"),
          std::string("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}"),
          std::string("{'descr': '<f4', 'fortran_order': False}"),
          std::string("__import__('os').system('true')")}) {
        const Error error = read_error("x.npy", npy(text, Bytes(24)));
        EXPECT_EQ(error.code(), StatusCode::Corrupt) << text << ": " << error.what();
    }
    Bytes endless = npy(dict("<f4", "(2, 3)"), Bytes(24), 2);
    endless[10] = endless[11] = 0xff;  // a header of 4 GiB
    EXPECT_EQ(read_error("x.npy", endless).code(), StatusCode::Corrupt);
}

TEST(Npy, RandomChangesAreRefusedOrHarmless) {
    const Bytes good = npy(dict("<f4", "(2, 3)"), Bytes(24));
    const ScratchDir dir;
    Random random(4);
    for (int trial = 0; trial < 5000; ++trial) {
        Bytes hostile = good;
        for (uint64_t changes = 1 + random.below(5); changes > 0; --changes) {
            const std::string_view likely = "0123456789(){}',: \nTF<>|f4\xff";
            hostile[random.below(good.size())] =
                static_cast<uint8_t>(likely[random.below(likely.size())]);
        }
        put_bytes(dir.file("x.npy"), hostile);
        bool read = false;
        const Error error = error_of([&] {
            read_vectors(dir.file("x.npy"));
            read = true;
        });
        ASSERT_TRUE(read || is_refusal(error)) << error.what();
    }
}

TEST(Npy, RefusesWhatItCannotHold) {
    const ScratchDir dir;
    const VectorSample sample(ElementType::BFloat16, 2, 3);
    const Error error = error_of([&] { write_vectors(dir.file("x.npy"), sample.vectors); });
    EXPECT_EQ(error.code(), StatusCode::InvalidArgument);
    EXPECT_EQ(dir.entries(), 0u);
}

}  // namespace
}  // namespace nearcell
