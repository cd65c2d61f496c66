#include <algorithm>
#include <cstring>

#include <nearcell/storage/atomic_file.h>
#include <nearcell/storage/checksum.h>
#include <nearcell/storage/container_format.h>

namespace nearcell {
namespace {

// Passes the bytes of one section on in blocks of kChecksumBlock, collecting the checksum of each.
class BlockWriter {
   public:
    BlockWriter(const SectionInfo& info, const ContainerWriter::Sink& sink,
                std::vector<uint64_t>& checksums)
        : info_(info), sink_(sink), checksums_(checksums) {}

    void append(const void* data, size_t bytes) {
        check(bytes <= info_.bytes - taken_, StatusCode::InvalidArgument, "section '", info_.name,
              "' got more than its ", info_.bytes, " bytes: produce rows x cols elements");
        taken_ += bytes;
        const uint8_t* from = static_cast<const uint8_t*>(data);
        while (bytes > 0) {
            // A whole block is passed on from where it is; only pieces are gathered.
            if (held_ == 0 && bytes >= kChecksumBlock) {
                emit(from, kChecksumBlock);
                from += kChecksumBlock;
                bytes -= kChecksumBlock;
                continue;
            }
            if (block_.empty()) block_.resize(kChecksumBlock);
            const size_t part = std::min<size_t>(bytes, kChecksumBlock - held_);
            std::memcpy(block_.data() + held_, from, part);
            held_ += part;
            from += part;
            bytes -= part;
            if (held_ == kChecksumBlock) flush();
        }
    }

    void finish() {
        check(taken_ == info_.bytes, StatusCode::InvalidArgument, "section '", info_.name, "' got ",
              taken_, " of its ", info_.bytes, " bytes: produce rows x cols elements");
        flush();
        const uint8_t zeros[kSectionAlignment] = {};
        const uint64_t over = info_.bytes % kSectionAlignment;
        if (over != 0) sink_(zeros, kSectionAlignment - over);
    }

   private:
    void flush() {
        if (held_ != 0) emit(block_.data(), held_);
        held_ = 0;
    }
    void emit(const uint8_t* data, size_t bytes) {
        checksums_.push_back(checksum(data, bytes));
        sink_(data, bytes);
    }

    const SectionInfo& info_;
    const ContainerWriter::Sink& sink_;
    std::vector<uint64_t>& checksums_;
    std::vector<uint8_t> block_;
    size_t held_ = 0;
    uint64_t taken_ = 0;
};

}  // namespace

ContainerWriter::ContainerWriter(std::string kind) : kind_(std::move(kind)) {
    const std::string fault = name_fault(kind_, kLongestKind, false);
    check(fault.empty(), StatusCode::InvalidArgument, "kind '", kind_, "' ", fault);
}

void ContainerWriter::add(std::string name, SectionType type, uint64_t rows, uint64_t cols,
                          const void* data) {
    const uint64_t bytes = rows * cols * section_element_size(type);  // add_pieces checks the shape
    check(data != nullptr || bytes == 0, StatusCode::InvalidArgument, "section '", name,
          "' is a null pointer with ", rows, " x ", cols, " elements");
    add_pieces(std::move(name), type, rows, cols,
               [data, bytes](const Sink& sink) { sink(data, bytes); });
}

void ContainerWriter::add_text(std::string name, std::string text) {
    const uint64_t bytes = text.size();
    add_pieces(std::move(name), SectionType::Text, bytes, 1,
               [text = std::move(text)](const Sink& sink) { sink(text.data(), text.size()); });
}

void ContainerWriter::add_pieces(std::string name, SectionType type, uint64_t rows, uint64_t cols,
                                 std::function<void(const Sink&)> produce) {
    const std::string fault = name_fault(name, kLongestName, true);
    check(fault.empty(), StatusCode::InvalidArgument, "section name '", name, "' ", fault);
    const std::string shape = shape_fault(type, rows, cols);
    check(shape.empty(), StatusCode::InvalidArgument, "section '", name, "': ", shape);
    check(sections_.size() < kMostSections, StatusCode::InvalidArgument,
          "a container holds at most ", kMostSections, " sections");
    for (const Pending& section : sections_) {
        check(section.info.name != name, StatusCode::InvalidArgument, "section '", name,
              "' was added before: give each its own name");
    }
    SectionInfo info{
        std::move(name), type, rows, cols, 0, rows * cols * section_element_size(type)};
    sections_.push_back({std::move(info), std::move(produce)});
}

ContainerLayout ContainerWriter::plan() const {
    ContainerLayout layout;
    layout.kind = kind_;
    for (const Pending& section : sections_)
        layout.sections.push_back(section.info);
    check(place_sections(layout), StatusCode::InvalidArgument, "the sections of a '", kind_,
          "' are too large for one file");
    return layout;
}

std::vector<uint8_t> ContainerWriter::write(const ContainerLayout& layout, const Sink& sink) const {
    std::vector<uint64_t> checksums;
    for (size_t i = 0; i < sections_.size(); ++i) {
        BlockWriter writer(layout.sections[i], sink, checksums);
        sections_[i].produce([&](const void* data, size_t bytes) { writer.append(data, bytes); });
        writer.finish();
    }
    return encode_front(layout, checksums);
}

void ContainerWriter::save(const std::string& path) const {
    const ContainerLayout layout = plan();
    AtomicFile file(path);
    file.reserve(layout.file_bytes);
    file.append(std::vector<uint8_t>(layout.front_bytes).data(), layout.front_bytes);
    const std::vector<uint8_t> front =
        write(layout, [&](const void* data, size_t bytes) { file.append(data, bytes); });
    file.write_at(0, front.data(), front.size());
    file.commit();
}

std::vector<uint8_t> ContainerWriter::to_bytes() const {
    const ContainerLayout layout = plan();
    std::vector<uint8_t> bytes;
    bytes.reserve(layout.file_bytes);
    bytes.resize(layout.front_bytes);
    const std::vector<uint8_t> front = write(layout, [&](const void* data, size_t count) {
        const uint8_t* from = static_cast<const uint8_t*>(data);
        bytes.insert(bytes.end(), from, from + count);
    });
    std::memcpy(bytes.data(), front.data(), front.size());
    return bytes;
}

}  // namespace nearcell
