// Container: from bytes, read and mapped from a file, checked at once and later. Whichever way, the
// answer is the same.
#include <nearcell/storage/container.h>

#include "memory_file.h"
#include "section_list.h"
#include "storage/sample_container.h"

namespace nearcell::fuzz {
namespace {

// A look at everything there is.
void visit(const Container& container) {
    for (const SectionInfo& info : container.sections()) {
        require(info.bytes <= container.file_bytes());
        read([&] { container.text(info.name); });
        read([&] { container.get<uint8_t>(info.name, info.rows, info.cols); });
        read([&] { container.get<double>(info.name, info.rows, info.cols); });
    }
}

}  // namespace

std::vector<Bytes> seeds() {
    return {SampleContainer(3).writer.to_bytes(), SampleContainer(0).writer.to_bytes(),
            SampleContainer(9500).writer.to_bytes(), ContainerWriter("empty").to_bytes()};
}

void repair(Bytes& bytes) { repair_container(bytes); }

}  // namespace nearcell::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nearcell;
    static fuzz::MemoryFile file;
    const bool good = fuzz::read([&] { fuzz::visit(Container::from_bytes({data, data + size})); });
    const std::string first = fuzz::outcome;
    file.set(data, size);
    const bool mapped = fuzz::read([&] {
        const Container container = Container::open(file.path(), OpenMode::MapUnchecked);
        fuzz::visit(container);
        container.verify();
    });
    fuzz::require(good == mapped);
    fuzz::outcome = good ? "value" : first;
    return 0;
}
