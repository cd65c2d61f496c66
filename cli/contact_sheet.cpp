#include "contact_sheet.h"

#include <algorithm>
#include <cmath>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/extract/image_write.h>
#include <nearcell/extract/resize.h>

namespace nearcell::cli {
namespace {

constexpr int kQuality = 88;
constexpr size_t kPicturesAtOnce = 64;

Thumbnail make_thumbnail(const Image& image) {
    const size_t longer = std::max(image.width, image.height);
    Thumbnail thumbnail;
    if (longer <= kThumbnailSide) {
        thumbnail = {image.width, image.height, encode_jpeg(image, kQuality)};
        return thumbnail;
    }
    const auto scaled = [&](size_t side) {
        const double exact =
            static_cast<double>(side * kThumbnailSide) / static_cast<double>(longer);
        return std::max<size_t>(1, static_cast<size_t>(std::lround(exact)));
    };
    thumbnail.width = scaled(image.width);
    thumbnail.height = scaled(image.height);
    thumbnail.jpeg = encode_jpeg(resize(image, {thumbnail.width, thumbnail.height}), kQuality);
    return thumbnail;
}

// How many bytes of every path are folders that all have in common.
size_t common_folders(std::span<const std::string> paths) {
    if (paths.empty()) return 0;
    size_t same = paths[0].size();
    for (const std::string& path : paths) {
        const auto first = paths[0].begin();
        const auto last = first + static_cast<ptrdiff_t>(std::min(same, path.size()));
        same = static_cast<size_t>(std::mismatch(first, last, path.begin()).first - first);
    }
    const size_t slash = paths[0].substr(0, same).rfind('/');
    return slash == std::string::npos ? 0 : slash + 1;
}

// A picture may be gone by now, and the work is done.
SheetPicture picture_of(const std::string& path, const std::string& name) {
    try {
        return {path, name, make_thumbnail(read_image(path)), ""};
    } catch (const Error& error) {
        Image blank(1, 1);
        blank.pixels.assign(kImageChannels, 255);
        return {path, name, make_thumbnail(blank), error.what()};
    }
}

}  // namespace

void check_sheet_size(size_t queries, size_t neighbors) {
    check(neighbors < kMostOnSheet && queries <= kMostOnSheet / (neighbors + 1),
          StatusCode::InvalidArgument, queries, " queries with ", neighbors,
          " neighbours are too much for one sheet, which shows ", kMostOnSheet,
          " pictures; ask with fewer --query or --sample, or for a smaller -n");
}

std::vector<SheetPicture> sheet_pictures(std::span<const std::string> paths, int threads,
                                         const Progress& progress) {
    const size_t common = common_folders(paths);
    std::vector<SheetPicture> pictures(paths.size());
    const auto total = static_cast<double>(paths.size());
    for (size_t first = 0; first < paths.size(); first += kPicturesAtOnce) {
        report(progress, "thumbnails", static_cast<double>(first), total);
        const size_t count = std::min(kPicturesAtOnce, paths.size() - first);
        parallel_for(count, threads, [&](size_t i, int) {
            const std::string& path = paths[first + i];
            pictures[first + i] = picture_of(path, path.substr(common));
        });
    }
    report(progress, "thumbnails", total, total);
    return pictures;
}

}  // namespace nearcell::cli
