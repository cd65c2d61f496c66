// Container: the one file format of everything nearcell saves. A 64-byte header, a table of named
// sections, the sections at 4 KiB boundaries, XXH3 checksums of the header, the table and every
// 64 KiB of data (docs/format.md). Saving is atomic: the old file stays until the new one is on
// disk. Opening checks every count against the file's length before anything is allocated, and
// every checksum (at once when read; when mapped, those of header and table at once and the data's
// too, unless the caller defers them to verify()). Cost of a check: about 10 GB/s. Thread safety:
// an open Container is immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nearcell/core/error.h>

namespace nearcell {

enum class SectionType : uint32_t {
    U8 = 0,
    U16 = 1,
    U32 = 2,
    U64 = 3,
    I64 = 4,
    F32 = 5,
    F64 = 6,
    Text = 7
};

constexpr size_t section_element_size(SectionType type) {
    switch (type) {
        case SectionType::U8:
        case SectionType::Text: return 1;
        case SectionType::U16: return 2;
        case SectionType::U32:
        case SectionType::F32: return 4;
        case SectionType::U64:
        case SectionType::I64:
        case SectionType::F64: return 8;
    }
    return 1;
}

struct SectionInfo {
    std::string name;  // 1 to 31 characters of [a-z0-9_.]
    SectionType type = SectionType::U8;
    uint64_t rows = 0;
    uint64_t cols = 1;
    uint64_t offset = 0;
    uint64_t bytes = 0;
};

// Collects sections and writes them. Data is not copied: it must live until save() returns.
struct ContainerLayout;

class ContainerWriter {
   public:
    // `kind` says what the file is ("index", "pca"): 1 to 15 characters of [a-z0-9_].
    explicit ContainerWriter(std::string kind);

    void add(std::string name, SectionType type, uint64_t rows, uint64_t cols, const void* data);
    void add_text(std::string name, std::string text);  // text is kept
    // A section handed over in pieces: `produce` calls its argument with consecutive bytes, rows x
    // cols elements in all.
    using Sink = std::function<void(const void* data, size_t bytes)>;
    void add_pieces(std::string name, SectionType type, uint64_t rows, uint64_t cols,
                    std::function<void(const Sink&)> produce);

    // Writes to a temporary file beside `path`, fsyncs, renames over `path`, fsyncs the directory.
    // On any error the temporary file is removed, `path` is as it was, and Error(Io) says why.
    void save(const std::string& path) const;
    // The same bytes in memory.
    std::vector<uint8_t> to_bytes() const;

   private:
    struct Pending {
        SectionInfo info;
        std::function<void(const Sink&)> produce;
    };
    ContainerLayout plan() const;
    // Hands over all that follows the front (header, table, checksums), and returns that front.
    std::vector<uint8_t> write(const ContainerLayout& layout, const Sink& sink) const;
    std::string kind_;
    std::vector<Pending> sections_;
};

enum class OpenMode {
    Read,         // into memory, everything verified
    Map,          // memory map, everything verified
    MapUnchecked  // memory map, data checksums only by verify()
};

class Container {
   public:
    // Throws NotFound, Io, Corrupt (naming what is wrong and where) or TooNew.
    static Container open(const std::string& path, OpenMode mode = OpenMode::Read);
    static Container from_bytes(std::vector<uint8_t> bytes);

    const std::string& kind() const;
    const std::vector<SectionInfo>& sections() const;
    uint64_t file_bytes() const;
    bool is_mapped() const;
    bool has(std::string_view name) const;

    // The data of a section; throws Corrupt when it is missing or not of this type and shape.
    // Valid as long as a copy of this Container lives. Starts on a 4 KiB boundary.
    template <class T>
    std::span<const T> get(std::string_view name, uint64_t rows, uint64_t cols = 1) const {
        return {static_cast<const T*>(data(name, type_of<T>(), rows, cols)), rows * cols};
    }
    // Rows and columns as they are in the file.
    const SectionInfo& info(std::string_view name) const;  // throws Corrupt when missing
    std::string text(std::string_view name) const;

    // Checks every data checksum; throws Corrupt naming the section and the byte range.
    void verify() const;

   private:
    struct Memory;
    explicit Container(std::shared_ptr<const Memory> memory) : memory_(std::move(memory)) {}
    template <class T>
    static constexpr SectionType type_of();
    const void* data(std::string_view name, SectionType type, uint64_t rows, uint64_t cols) const;
    std::shared_ptr<const Memory> memory_;
};

template <>
constexpr SectionType Container::type_of<uint8_t>() {
    return SectionType::U8;
}
template <>
constexpr SectionType Container::type_of<uint16_t>() {
    return SectionType::U16;
}
template <>
constexpr SectionType Container::type_of<uint32_t>() {
    return SectionType::U32;
}
template <>
constexpr SectionType Container::type_of<uint64_t>() {
    return SectionType::U64;
}
template <>
constexpr SectionType Container::type_of<int64_t>() {
    return SectionType::I64;
}
template <>
constexpr SectionType Container::type_of<float>() {
    return SectionType::F32;
}
template <>
constexpr SectionType Container::type_of<double>() {
    return SectionType::F64;
}

}  // namespace nearcell
