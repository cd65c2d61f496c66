// safetensors files: what is read, what the format forbids, and damage.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include <nearcell/core/half.h>
#include <nearcell/extract/safetensors.h>

#include "extract/network_case.h"
#include "extract/picture_case.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes file_of(const std::string& json, const Bytes& data) {
    std::string out(8, '\0');
    const uint64_t length = json.size();
    std::memcpy(out.data(), &length, 8);
    out += json;
    out.append(data.begin(), data.end());
    return {out.begin(), out.end()};
}

Bytes bytes_of(const std::vector<float>& values) {
    Bytes out(values.size() * 4);
    std::memcpy(out.data(), values.data(), out.size());
    return out;
}

// {"x": {"dtype": ..., "shape": ..., "data_offsets": ...}} with the tail of each given.
std::string one(const std::string& type, const std::string& shape, const std::string& offsets) {
    return R"({"x":{"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}}";
}

class Safetensors : public testing::Test {
   protected:
    Weights open(const Bytes& bytes) const {
        put_bytes(path_, bytes);
        return Weights::open(path_);
    }
    void expect_refused(const std::string& json, size_t data_bytes, const std::string& words,
                        StatusCode code = StatusCode::Corrupt) const {
        const Error error = error_of([&] { open(file_of(json, Bytes(data_bytes))); });
        EXPECT_EQ(error.code(), code) << json << ": " << error.what();
        const std::string text = error.what();
        EXPECT_EQ(text.rfind(path_, 0), 0u) << text;
        EXPECT_NE(text.find(words), std::string::npos) << text;
        EXPECT_NE(text.find("; "), std::string::npos) << text;
    }
    ScratchDir dir_;
    std::string path_ = dir_.file("w.safetensors");
};

TEST_F(Safetensors, ReadsFloatsOfAllSizes) {
    Bytes data = bytes_of({1.5f, -2, 3, 4, 5, 6});
    for (const uint16_t half : {float16_from_float(0.25f), float16_from_float(-7)})
        data.insert(data.end(), {uint8_t(half), uint8_t(half >> 8)});
    const uint16_t brain = bfloat16_from_float(96);
    data.insert(data.end(), {uint8_t(brain), uint8_t(brain >> 8)});
    data.insert(data.end(), 8, 0);
    const Weights weights = open(file_of(
        R"({"__metadata__":{"a":"b","layers":"[1,\"\u00e4\"]"},
            "n":{"data_offsets":[30,38],"dtype":"I64","shape":[]},
            "h":{"dtype":"F16","shape":[2,1],"data_offsets":[24,28]},
            "none":{"dtype":"F32","shape":[0,5],"data_offsets":[24,24]},
            "w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
            "b":{"dtype":"BF16","shape":[],"data_offsets":[28,30]}}    )",
        data));
    EXPECT_EQ(weights.tensors().size(), 5u);
    const uint64_t shape[] = {2, 3};
    const Tensor& tensor = weights.get("w", shape);
    EXPECT_EQ(std::vector<float>(tensor.values.begin(), tensor.values.end()),
              std::vector<float>({1.5f, -2, 3, 4, 5, 6}));
    EXPECT_EQ(weights.get("h").values[0], 0.25f);
    EXPECT_EQ(weights.get("h").values[1], -7.0f);
    EXPECT_EQ(weights.get("b").values[0], 96.0f);
    EXPECT_TRUE(weights.get("b").shape.empty());
    EXPECT_TRUE(weights.get("none").values.empty());
    for (const auto& [name, any] : weights.tensors())
        EXPECT_EQ(reinterpret_cast<uintptr_t>(any.values.data()) % 64, 0u) << name;
    EXPECT_EQ(weights.metadata("a"), "b");
    EXPECT_EQ(weights.metadata("layers"), "[1,\"\xc3\xa4\"]");
    EXPECT_TRUE(weights.has("n"));
    EXPECT_FALSE(weights.has("m"));
    EXPECT_EQ(error_of([&] { weights.get("n"); }).code(), StatusCode::Unsupported);
    EXPECT_EQ(error_of([&] { weights.get("m"); }).code(), StatusCode::NotFound);
    EXPECT_EQ(error_of([&] { weights.metadata("m"); }).code(), StatusCode::NotFound);
    const uint64_t other[] = {3, 2};
    const Error error = error_of([&] { weights.get("w", other); });
    EXPECT_EQ(error.code(), StatusCode::Corrupt);
    EXPECT_NE(std::string(error.what()).find("[2, 3], must have [3, 2]"), std::string::npos);
}

