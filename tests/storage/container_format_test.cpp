// Damaged and hostile containers: every mutant of a saved file is refused, and one whose checksums
// were made right again is refused or harmless.
#include <nearcell/storage/container_format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include <gtest/gtest.h>

#include <nearcell/storage/checksum.h>

#include "storage/sample_container.h"
#include "storage/scratch_dir.h"

// Counts what is asked for, to see that no number in a file decides how much that is.
static std::atomic<size_t> requested_bytes{0};

[[gnu::noinline]] void* operator new(size_t size) {
    requested_bytes += size;
    void* memory = std::malloc(size != 0 ? size : 1);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace nearcell {
namespace {

using Bytes = std::vector<uint8_t>;
constexpr uint64_t kFieldValues[] = {0,
                                     1,
                                     255,
                                     4096,
                                     (uint64_t{1} << 31) - 1,
                                     uint64_t{1} << 31,
                                     (uint64_t{1} << 32) - 1,
                                     uint64_t{1} << 32,
                                     (uint64_t{1} << 61) + 1,
                                     (uint64_t{1} << 63) - 1,
                                     uint64_t{1} << 63,
                                     ~uint64_t{0} - 4095,
                                     ~uint64_t{0}};

bool refused(const Bytes& bytes) {
    const StatusCode code = error_of([&] { Container::from_bytes(bytes); }).code();
    return code == StatusCode::Corrupt || code == StatusCode::TooNew;
}

Bytes sample_bytes(size_t rows) { return SampleContainer(rows).writer.to_bytes(); }

TEST(DamagedContainer, AFlippedBitAnywhereIsFound) {
    const Bytes saved = sample_bytes(100);
    Random random(1);
    for (size_t i = 0; i < saved.size();
         ++i) {  // every byte: header, table, checksums, data, padding
        Bytes damaged = saved;
        damaged[i] ^= static_cast<uint8_t>(1u << random.below(8));
        ASSERT_TRUE(refused(damaged)) << "byte " << i;
    }
    const Bytes large = sample_bytes(30000);
    for (int trial = 0; trial < 300; ++trial) {
        Bytes damaged = large;
        const size_t at = random.below(large.size());
        damaged[at] ^= static_cast<uint8_t>(1u << random.below(8));
        ASSERT_TRUE(refused(damaged)) << "byte " << at;
    }
}

TEST(DamagedContainer, AnOverwrittenFieldIsFound) {
    const Bytes saved = sample_bytes(100);
    const size_t front = Container::from_bytes(saved).sections()[0].offset;
    for (size_t at = 0; at + 8 <= saved.size(); at += at < 600 ? 1 : 8 * (1 + front / 512)) {
        for (uint64_t value : kFieldValues) {
            Bytes damaged = saved;
            std::memcpy(damaged.data() + at, &value, sizeof value);
            if (damaged == saved) continue;
            ASSERT_TRUE(refused(damaged)) << "offset " << at << " value " << value;
        }
    }
}

TEST(DamagedContainer, AnotherLengthIsFound) {
    const Bytes saved = sample_bytes(200);
    for (size_t size = 0; size < saved.size(); size += size < 4200 ? 1 : 97) {
        ASSERT_TRUE(refused(Bytes(saved.begin(), saved.begin() + static_cast<ptrdiff_t>(size))))
            << size;
    }
    for (size_t more : {size_t{1}, size_t{63}, size_t{4095}, size_t{4096}, size_t{65536}}) {
        Bytes longer = saved;
        longer.resize(saved.size() + more);
        EXPECT_TRUE(refused(longer)) << more;
        Bytes twice = saved;
        twice.insert(twice.end(), saved.begin(),
                     saved.begin() + static_cast<ptrdiff_t>(std::min(more, saved.size())));
        EXPECT_TRUE(refused(twice)) << more;
    }
}

TEST(DamagedContainer, SwappedPartsAreFound) {
    const Bytes saved = sample_bytes(100);
    const size_t pages = saved.size() / 4096;
    for (size_t a = 0; a < pages; ++a) {
        for (size_t b = a + 1; b < pages; ++b) {
            Bytes swapped = saved;
            std::swap_ranges(swapped.begin() + static_cast<ptrdiff_t>(a * 4096),
                             swapped.begin() + static_cast<ptrdiff_t>((a + 1) * 4096),
                             swapped.begin() + static_cast<ptrdiff_t>(b * 4096));
            ASSERT_TRUE(swapped == saved || refused(swapped)) << a << " " << b;
        }
    }
    for (size_t a = 0; a < 7; ++a) {
        for (size_t b = a + 1; b < 7; ++b) {  // two table entries
            Bytes swapped = saved;
            std::swap_ranges(swapped.begin() + static_cast<ptrdiff_t>(64 + a * 64),
                             swapped.begin() + static_cast<ptrdiff_t>(128 + a * 64),
                             swapped.begin() + static_cast<ptrdiff_t>(64 + b * 64));
            ASSERT_TRUE(refused(swapped)) << a << " " << b;
        }
    }
}

TEST(DamagedContainer, IsRefusedFromDiskInEveryMode) {
    const ScratchDir dir;
    const Bytes saved = sample_bytes(5000);
    const std::string path = dir.file("x.nc");
    Random random(2);
    for (int trial = 0; trial < 200; ++trial) {
        Bytes damaged = saved;
        const size_t at = random.below(saved.size());
        damaged[at] ^= static_cast<uint8_t>(1u << random.below(8));
        put_bytes(path, damaged);
        for (OpenMode mode : {OpenMode::Read, OpenMode::Map}) {
            ASSERT_EQ(error_of([&] { Container::open(path, mode); }).code(), StatusCode::Corrupt)
                << at;
        }
        const Error late =
            error_of([&] { Container::open(path, OpenMode::MapUnchecked).verify(); });
        ASSERT_EQ(late.code(), StatusCode::Corrupt) << at;
        ASSERT_NE(std::string(late.what()).find(path), std::string::npos) << late.what();
    }
}

TEST(DamagedContainer, NamesSectionAndBytes) {
    const SampleContainer sample(30000);
    const Bytes saved = sample.writer.to_bytes();
    const SectionInfo codes = Container::from_bytes(saved).info("codes");
    Bytes damaged = saved;
    damaged[codes.offset + 2 * kChecksumBlock + 5] ^= 1;
    const Error error = error_of([&] { Container::from_bytes(damaged); });
    const std::string range = std::to_string(codes.offset + 2 * kChecksumBlock) + " to " +
                              std::to_string(codes.offset + 3 * kChecksumBlock - 1);
    EXPECT_NE(std::string(error.what()).find("'codes'"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(range), std::string::npos) << error.what();
}

// Makes the checksums of front and header right, as whoever writes a hostile file would.
void seal(Bytes& bytes) {
    if (bytes.size() < kHeaderBytes) return;
    uint32_t pages = 0;
    std::memcpy(&pages, bytes.data() + 36, sizeof pages);
    const uint64_t front = uint64_t{pages} * 4096;
    if (front >= kHeaderBytes && front <= bytes.size()) {
        const uint64_t hash = checksum(bytes.data() + kHeaderBytes, front - kHeaderBytes);
        std::memcpy(bytes.data() + 48, &hash, sizeof hash);
    }
    const uint64_t hash = checksum(bytes.data(), 56);
    std::memcpy(bytes.data() + 56, &hash, sizeof hash);
}

// Opens and, when that works, reads all there is. True when it was refused.
bool opened_safely(const Bytes& bytes) {
    Bytes copy = bytes;
    const size_t before = requested_bytes;
    bool opened = false;
    unsigned sum = 0;
    const Error error = error_of([&] {
        const Container container = Container::from_bytes(std::move(copy));
        opened = true;
        for (const SectionInfo& info : container.sections()) {
            EXPECT_LE(info.offset + info.bytes, bytes.size());
            if (info.type == SectionType::Text && info.cols == 1) {
                EXPECT_EQ(container.text(info.name).size(), info.bytes);
            }
            if (info.type != SectionType::U8) continue;
            for (uint8_t byte : container.get<uint8_t>(info.name, info.rows, info.cols))
                sum += byte;
        }
    });
    EXPECT_LE(requested_bytes - before, 4 * bytes.size() + 65536) << sum;
    const bool refused = error.code() == StatusCode::Corrupt || error.code() == StatusCode::TooNew;
    EXPECT_TRUE(opened || refused) << error.what();
    return !opened;
}

TEST(HostileContainer, AFieldWithRightChecksumsIsRefusedOrHarmless) {
    const Bytes saved = sample_bytes(100);
    size_t refusals = 0, trials = 0;
    for (size_t at = 0; at < 64 + 7 * 64 + 64; ++at) {
        for (uint64_t value : kFieldValues) {
            for (size_t width : {size_t{1}, size_t{4}, size_t{8}}) {
                Bytes hostile = saved;
                std::memcpy(hostile.data() + at, &value, width);
                if (hostile == saved) continue;
                seal(hostile);
                refusals += opened_safely(hostile) ? 1u : 0u;
                ++trials;
            }
        }
    }
    EXPECT_GT(trials, 10000u);
    EXPECT_GT(refusals,
              trials * 9 / 10);  // what is left: other names, kinds, and shapes of the same size
}

TEST(HostileContainer, RandomChangesWithRightChecksumsAreRefusedOrHarmless) {
    const Bytes saved = sample_bytes(100);
    Random random(7);
    for (int trial = 0; trial < 10000; ++trial) {
        Bytes hostile = saved;
        for (uint64_t changes = 1 + random.below(4); changes > 0; --changes) {
            const uint64_t value = random.below(2) == 0
                                       ? kFieldValues[random.below(std::size(kFieldValues))]
                                       : random.below(300);
            std::memcpy(hostile.data() + random.below(72) * 8, &value,
                        size_t{1} << random.below(4));
        }
        if (random.below(4) == 0) hostile.resize(random.below(saved.size() + 4096));
        seal(hostile);
        opened_safely(hostile);
    }
}

// The sample's codes (section 1) are 100 x 7 bytes.
Bytes with_entry(size_t section, size_t at, uint64_t value) {
    Bytes bytes = sample_bytes(100);
    std::memcpy(bytes.data() + 64 + section * 64 + at, &value, sizeof value);
    seal(bytes);
    return bytes;
}

TEST(HostileContainer, EachRuleOfTheTableHolds) {
    const auto message = [](const Bytes& bytes) {
        const Error error = error_of([&] { Container::from_bytes(bytes); });
        EXPECT_EQ(error.code(), StatusCode::Corrupt);
        return std::string(error.what());
    };
    const auto has = [](const std::string& text, const char* part) {
        EXPECT_NE(text.find(part), std::string::npos) << text;
    };
    has(message(with_entry(1, 0, 0)), "name is empty");
    has(message(with_entry(1, 0, 0x610061)), "not a zero-padded text");  // "a", zero, "a"
    has(message(with_entry(1, 32, 8)), "element type 8");
    has(message(with_entry(1, 32, uint64_t{1} << 32)), "reserved");
    has(message(with_entry(1, 40, ~uint64_t{0})), "overflows");
    has(message(with_entry(1, 40, 1000000)), "but the file only");
    has(message(with_entry(1, 40, 1000)), "where it belongs");  // the next section would be inside
    has(message(with_entry(1, 56, 4096)), "where it belongs");
    has(message(with_entry(3, 48, uint64_t{1} << 21)), "no elements");
    has(message(with_entry(6, 40, 1000)), "do not fill");

    Bytes twice = sample_bytes(100);
    std::memcpy(twice.data() + 64 + 4 * 64, "codes\0\0\0", 8);
    seal(twice);
    has(message(twice), "two sections are named 'codes'");
}

TEST(HostileContainer, ALaterVersionOrAnUnknownFlagIsTooNew) {
    for (size_t at : {size_t{8}, size_t{12}}) {
        Bytes later = sample_bytes(10);
        const uint32_t value = kFormatVersion + 1;
        std::memcpy(later.data() + at, &value, sizeof value);
        EXPECT_EQ(error_of([&] { Container::from_bytes(later); }).code(), StatusCode::Corrupt);
        seal(later);
        EXPECT_EQ(error_of([&] { Container::from_bytes(later); }).code(), StatusCode::TooNew);
    }
}

}  // namespace
}  // namespace nearcell
