#include <nearcell/storage/container_format.h>

#include <algorithm>
#include <cstring>

#include <nearcell/storage/checked_size.h>
#include <nearcell/storage/checksum.h>

namespace nearcell {
namespace {

// Text-mode copies and 7-bit channels change these bytes, so they are noticed at once.
constexpr char kMagic[8] = {'\x8e', 'N', 'C', 'E', 'L', 'L', '\r', '\n'};

// Offsets in the header and in a table entry.
constexpr size_t kVersionAt = 8, kFlagsAt = 12, kKindAt = 16, kSectionsAt = 32, kFrontPagesAt = 36,
                 kFileBytesAt = 40, kFrontHashAt = 48, kHeaderHashAt = 56;
constexpr size_t kTypeAt = 32, kReservedAt = 36, kRowsAt = 40, kColsAt = 48, kOffsetAt = 56;
constexpr SectionType kLastType = SectionType::Text;

template <class T>
T load(const uint8_t* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

template <class T>
void store(uint8_t* bytes, T value) {
    std::memcpy(bytes, &value, sizeof value);
}

bool all_zero(std::span<const uint8_t> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

uint64_t padded(uint64_t bytes) {  // callers know that it does not overflow
    return (bytes + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
}

// The text of a zero-padded field; corrupt when it is not terminated or what follows is not zero.
std::string parse_text(std::span<const uint8_t> field, const std::string& file,
                       const std::string& what) {
    const auto end = std::find(field.begin(), field.end(), uint8_t{0});
    const size_t length = static_cast<size_t>(end - field.begin());
    check(length < field.size() && all_zero(field.subspan(length)), StatusCode::Corrupt, file, ": ",
          what, " is not a zero-padded text");
    return {field.begin(), end};
}

SectionInfo parse_entry(const uint8_t* entry, const std::string& where, uint64_t file_bytes) {
    SectionInfo info;
    info.name = parse_text({entry, kTypeAt}, where, "its name");
    const std::string fault = name_fault(info.name, kLongestName, true);
    check(fault.empty(), StatusCode::Corrupt, where, ": its name ", fault);
    const uint32_t type = load<uint32_t>(entry + kTypeAt);
    check(type <= static_cast<uint32_t>(kLastType), StatusCode::Corrupt, where, ": element type ",
          type, " is not one of 0 to ", static_cast<uint32_t>(kLastType));
    check(load<uint32_t>(entry + kReservedAt) == 0, StatusCode::Corrupt, where,
          ": its reserved field is not 0");
    info.type = static_cast<SectionType>(type);
    info.rows = load<uint64_t>(entry + kRowsAt);
    info.cols = load<uint64_t>(entry + kColsAt);
    info.offset = load<uint64_t>(entry + kOffsetAt);
    const std::string shape = shape_fault(info.type, info.rows, info.cols);
    check(shape.empty(), StatusCode::Corrupt, where, ": ", shape);
    info.bytes = info.rows * info.cols * section_element_size(info.type);
    check(info.bytes <= file_bytes, StatusCode::Corrupt, where, ": has ", info.bytes,
          " bytes, but the file only ", file_bytes);
    return info;
}

void check_unique(const std::vector<SectionInfo>& sections, const std::string& file) {
    std::vector<std::string_view> names(sections.size());
    std::transform(sections.begin(), sections.end(), names.begin(),
                   [](const SectionInfo& info) { return std::string_view(info.name); });
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    check(twice == names.end(), StatusCode::Corrupt, file, ": two sections are named '",
          twice == names.end() ? std::string_view() : *twice, "'");
}

}  // namespace

std::string name_fault(std::string_view name, size_t longest, bool dots) {
    if (name.empty()) return "is empty";
    if (name.size() > longest) return "is longer than " + std::to_string(longest) + " characters";
    const bool allowed = std::all_of(name.begin(), name.end(), [dots](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || (dots && c == '.');
    });
    return allowed ? ""
           : dots  ? "has characters outside [a-z0-9_.]"
                   : "has characters outside [a-z0-9_]";
}

std::string shape_fault(SectionType type, uint64_t rows, uint64_t cols) {
    const std::string shape = std::to_string(rows) + " x " + std::to_string(cols);
    const auto bytes = checked_product(rows, cols, section_element_size(type));
    if (!bytes) return "its shape " + shape + " overflows 64 bits";
    if (*bytes == 0 && std::max(rows, cols) > kMostEmptyRows) {
        return "its shape " + shape + " has no elements but more than " +
               std::to_string(kMostEmptyRows) + " rows or columns";
    }
    return "";
}

bool place_sections(ContainerLayout& layout) {
    constexpr uint64_t kMostBytes = uint64_t{1} << 62;  // leaves room for the sums below
    uint64_t blocks = 0;
    for (const SectionInfo& info : layout.sections) {
        if (info.bytes > kMostBytes / kMostSections) return false;
        blocks += checksum_blocks(info.bytes);
    }
    layout.front_bytes =
        padded(checksums_offset(layout.sections.size()) + blocks * sizeof(uint64_t));
    uint64_t offset = layout.front_bytes;
    for (SectionInfo& info : layout.sections) {
        info.offset = offset;
        offset += padded(info.bytes);
    }
    layout.file_bytes = offset;
    return layout.front_bytes / kSectionAlignment <= UINT32_MAX;  // the header counts it in pages
}

std::vector<uint8_t> encode_front(const ContainerLayout& layout,
                                  std::span<const uint64_t> checksums) {
    std::vector<uint8_t> front(layout.front_bytes, uint8_t{0});
    uint8_t* entry = front.data() + kHeaderBytes;
    for (const SectionInfo& info : layout.sections) {
        std::memcpy(entry, info.name.data(), info.name.size());
        store(entry + kTypeAt, static_cast<uint32_t>(info.type));
        store(entry + kRowsAt, info.rows);
        store(entry + kColsAt, info.cols);
        store(entry + kOffsetAt, info.offset);
        entry += kTableEntryBytes;
    }
    if (!checksums.empty()) std::memcpy(entry, checksums.data(), checksums.size_bytes());

    uint8_t* header = front.data();
    std::memcpy(header, kMagic, sizeof kMagic);
    store(header + kVersionAt, kFormatVersion);
    std::memcpy(header + kKindAt, layout.kind.data(), layout.kind.size());
    store(header + kSectionsAt, static_cast<uint32_t>(layout.sections.size()));
    store(header + kFrontPagesAt, static_cast<uint32_t>(layout.front_bytes / kSectionAlignment));
    store(header + kFileBytesAt, layout.file_bytes);
    store(header + kFrontHashAt, checksum(header + kHeaderBytes, front.size() - kHeaderBytes));
    store(header + kHeaderHashAt, checksum(header, kHeaderHashAt));
    return front;
}

ContainerHeader parse_header(std::span<const uint8_t, kHeaderBytes> bytes, uint64_t file_bytes,
                             const std::string& file) {
    const uint8_t* header = bytes.data();
    check(std::memcmp(header, kMagic, sizeof kMagic) == 0, StatusCode::Corrupt, file,
          ": does not start as a nearcell file does; it is of another kind or damaged");
    const uint64_t found = checksum(header, kHeaderHashAt);
    const uint64_t expected = load<uint64_t>(header + kHeaderHashAt);
    check(found == expected, StatusCode::Corrupt, file,
          ": the header (bytes 0 to 63) does not match its checksum; restore the file from a copy");
    // Only now: a flipped bit in the version is damage, not a file of the future.
    const uint32_t version = load<uint32_t>(header + kVersionAt);
    check(version <= kFormatVersion, StatusCode::TooNew, file, ": has format version ", version,
          ", and this build reads up to ", kFormatVersion, "; use a newer nearcell");
    check(version >= 1, StatusCode::Corrupt, file, ": format version 0 does not exist");
    check(load<uint32_t>(header + kFlagsAt) == 0, StatusCode::TooNew, file,
          ": uses features that this build does not know; use a newer nearcell");

    ContainerHeader result;
    result.kind = parse_text(bytes.subspan(kKindAt, kLongestKind + 1), file, "the kind");
    const std::string fault = name_fault(result.kind, kLongestKind, false);
    check(fault.empty(), StatusCode::Corrupt, file, ": the kind ", fault);
    const uint64_t length = load<uint64_t>(header + kFileBytesAt);
    check(length == file_bytes, StatusCode::Corrupt, file, ": has ", file_bytes,
          " bytes, but was saved with ", length, "; restore the file from a copy");
    result.sections = load<uint32_t>(header + kSectionsAt);
    result.front_bytes = uint64_t{load<uint32_t>(header + kFrontPagesAt)} * kSectionAlignment;
    result.front_hash = load<uint64_t>(header + kFrontHashAt);
    check(result.front_bytes <= file_bytes, StatusCode::Corrupt, file, ": the front has ",
          result.front_bytes, " bytes, but the file only ", file_bytes);
    check(
        result.sections <= kMostSections && checksums_offset(result.sections) <= result.front_bytes,
        StatusCode::Corrupt, file, ": a table of ", result.sections,
        " sections does not fit its front of ", result.front_bytes, " bytes");
    return result;
}

ContainerLayout parse_front(const ContainerHeader& header, std::span<const uint8_t> front,
                            uint64_t file_bytes, const std::string& file) {
    check(checksum(front.data() + kHeaderBytes, front.size() - kHeaderBytes) == header.front_hash,
          StatusCode::Corrupt, file, ": the section table (bytes 64 to ", front.size() - 1,
          ") does not match its checksum; restore the file from a copy");
    ContainerLayout layout;
    layout.kind = header.kind;
    layout.sections.reserve(header.sections);
    for (size_t i = 0; i < header.sections; ++i) {
        const std::string where = file + ": section " + std::to_string(i);
        layout.sections.push_back(
            parse_entry(front.data() + kHeaderBytes + i * kTableEntryBytes, where, file_bytes));
    }
    check_unique(layout.sections, file);

    // There is one place for every section, so sections in order, without gap or overlap, need no
    // rules.
    ContainerLayout expected = layout;
    const bool placed = place_sections(expected);
    uint64_t blocks = 0;
    for (size_t i = 0; placed && i < header.sections; ++i) {
        check(layout.sections[i].offset == expected.sections[i].offset, StatusCode::Corrupt, file,
              ": section '", layout.sections[i].name, "' is at ", layout.sections[i].offset,
              ", not where it belongs, at ", expected.sections[i].offset);
        blocks += checksum_blocks(expected.sections[i].bytes);
    }
    check(placed && expected.front_bytes == header.front_bytes && expected.file_bytes == file_bytes,
          StatusCode::Corrupt, file, ": its sections do not fill ", file_bytes, " bytes exactly");
    check(all_zero(front.subspan(checksums_offset(header.sections) + blocks * sizeof(uint64_t))),
          StatusCode::Corrupt, file, ": the padding after the checksums is not zero");
    return expected;
}

}  // namespace nearcell
