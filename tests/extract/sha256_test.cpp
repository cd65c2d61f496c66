// SHA-256: the standard's examples, pieces of any size, files.
#include <gtest/gtest.h>

#include <nearcell/extract/sha256.h>

#include "extract/picture_case.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

std::string sum_of(const std::string& text) {
    Sha256 sum;
    sum.add(text.data(), text.size());
    return sum.hex();
}

TEST(Sha256, GivesTheStandardsExamples) {
    EXPECT_EQ(sum_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sum_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sum_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT_EQ(sum_of(std::string(1000000, 'a')),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesMakeTheWhole) {
    Random random(1);
    for (size_t size = 0; size < 300; ++size) {
        const std::string text(size, 'x');
        Sha256 sum;
        for (size_t at = 0; at < size;) {
            const size_t count = std::min<size_t>(random.below(130) + 1, size - at);
            sum.add(text.data() + at, count);
            at += count;
        }
        ASSERT_EQ(sum.hex(), sum_of(text)) << size;
    }
}

TEST(Sha256, OfFiles) {
    const ScratchDir dir;
    put_bytes(dir.file("x"), {'a', 'b', 'c'});
    EXPECT_EQ(sha256_of_file(dir.file("x")), sum_of("abc"));
    EXPECT_EQ(error_of([&] { sha256_of_file(dir.file("y")); }).code(), StatusCode::NotFound);
    const std::string path = shared_file("data/effnet-lite0/model.safetensors");
    if (path.empty()) GTEST_SKIP() << "no shared weights";
    EXPECT_EQ(sha256_of_file(path),
              "f2293e8edfec3fc77d7f1f5305389fef3ebcd4caf6cef97db3794f545323c86c");
}

}  // namespace
}  // namespace nearcell
