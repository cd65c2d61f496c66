#include <nearcell/extract/image.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include <nearcell/core/error.h>
#include <nearcell/extract/jpeg.h>
#include <nearcell/extract/orientation.h>
#include <nearcell/extract/picture_bytes.h>
#include <nearcell/storage/input_file.h>

namespace nearcell {
namespace {

// The memory of one decode. stb_image's own checks are few: here every block is counted against a
// limit, begins as zeros (a picture must not show what was in memory before), and is freed when the
// decode ends, however it ends. So a failed assertion or allocation may leave stb by an exception.
class DecodeMemory {
   public:
    DecodeMemory(size_t limit, std::string_view name) : left_(limit), name_(name) {
        current = this;
    }
    ~DecodeMemory() {
        while (first_ != nullptr)
            release(first_ + 1);
        current = nullptr;
    }
    DecodeMemory(const DecodeMemory&) = delete;
    DecodeMemory& operator=(const DecodeMemory&) = delete;

    void* allocate(size_t bytes) {
        check(bytes <= left_, StatusCode::Corrupt, name_,
              ": its data expand to more than its header says; leave the file out");
        auto* block = static_cast<Block*>(std::calloc(1, sizeof(Block) + bytes));
        if (block == nullptr) throw std::bad_alloc();
        left_ -= bytes;
        *block = {nullptr, first_, bytes};
        if (first_ != nullptr) first_->before = block;
        first_ = block;
        return block + 1;
    }
    void* reallocate(void* data, size_t bytes) {
        void* fresh = allocate(bytes);
        if (data != nullptr) {
            const size_t old = (static_cast<Block*>(data) - 1)->bytes;
            std::memcpy(fresh, data, old < bytes ? old : bytes);
            release(data);
        }
        return fresh;
    }
    void release(void* data) {
        if (data == nullptr) return;
        Block* block = static_cast<Block*>(data) - 1;
        (block->before != nullptr ? block->before->after : first_) = block->after;
        if (block->after != nullptr) block->after->before = block->before;
        left_ += block->bytes;
        std::free(block);
    }
    [[noreturn]] void fail(const char* what) const {
        throw_error(StatusCode::Corrupt, name_, ": a broken picture (", what,
                    "); get the file again, or leave it out");
    }

    static thread_local DecodeMemory* current;

   private:
    struct alignas(16) Block {
        Block* before;
        Block* after;
        size_t bytes;
    };
    Block* first_ = nullptr;
    size_t left_;
    std::string_view name_;
};

thread_local DecodeMemory* DecodeMemory::current = nullptr;

}  // namespace
}  // namespace nearcell

#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_MAX_DIMENSIONS 65535
#define STBI_ASSERT(holds) \
    ((holds) ? void(0) : nearcell::DecodeMemory::current->fail("an inconsistency inside"))
#define STBI_MALLOC(bytes) nearcell::DecodeMemory::current->allocate(bytes)
#define STBI_REALLOC(data, bytes) nearcell::DecodeMemory::current->reallocate(data, bytes)
#define STBI_FREE(data) nearcell::DecodeMemory::current->release(data)
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
// Its casts are C's; where a macro above is in one, the warning counts as ours.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace nearcell {
namespace {

static_assert(kMaxPictureSide == STBI_MAX_DIMENSIONS);
static_assert(kMaxPictureBytes <= 0x7fffffff, "stb counts bytes in an int");

size_t memory_limit(const PictureInfo& info, size_t file_bytes) {
    // The most is needed by an interlaced PNG of four 16-bit channels: 24 bytes a pixel.
    return info.width * info.height * 32 + file_bytes * 4 + (size_t{1} << 20);
}

uint8_t over_white(unsigned value, unsigned alpha) {
    return static_cast<uint8_t>((value * alpha + 255u * (255u - alpha) + 127u) / 255u);
}

Image to_rgb(const uint8_t* from, const PictureInfo& info, int channels) {
    Image image;
    image.width = info.width;
    image.height = info.height;
    const size_t pixels = info.width * info.height;
    if (channels == 3) {
        image.pixels.assign(from, from + pixels * kImageChannels);
        return image;
    }
    image.pixels.resize(pixels * kImageChannels);
    uint8_t* to = image.pixels.data();
    const auto step = static_cast<size_t>(channels);
    for (size_t i = 0; i < pixels; ++i, from += step, to += kImageChannels) {
        const size_t other = channels == 4 ? 1 : 0;  // grey: all three are the first
        to[0] = from[0];
        to[1] = from[other];
        to[2] = from[other * 2];
        if (channels == 1) continue;
        const uint8_t alpha = from[step - 1];
        for (size_t c = 0; c < kImageChannels; ++c)
            to[c] = over_white(to[c], alpha);
    }
    return image;
}

}  // namespace

Image decode_image(std::span<const uint8_t> bytes, std::string_view name) {
    const PictureInfo info = inspect_picture(bytes, name);
    if (info.format == PictureFormat::Jpeg)
        return oriented(decode_jpeg(bytes, info, name), info.orientation);
    DecodeMemory memory(memory_limit(info, bytes.size()), name);
    int width = 0, height = 0, channels = 0;
    // The fourth channel of a BMP is mostly not alpha but padding: three are asked for.
    const int wanted = info.format == PictureFormat::Bmp ? 3 : 0;
    const uint8_t* pixels = stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()),
                                                  &width, &height, &channels, wanted);
    if (pixels == nullptr) {
        // Some failures set no reason; then it is that of having looked for a PNG first.
        const char* reason = stbi_failure_reason();
        const bool stale = reason == nullptr || (info.format != PictureFormat::Png &&
                                                 std::strcmp(reason, "bad png sig") == 0);
        memory.fail(stale ? "its parts do not fit together" : reason);
    }
    if (static_cast<size_t>(width) != info.width || static_cast<size_t>(height) != info.height) {
        memory.fail("it contradicts its own size");
    }
    return oriented(to_rgb(pixels, info, wanted != 0 ? wanted : channels), info.orientation);
}

Image read_image(const std::string& path) {
    const InputFile file(path);
    check(file.bytes() <= kMaxPictureBytes, StatusCode::Unsupported, path, ": has ", file.bytes(),
          " bytes, at most ", kMaxPictureBytes, " are read; make the picture smaller first");
    std::vector<uint8_t> bytes(file.bytes());
    if (!bytes.empty()) file.read_at(0, bytes.data(), bytes.size(), "the picture");
    return decode_image(bytes, path);
}

void check_image(const Image& image) {
    check(image.width > 0 && image.height > 0, StatusCode::InvalidArgument, "image of ",
          image.width, " x ", image.height, " pixels must have at least one");
    check(image.width <= kMaxPictureSide && image.height <= kMaxPictureSide &&
              image.width * image.height <= kMaxPicturePixels,
          StatusCode::InvalidArgument, "image of ", image.width, " x ", image.height,
          " pixels: at most ", kMaxPicturePixels, " in all and ", kMaxPictureSide,
          " a side; make it smaller first");
    check(image.pixels.size() == image.width * image.height * kImageChannels,
          StatusCode::InvalidArgument, "image of ", image.width, " x ", image.height,
          " pixels has ", image.pixels.size(), " bytes, must be ", kImageChannels,
          " times its pixels");
}

}  // namespace nearcell
