// ContactSheet: queries with their neighbours as small pictures, for people to judge a search by.
// It is filled once; contact_html.h and contact_png.h show it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/core/progress.h>

namespace nearcell::cli {

constexpr size_t kThumbnailSide = 192;
// A sheet of so many is some 100 MB: nobody looks at more.
constexpr size_t kMostOnSheet = 10'000;

// Kept as JPEG, which takes a tenth of the memory.
struct Thumbnail {
    size_t width = 0, height = 0;  // the longer is kThumbnailSide, unless the picture is smaller
    std::vector<uint8_t> jpeg;
};

struct SheetPicture {
    std::string path;
    std::string name;  // the path without the folders that all have in common
    Thumbnail thumbnail;
    std::string reason;  // why it cannot be read any more: then it is blank
};

struct SheetNeighbor {
    size_t picture = 0;  // of ContactSheet::pictures
    std::string score;
};

struct SheetQuery {
    size_t picture = 0;
    std::vector<SheetNeighbor> neighbors;  // nearest first
};

struct ContactSheet {
    std::string title, score_words;
    std::vector<std::pair<std::string, std::string>> facts;
    std::vector<std::string> left_out;  // one reason a picture
    std::vector<SheetPicture> pictures;
    std::vector<SheetQuery> queries;
};

// Throws InvalidArgument when so many queries with so many neighbours are too much for one sheet.
void check_sheet_size(size_t queries, size_t neighbors);

// Pictures of these paths, each with its thumbnail, decoded on all threads. Throws as read_image
// does, and Cancelled.
std::vector<SheetPicture> sheet_pictures(std::span<const std::string> paths, int threads,
                                         const Progress& progress);

}  // namespace nearcell::cli
