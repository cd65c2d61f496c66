// The bytes of a container, as docs/format.md has them: where header, table, checksums and sections
// lie, and how they are written and parsed. Internal to storage/; use container.h. Parsing trusts
// no byte: it throws Corrupt or TooNew, and allocates no more than the file's length. Thread safe.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nearcell/storage/container.h>

namespace nearcell {

static_assert(std::endian::native == std::endian::little, "containers are mapped as little endian");

constexpr uint32_t kFormatVersion = 1;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kTableEntryBytes = 64;
constexpr uint64_t kSectionAlignment = 4096;
constexpr uint64_t kChecksumBlock = 65536;
constexpr size_t kMostSections = 65536;
constexpr size_t kLongestName = 31;
constexpr size_t kLongestKind = 15;
// Of a section without data, the dimension that is not 0: the one count the file's length cannot
// bound.
constexpr uint64_t kMostEmptyRows = uint64_t{1} << 20;

// Everything a header and table say, with what follows from it.
struct ContainerLayout {
    std::string kind;
    std::vector<SectionInfo> sections;
    uint64_t front_bytes = 0;  // header, table and checksums, padded: the first section starts here
    uint64_t file_bytes = 0;
};

// What is wrong with a name, kind or shape, or empty when it is allowed.
std::string name_fault(std::string_view name, size_t longest, bool dots);
std::string shape_fault(SectionType type, uint64_t rows, uint64_t cols);

constexpr uint64_t checksum_blocks(uint64_t bytes) {
    return bytes / kChecksumBlock + (bytes % kChecksumBlock != 0 ? 1 : 0);
}

// Sets the offsets, front_bytes and file_bytes from the sections' sizes; false when they overflow.
bool place_sections(ContainerLayout& layout);

// The front of a file from its layout and the checksums of all blocks in order.
std::vector<uint8_t> encode_front(const ContainerLayout& layout,
                                  std::span<const uint64_t> checksums);

struct ContainerHeader {
    std::string kind;
    uint32_t sections = 0;
    uint64_t front_bytes = 0;
    uint64_t front_hash = 0;
};

// `file` names the file in messages; `file_bytes` is its true length.
ContainerHeader parse_header(std::span<const uint8_t, kHeaderBytes> bytes, uint64_t file_bytes,
                             const std::string& file);
// `front` is the file's first header.front_bytes bytes. Checks everything but the data.
ContainerLayout parse_front(const ContainerHeader& header, std::span<const uint8_t> front,
                            uint64_t file_bytes, const std::string& file);

// Where the checksums of the blocks of all sections start in a file of so many sections.
constexpr size_t checksums_offset(size_t sections) {
    return kHeaderBytes + sections * kTableEntryBytes;
}

}  // namespace nearcell
