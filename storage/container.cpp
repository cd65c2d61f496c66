#include <nearcell/core/large_pages.h>
#include <nearcell/storage/container.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include <sys/mman.h>

#include <nearcell/storage/checksum.h>
#include <nearcell/storage/container_format.h>
#include <nearcell/storage/input_file.h>

namespace nearcell {

// A file's bytes, in memory of our own or mapped, with what its header and table say.
struct Container::Memory {
    std::string file;  // as messages name it
    std::shared_ptr<const uint8_t> bytes;
    bool is_mapped = false;
    ContainerLayout layout;
    std::vector<size_t> first_checksum;  // of each section, counted over the whole file

    uint64_t stored_checksum(size_t index) const {
        uint64_t value = 0;
        const size_t offset = checksums_offset(layout.sections.size()) + index * sizeof value;
        std::memcpy(&value, bytes.get() + offset, sizeof value);
        return value;
    }
    void verify_section(size_t index) const;
};

namespace {

std::shared_ptr<uint8_t> allocate(uint64_t bytes) {
    uint8_t* memory = static_cast<uint8_t*>(allocate_aligned(kSectionAlignment, bytes));
    if (memory == nullptr) throw std::bad_alloc();
    return {memory, [](uint8_t* pointer) { std::free(pointer); }};
}

std::shared_ptr<const uint8_t> map(const InputFile& file) {
    const size_t size = file.bytes();
    void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
    if (memory == MAP_FAILED) {
        throw_file_error(StatusCode::Io, file.path(), errno, "cannot map ", size,
                         " bytes: ", std::strerror(errno), "; open it by reading instead");
    }
    return {static_cast<const uint8_t*>(memory),
            [size](const uint8_t* pointer) { ::munmap(const_cast<uint8_t*>(pointer), size); }};
}

void check_length(uint64_t bytes, const std::string& file) {
    check(bytes >= kHeaderBytes, StatusCode::Corrupt, file, ": has ", bytes,
          " bytes, and a header alone has ", kHeaderBytes, "; it is truncated or of another kind");
}

// Header and table of the bytes that are there now, whatever was checked before they were loaded.
ContainerLayout parse(const uint8_t* bytes, uint64_t size, const std::string& file) {
    const ContainerHeader header =
        parse_header(std::span<const uint8_t, kHeaderBytes>(bytes, kHeaderBytes), size, file);
    return parse_front(header, {bytes, header.front_bytes}, size, file);
}

std::vector<size_t> first_checksums(const ContainerLayout& layout) {
    std::vector<size_t> first;
    size_t blocks = 0;
    for (const SectionInfo& info : layout.sections) {
        first.push_back(blocks);
        blocks += checksum_blocks(info.bytes);
    }
    return first;
}

}  // namespace

void Container::Memory::verify_section(size_t index) const {
    const SectionInfo& info = layout.sections[index];
    const uint8_t* data = bytes.get() + info.offset;
    for (uint64_t first = 0, block = 0; first < info.bytes; first += kChecksumBlock, ++block) {
        const uint64_t size = std::min(kChecksumBlock, info.bytes - first);
        check(checksum(data + first, size) == stored_checksum(first_checksum[index] + block),
              StatusCode::Corrupt, file, ": section '", info.name, "', bytes ", info.offset + first,
              " to ", info.offset + first + size - 1,
              " of the file, does not match its checksum; restore the file from a copy");
    }
    const uint64_t end =
        index + 1 < layout.sections.size() ? layout.sections[index + 1].offset : layout.file_bytes;
    for (uint64_t i = info.offset + info.bytes; i < end; ++i) {
        check(bytes.get()[i] == 0, StatusCode::Corrupt, file, ": byte ", i,
              ", padding after section '", info.name,
              "', is not zero; restore the file from a copy");
    }
}

Container Container::open(const std::string& path, OpenMode mode) {
    const InputFile file(path);
    check_length(file.bytes(), path);
    uint8_t header[kHeaderBytes];
    file.read_at(0, header, sizeof header, "the header");
    parse_header(header, file.bytes(), path);  // before memory is spent on a file of another kind

    auto memory = std::make_shared<Memory>();
    memory->file = path;
    if (mode == OpenMode::Read) {
        const std::shared_ptr<uint8_t> bytes = allocate(file.bytes());
        file.read_at(0, bytes.get(), file.bytes(), "the container");
        memory->bytes = bytes;
    } else {
        memory->bytes = map(file);
        memory->is_mapped = true;
    }
    memory->layout = parse(memory->bytes.get(), file.bytes(), path);
    memory->first_checksum = first_checksums(memory->layout);
    Container container(std::move(memory));
    if (mode != OpenMode::MapUnchecked) container.verify();
    return container;
}

Container Container::from_bytes(std::vector<uint8_t> bytes) {
    auto memory = std::make_shared<Memory>();
    memory->file = "container in memory";
    check_length(bytes.size(), memory->file);
    const std::shared_ptr<uint8_t> copy =
        allocate(bytes.size());  // a vector is not aligned to 4 KiB
    std::memcpy(copy.get(), bytes.data(), bytes.size());
    memory->bytes = copy;
    memory->layout = parse(copy.get(), bytes.size(), memory->file);
    memory->first_checksum = first_checksums(memory->layout);
    Container container(std::move(memory));
    container.verify();
    return container;
}

const std::string& Container::kind() const { return memory_->layout.kind; }
const std::vector<SectionInfo>& Container::sections() const { return memory_->layout.sections; }
uint64_t Container::file_bytes() const { return memory_->layout.file_bytes; }
bool Container::is_mapped() const { return memory_->is_mapped; }

bool Container::has(std::string_view name) const {
    return std::any_of(sections().begin(), sections().end(),
                       [name](const SectionInfo& info) { return info.name == name; });
}

const SectionInfo& Container::info(std::string_view name) const {
    for (const SectionInfo& info : sections()) {
        if (info.name == name) return info;
    }
    throw_error(StatusCode::Corrupt, memory_->file, ": section '", name, "' is missing from this '",
                kind(), "' file");
}

std::string Container::text(std::string_view name) const {
    const SectionInfo& section = info(name);
    const char* from = static_cast<const char*>(data(name, SectionType::Text, section.rows, 1));
    return {from, from + section.rows};
}

const void* Container::data(std::string_view name, SectionType type, uint64_t rows,
                            uint64_t cols) const {
    const SectionInfo& section = info(name);
    check(section.type == type, StatusCode::Corrupt, memory_->file, ": section '", name,
          "' has element type ", static_cast<uint32_t>(section.type), " instead of ",
          static_cast<uint32_t>(type));
    check(section.rows == rows && section.cols == cols, StatusCode::Corrupt, memory_->file,
          ": section '", name, "' has shape ", section.rows, " x ", section.cols, " instead of ",
          rows, " x ", cols);
    return memory_->bytes.get() + section.offset;
}

void Container::verify() const {
    for (size_t i = 0; i < sections().size(); ++i)
        memory_->verify_section(i);
}

}  // namespace nearcell
