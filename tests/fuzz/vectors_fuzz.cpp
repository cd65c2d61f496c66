// Vector files of every format but HDF5, as vectors and as ids. The first byte of an input says
// the format, the second which rows, and of raw files the element type and the columns.
#include <nearcell/storage/vector_file.h>

#include "fuzz_target.h"
#include "memory_file.h"
#include "storage/sample_container.h"
#include "storage/scratch_dir.h"

namespace nearcell::fuzz {
namespace {

constexpr VectorFormat kFormats[] = {VectorFormat::Fvecs, VectorFormat::Bvecs, VectorFormat::Ivecs,
                                     VectorFormat::Fbin,  VectorFormat::U8bin, VectorFormat::I8bin,
                                     VectorFormat::Ibin,  VectorFormat::Npy,   VectorFormat::Raw};
constexpr size_t kChoiceBytes = 2;

bool can_write(VectorFormat format, ElementType type) {
    switch (format) {
        case VectorFormat::Fvecs:
        case VectorFormat::Fbin: return type == ElementType::Float32;
        case VectorFormat::Bvecs:
        case VectorFormat::U8bin: return type == ElementType::UInt8;
        case VectorFormat::I8bin: return type == ElementType::Int8;
        case VectorFormat::Npy: return type != ElementType::BFloat16;
        default: return false;
    }
}

}  // namespace

VectorFileOptions options_of(uint8_t format, uint8_t choice) {
    VectorFileOptions options;
    options.format = kFormats[format % std::size(kFormats)];
    options.raw_type = static_cast<ElementType>(choice % 5);
    options.raw_cols = choice % 11;
    if (choice % 3 == 1) options.first_row = choice / 8;
    if (choice % 4 == 1) options.max_rows = choice / 16;
    return options;
}

std::vector<Bytes> seeds() {
    const ScratchDir folder;
    const std::string path = folder.file("x");
    std::vector<Bytes> files;
    const auto keep = [&](size_t format) {
        Bytes bytes{static_cast<uint8_t>(format), 0};
        const Bytes file = nearcell::file_bytes(path);
        bytes.insert(bytes.end(), file.begin(), file.end());
        files.push_back(std::move(bytes));
    };
    constexpr size_t kRows = 5, kCols = 3;
    const std::vector<int64_t> ids{1, 2, 3, 4, 5, -1};
    for (size_t i = 0; i < std::size(kFormats); ++i) {
        VectorFileOptions options;
        options.format = kFormats[i];
        for (const ElementType type :
             {ElementType::Float32, ElementType::Float16, ElementType::Int8, ElementType::UInt8}) {
            if (!can_write(kFormats[i], type)) continue;
            const Bytes values = random_bytes(kRows * kCols * element_size(type), i);
            write_vectors(path, {values.data(), type, kRows, kCols}, options);
            keep(i);
        }
        if (kFormats[i] == VectorFormat::Ivecs || kFormats[i] == VectorFormat::Ibin ||
            kFormats[i] == VectorFormat::Npy) {
            write_ids(path, ids.data(), 2, 3, options);
            keep(i);
        }
    }
    files.push_back({8, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});  // raw
    return files;
}

// An npy header may have any length, and files of fixed rows any number of whole ones.
void repair(Bytes& bytes) {
    constexpr size_t kNpyLength = kChoiceBytes + 8, kNpyStart = kChoiceBytes + 10;
    if (bytes.size() < kNpyStart || bytes[0] % std::size(kFormats) != 7 || bytes[8] != 1) return;
    const auto end = std::find(bytes.begin() + kNpyStart, bytes.end(), uint8_t{'\n'});
    const auto length = static_cast<size_t>(end - bytes.begin()) + 1 - kNpyStart;
    bytes[kNpyLength] = static_cast<uint8_t>(length);
    bytes[kNpyLength + 1] = static_cast<uint8_t>(length >> 8);
}

}  // namespace nearcell::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nearcell;
    if (size < fuzz::kChoiceBytes) return 0;
    static fuzz::MemoryFile file;
    const VectorFileOptions options = fuzz::options_of(data[0], data[1]);
    size -= fuzz::kChoiceBytes;
    file.set(data + fuzz::kChoiceBytes, size);
    fuzz::read([&] { vector_file_info(file.path(), options); });
    const bool ids = fuzz::read([&] {
        const IdData found = read_ids(file.path(), options);
        fuzz::require(found.values.size() == found.rows * found.cols);
        fuzz::require(found.values.size() * sizeof(int32_t) <= size);
    });
    if (ids) return 0;
    fuzz::read([&] {
        const VectorData found = read_vectors(file.path(), options);
        fuzz::require(found.bytes.size() <= size);
        float least = 0;  // and a look at every value
        for (size_t i = 0; i < found.bytes.size(); ++i)
            least = std::min(least, static_cast<float>(found.bytes.data()[i]));
        volatile float keep = least;
        (void)keep;
    });
    return 0;
}
