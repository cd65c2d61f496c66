#include <nearcell/extract/image_write.h>

#include <cstring>
#include <memory_resource>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

// The memory of one encode. stb_image_write goes on writing where an allocation failed; here it
// ends by an exception, and everything is freed together, however the encode ends.
thread_local std::pmr::memory_resource* encode_memory = nullptr;

void* encode_allocate(size_t bytes) { return encode_memory->allocate(bytes); }

void* encode_reallocate(const void* data, size_t old_bytes, size_t bytes) {
    void* fresh = encode_memory->allocate(bytes);
    if (data != nullptr) std::memcpy(fresh, data, old_bytes < bytes ? old_bytes : bytes);
    return fresh;
}

}  // namespace
}  // namespace nearcell

#define STBI_WRITE_NO_STDIO
#define STBIW_ASSERT(holds) static_cast<void>(0)
#define STBIW_MALLOC(bytes) nearcell::encode_allocate(static_cast<size_t>(bytes))
#define STBIW_REALLOC_SIZED(data, old_bytes, bytes) \
    nearcell::encode_reallocate(data, static_cast<size_t>(old_bytes), static_cast<size_t>(bytes))
#define STBIW_FREE(data) static_cast<void>(data)
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
// What it defines and nobody calls; where a macro above is in its code, the warning counts as ours.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace nearcell {
namespace {

void append_bytes(void* out, void* data, int bytes) {
    const auto* from = static_cast<const uint8_t*>(data);
    auto* to = static_cast<std::vector<uint8_t>*>(out);
    to->insert(to->end(), from, from + bytes);
}

}  // namespace

std::vector<uint8_t> encode_png(const Image& image) {
    check_image(image);
    std::pmr::monotonic_buffer_resource memory;
    encode_memory = &memory;
    std::vector<uint8_t> bytes;
    const int width = static_cast<int>(image.width), height = static_cast<int>(image.height);
    constexpr int kChannels = static_cast<int>(kImageChannels);
    const int done = stbi_write_png_to_func(append_bytes, &bytes, width, height, kChannels,
                                            image.pixels.data(), width * kChannels);
    encode_memory = nullptr;
    check(done != 0, StatusCode::OutOfMemory, "image of ", width, " x ", height,
          " pixels: cannot be made a PNG; make it smaller");
    return bytes;
}

std::vector<uint8_t> encode_jpeg(const Image& image, int quality) {
    check_image(image);
    check(quality >= 1 && quality <= 100, StatusCode::InvalidArgument, "quality = ", quality,
          " must be 1 to 100");
    std::vector<uint8_t> bytes;
    const int width = static_cast<int>(image.width), height = static_cast<int>(image.height);
    const int done =
        stbi_write_jpg_to_func(append_bytes, &bytes, width, height,
                               static_cast<int>(kImageChannels), image.pixels.data(), quality);
    check(done != 0, StatusCode::InvalidArgument, "image of ", width, " x ", height,
          " pixels: cannot be made a JPEG");
    return bytes;
}

}  // namespace nearcell
