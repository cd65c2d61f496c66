#include "section_list.h"

#include <algorithm>
#include <cstring>
#include <span>

#include <nearcell/storage/checksum.h>
#include <nearcell/storage/container_format.h>

namespace nearcell::fuzz {
namespace {

// Of the header and of a table entry, as docs/format.md has them.
constexpr size_t kSectionsAt = 32, kFrontPagesAt = 36, kFileBytesAt = 40, kFrontHashAt = 48,
                 kHeaderHashAt = 56;
constexpr size_t kRowsAt = 40, kColsAt = 48, kOffsetAt = 56, kTypeAt = 32;
// The sections of indexes and PCAs; a misspelt one is one that is missing.
constexpr std::string_view kNames[] = {
    "spec",         "options", "counters", "cell_sizes",  "centroids",   "codec",
    "rerank_codec", "codes",   "ids",      "rerank",      "matrix",      "mean",
    "variances",    "numbers", "whiten",   "transform.0", "transform.1", "transform.2"};

template <class T>
T load(const uint8_t* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class T>
void store(uint8_t* to, T value) {
    std::memcpy(to, &value, sizeof value);
}

template <class T>
void append(Bytes& bytes, T value) {
    bytes.resize(bytes.size() + sizeof value);
    store(bytes.data() + bytes.size() - sizeof value, value);
}

struct Entry {
    uint8_t name = 0;
    uint8_t type = 0;
    uint16_t cols = 0;
    uint32_t bytes = 0;
};

// The bytes of a list from front to back; zeros after the end.
class ListReader {
   public:
    ListReader(const uint8_t* data, size_t size) : data_(data), left_(size) {}
    template <class T>
    T number() {
        T value{};
        const std::span<const uint8_t> from = bytes(sizeof value);
        if (!from.empty()) std::memcpy(&value, from.data(), from.size());
        return value;
    }
    std::span<const uint8_t> bytes(size_t most) {
        const std::span<const uint8_t> found(data_, std::min(most, left_));
        data_ += found.size();
        left_ -= found.size();
        return found;
    }

   private:
    const uint8_t* data_;
    size_t left_;
};

const uint8_t* section_data(const Container& container, const SectionInfo& info) {
    const auto start = [&]<class T>(T) {
        return reinterpret_cast<const uint8_t*>(
            container.get<T>(info.name, info.rows, info.cols).data());
    };
    switch (info.type) {
        case SectionType::U8: return start(uint8_t{});
        case SectionType::U16: return start(uint16_t{});
        case SectionType::U32: return start(uint32_t{});
        case SectionType::U64: return start(uint64_t{});
        case SectionType::I64: return start(int64_t{});
        case SectionType::F32: return start(float{});
        case SectionType::F64: return start(double{});
        case SectionType::Text: break;
    }
    return nullptr;
}

}  // namespace

Bytes section_list(const Container& container) {
    Bytes list, data;
    append(list, static_cast<uint8_t>(container.sections().size()));
    for (const SectionInfo& info : container.sections()) {
        const auto name = std::find(std::begin(kNames), std::end(kNames), info.name);
        require(name != std::end(kNames));
        append(list, Entry{static_cast<uint8_t>(name - std::begin(kNames)),
                           static_cast<uint8_t>(info.type), static_cast<uint16_t>(info.cols),
                           static_cast<uint32_t>(info.bytes)});
        if (info.type == SectionType::Text) {
            const std::string text = container.text(info.name);
            data.insert(data.end(), text.begin(), text.end());
        } else {
            const uint8_t* const from = section_data(container, info);
            data.insert(data.end(), from, from + info.bytes);
        }
    }
    list.insert(list.end(), data.begin(), data.end());
    return list;
}

Bytes container_of(std::string_view kind, const uint8_t* list, size_t size) {
    ListReader reader(list, size);
    std::vector<Entry> entries(reader.number<uint8_t>() % (std::size(kNames) + 1));
    for (Entry& entry : entries)
        entry = reader.number<Entry>();
    ContainerWriter writer{std::string(kind)};
    unsigned seen = 0;
    for (const Entry& entry : entries) {
        const size_t name = entry.name % std::size(kNames);
        const auto type = static_cast<SectionType>(entry.type % 8);
        const std::span<const uint8_t> data = reader.bytes(entry.bytes);
        const uint64_t row_bytes = entry.cols * section_element_size(type);
        const uint64_t rows = row_bytes == 0 ? data.size() : data.size() / row_bytes;
        // The container's own reader refuses two of one name; it has a target of its own.
        if ((seen >> name & 1u) == 0) {
            writer.add(std::string(kNames[name]), type, rows, entry.cols, data.data());
        }
        seen |= 1u << name;
    }
    return writer.to_bytes();
}

void repair_container(Bytes& bytes) {
    if (bytes.size() < kHeaderBytes) return;
    uint8_t* const header = bytes.data();
    const uint64_t sections = load<uint32_t>(header + kSectionsAt);
    const uint64_t front = uint64_t{load<uint32_t>(header + kFrontPagesAt)} * kSectionAlignment;
    store(header + kFileBytesAt, uint64_t{bytes.size()});
    if (front >= kHeaderBytes && front <= bytes.size() && checksums_offset(sections) <= front) {
        size_t at = checksums_offset(sections);
        for (size_t i = 0; i < sections; ++i) {
            const uint8_t* entry = header + kHeaderBytes + i * kTableEntryBytes;
            const uint64_t offset = load<uint64_t>(entry + kOffsetAt);
            const auto type = static_cast<SectionType>(load<uint32_t>(entry + kTypeAt));
            const uint64_t data = load<uint64_t>(entry + kRowsAt) *
                                  load<uint64_t>(entry + kColsAt) * section_element_size(type);
            if (offset > bytes.size() || data > bytes.size() - offset) break;
            for (uint64_t done = 0; done < data && at + 8 <= front;
                 done += kChecksumBlock, at += 8) {
                store(header + at,
                      checksum(header + offset + done, std::min(kChecksumBlock, data - done)));
            }
        }
        store(header + kFrontHashAt, checksum(header + kHeaderBytes, front - kHeaderBytes));
    }
    store(header + kHeaderHashAt, checksum(header, kHeaderHashAt));
}

}  // namespace nearcell::fuzz