TEST_F(Safetensors, ReadsTheReferenceNetwork) {
    const std::string path = shared_file("data/effnet-lite0/model.safetensors");
    if (path.empty()) GTEST_SKIP() << "no shared weights";
    const Weights weights = Weights::open(path);
    EXPECT_EQ(weights.tensors().size(), 98u);  // a weight and a bias of 49 layers
    const uint64_t stem[] = {32, 3, 3, 3}, head[] = {1280, 320, 1, 1};
    weights.get("stem.weight", stem);
    const Weights copy = weights;
    EXPECT_EQ(copy.get("head.weight", head).values.size(), size_t{1280} * 320);
    EXPECT_TRUE(weights.has_metadata("layers"));
    EXPECT_EQ(weights.metadata("licence"), "Apache-2.0");
}

TEST_F(Safetensors, WhatTheFormatForbidsIsRefused) {
    expect_refused("", 0, "not a safetensors file");
    expect_refused("[]", 0, "not a safetensors file");
    expect_refused("{", 0, "no valid JSON");
    expect_refused("{}x", 0, "no valid JSON");
    expect_refused("{\"\xff\":1}", 0, "no valid JSON");
    expect_refused(R"({"x":1})", 0, "a number where none may be");
    expect_refused(R"({"x":[]})", 0, "a list");
    expect_refused(R"({"x":null})", 0, "null");
    expect_refused(R"({"x":{"dtype":{}}})", 0, "an object");
    expect_refused(R"({"x":{"dtype":"F32","shape":[1]}})", 4, "must have dtype");
    expect_refused(R"({"x":{"dtype":"F32","dtype":"F32"}})", 4, "dtype twice");
    expect_refused(R"({"x":{"more":"F32"}})", 4, "unknown field");
    expect_refused(R"({"__metadata__":{"a":1}})", 0, "a number");
    expect_refused(R"({"__metadata__":{"a":{}}})", 0, "an object");
    expect_refused(R"({"__metadata__":{"a":"","a":""}})", 0, "twice");
    expect_refused(R"({"__metadata__":{},"__metadata__":{}})", 0, "twice");
    expect_refused(one("F32", "[-1]", "[0,4]"), 4, "negative");
    expect_refused(one("F32", "[1.0]", "[0,4]"), 4, "not whole");
    expect_refused(one("F32", "[99999999999999999999]", "[0,4]"), 4, "too large");
    expect_refused(one("F32", "[[1]]", "[0,4]"), 4, "a list");
    expect_refused(one("F32", "[1]", "[0]"), 4, "two numbers");
    expect_refused(one("F32", "[1]", "[0,4,8]"), 4, "more than 2");
    expect_refused(one("F32", "[2]", "[0,4]"), 4, "do not fit");
    expect_refused(one("F32", "[1]", "[0,8]"), 4, "must begin at 0");
    expect_refused(one("F32", "[1]", "[4,8]"), 8, "must begin at 0");
    expect_refused(one("F32", "[0]", "[4,0]"), 4, "must begin at 0");
    expect_refused(one("F32", "[1]", "[0,4]"), 6, "2 bytes after the last");
    expect_refused("{}", 1, "1 bytes after the last");
    expect_refused(one("F32", "[4294967296,4294967296,4]", "[0,0]"), 0, "do not fit");
    expect_refused(one("F64", "[2305843009213693952]", "[0,0]"), 0, "do not fit");
    expect_refused(one("F4", "[2]", "[0,1]"), 1, "not known", StatusCode::Unsupported);
    expect_refused(one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "more than 8",
                   StatusCode::Unsupported);
    const std::string entry = R"({"dtype":"F32","shape":[1],"data_offsets":)";
    expect_refused("{\"x\":" + entry + "[0,4]},\"x\":" + entry + "[4,8]}}", 8, "is there twice");
    expect_refused("{\"x\":" + entry + "[0,4]},\"y\":" + entry + "[0,4]}}", 4, "must begin at 4");
    expect_refused("{\"x\":" + entry + "[0,4]},\"y\":" + entry + "[8,12]}}", 12, "must begin at 4");
    std::string deep = R"({"x":)";
    deep.append(100000, '[');
    expect_refused(deep, 0, "a list");
    // What a terminal would obey is not shown.
    expect_refused(R"({"\u001b[2J":1})", 0, "\"?[2J\"");
}

TEST_F(Safetensors, HeadersLargerThanTheFileAreRefused) {
    Bytes bytes = file_of("{}", {});
    for (const uint64_t length : {uint64_t{3}, kMaxSafetensorsHeader + 1, ~uint64_t{0}}) {
        std::memcpy(bytes.data(), &length, 8);
        const Error error = error_of([&] { open(bytes); });
        EXPECT_EQ(error.code(), StatusCode::Corrupt) << length;
    }
    for (size_t size = 0; size < 8; ++size)
        EXPECT_EQ(error_of([&] { open(Bytes(size)); }).code(), StatusCode::Corrupt);
    EXPECT_EQ(open(file_of("{}", {})).tensors().size(), 0u);
    EXPECT_EQ(error_of([&] { Weights::open(dir_.file("no")); }).code(), StatusCode::NotFound);
}

// A network could hide them: what it clamps is a number again.
TEST_F(Safetensors, WeightsThatAreNoNumbersAreRefused) {
    const std::string path = dir_.file("nan.safetensors");
    const uint64_t shape[] = {3};
    for (const float value : {NAN, INFINITY, -INFINITY}) {
        write_safetensors(path, {{"a", {{3}, {1, 2, value}}}, {"b", {{3}, {1, 2, 3}}}});
        const Weights weights = Weights::open(path);
        EXPECT_EQ(error_of([&] { weights.get("a", shape); }).code(), StatusCode::Corrupt);
        EXPECT_EQ(weights.get("b", shape).values.size(), 3u);
    }
}

TEST_F(Safetensors, DamageGivesWeightsOrAnError) {
    const Bytes good = file_of(
        R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
        R"("b":{"dtype":"F16","shape":[3],"data_offsets":[16,22]},)"
        R"("c":{"dtype":"BF16","shape":[1,1],"data_offsets":[22,24]}})",
        Bytes(24, 1));
    Random random(3);
    size_t read = 0, refused = 0;
    for (int i = 0; i < 4000; ++i) {
        Bytes bytes = damaged(good, random);
        // Half of the time the length is right again, so that the header is looked at.
        if (i % 2 == 0 && bytes.size() >= 32) {
            const uint64_t length = bytes.size() - 8 - 24;
            std::memcpy(bytes.data(), &length, 8);
        }
        try {
            const Weights weights = open(bytes);
            float sum = 0;
            for (const auto& [name, tensor] : weights.tensors())
                for (const float value : tensor.values)
                    sum += value;
            read += sum == sum || sum != sum ? 1 : 0;
        } catch (const Error& error) {
            ASSERT_TRUE(error.code() == StatusCode::Corrupt ||
                        error.code() == StatusCode::Unsupported)
                << error.what();
            ++refused;
        }
    }
    EXPECT_GT(read, 100u);
    EXPECT_GT(refused, 1000u);
}

}  // namespace
}  // namespace nearcell
