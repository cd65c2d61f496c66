#include <nearcell/extract/jpeg.h>

#include <csetjmp>
#include <cstdio>  // jpeglib.h wants FILE
#include <new>
#include <vector>

#include <jpeglib.h>

#include <jerror.h>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

// libjpeg leaves a failed call by a jump, not by an exception: between run() and its return there
// is nothing that wants a destructor.
struct Failure : jpeg_error_mgr {
    std::jmp_buf back;
    char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void leave(j_common_ptr common) {
    auto& failure = *static_cast<Failure*>(common->err);
    failure.format_message(common, failure.message);
    std::longjmp(failure.back, 1);
}

// Warnings are negative. Bytes between segments, and versions and colour transforms that libjpeg
// does not know, leave the picture whole; any other warning is of pixels that it made up.
void warn(j_common_ptr common, int level) {
    const int code = common->err->msg_code;
    const bool harmless =
        code == JWRN_EXTRANEOUS_DATA || code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM;
    if (level < 0 && !harmless) leave(common);
}

void stay_silent(j_common_ptr) {}

// Files that may be whole, of kinds that libjpeg does not do.
bool is_unsupported(int code) {
    return code == JERR_IMAGE_TOO_BIG || code == JERR_FRACT_SAMPLE_NOTIMPL ||
           code == JERR_CCIR601_NOTIMPL || code == JERR_CONVERSION_NOTIMPL ||
           code == JERR_NOT_COMPILED || code == JERR_ARITH_NOTIMPL;
}

// What the file holds are inverted inks, as Adobe writes them: each lets through of the black's
// light what its value says. Rounded as Pillow does.
void inks_to_rgb(const uint8_t* inks, size_t pixels, uint8_t* rgb) {
    for (size_t i = 0; i < pixels; ++i, inks += 4, rgb += kImageChannels) {
        const unsigned light = inks[3];
        for (size_t c = 0; c < kImageChannels; ++c) {
            const unsigned product = (255u - inks[c]) * light + 128;
            rgb[c] = static_cast<uint8_t>(light - ((product >> 8) + product) / 256);
        }
    }
}

enum class Result { Done, Failed, OtherSize };

// ink_row: of width x 4, for four channels.
Result run(jpeg_decompress_struct& jpeg, Failure& failure, std::span<const uint8_t> bytes,
           Image& image, uint8_t* ink_row) {
    if (setjmp(failure.back) != 0) return Result::Failed;
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, bytes.data(), static_cast<unsigned long>(bytes.size()));
    jpeg_read_header(&jpeg, TRUE);
    const bool inks = jpeg.num_components == 4;
    jpeg.out_color_space = inks ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&jpeg);
    if (jpeg.output_width != image.width || jpeg.output_height != image.height)
        return Result::OtherSize;
    while (jpeg.output_scanline < jpeg.output_height) {
        uint8_t* const rgb = image.row(jpeg.output_scanline);
        JSAMPROW row = inks ? ink_row : rgb;
        jpeg_read_scanlines(&jpeg, &row, 1);
        if (inks) inks_to_rgb(ink_row, image.width, rgb);
    }
    jpeg_finish_decompress(&jpeg);
    return Result::Done;
}

}  // namespace

Image decode_jpeg(std::span<const uint8_t> bytes, const PictureInfo& info, std::string_view name) {
    Image image(info.width, info.height);
    std::vector<uint8_t> ink_row(info.width * 4);
    Failure failure;
    jpeg_std_error(&failure);
    failure.error_exit = leave;
    failure.emit_message = warn;
    failure.output_message = stay_silent;
    jpeg_decompress_struct jpeg{};
    jpeg.err = &failure;
    const Result result = run(jpeg, failure, bytes, image, ink_row.data());
    jpeg_destroy_decompress(&jpeg);
    if (result == Result::Failed && failure.msg_code == JERR_OUT_OF_MEMORY) throw std::bad_alloc();
    check(result != Result::Failed || !is_unsupported(failure.msg_code), StatusCode::Unsupported,
          name, ": a kind of JPEG that is not read (", failure.message,
          "); save it again as a plain one, or leave it out");
    check(result == Result::Done, StatusCode::Corrupt, name, ": a broken picture (",
          result == Result::OtherSize ? "it contradicts its own size" : failure.message,
          "); get the file again, or leave it out");
    return image;
}

}  // namespace nearcell
