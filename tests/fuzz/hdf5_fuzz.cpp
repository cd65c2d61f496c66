// HDF5 files. libhdf5 parses them: what is ours is what is checked of its answers.
#include <nearcell/storage/vector_file.h>

#include "fuzz_target.h"
#include "storage/hdf5_bytes.h"
#include "storage/scratch_dir.h"

namespace nearcell::fuzz {

std::vector<Bytes> seeds() {
    return {hdf5_bytes(kHdf5Ann), hdf5_bytes(kHdf5Types), hdf5_bytes(kHdf5Hostile)};
}

void repair(Bytes&) {}

}  // namespace nearcell::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nearcell;
    static const ScratchDir folder;  // libhdf5 wants a file with a name
    static const std::string path = folder.file("x.hdf5");
    put_bytes(path, {data, data + size});
    for (const char* const set : {":train", ":f8", ":gzip", ":group", ":chunked", ":unwritten"})
        fuzz::read([&] { read_vectors(path + set); });
    fuzz::read([&] { read_ids(path); });
    const std::string ids = fuzz::outcome;
    if (!fuzz::read([&] { read_vectors(path); })) fuzz::outcome = ids;
    return 0;
}
