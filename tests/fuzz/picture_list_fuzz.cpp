// list_pictures with a list file: one path a line.
#include <nearcell/extract/picture_list.h>

#include "fuzz_target.h"
#include "memory_file.h"

namespace nearcell::fuzz {

std::vector<Bytes> seeds() {
    std::vector<Bytes> lists;
    for (const std::string_view text : {"a.jpg\nb/c.PNG\r\n\n/abs/d.bmp\n", "one.jpeg",
                                        "no-suffix\n", "\n\r\n\n", "a b\t.jpg\n.."}) {
        lists.emplace_back(text.begin(), text.end());
    }
    return lists;
}

void repair(Bytes&) {}

}  // namespace nearcell::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nearcell;
    static fuzz::MemoryFile file;
    file.set(data, size);
    fuzz::read([&] {
        for (const std::string& path : list_pictures(file.path()))
            fuzz::require(is_picture_name(path));
    });
    return 0;
}
