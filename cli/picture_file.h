// PictureFile: an SVG text as a .svg file, or as a .png made of it by rsvg-convert when that
// program is installed. Files appear complete or not at all.
#pragma once

#include <string>

namespace nearcell::cli {

// Before the work begins: throws InvalidArgument for another suffix, Unsupported naming the package
// to install when .png is asked for without rsvg-convert, Io when the file cannot be made.
void check_picture(const std::string& path);
void save_picture(const std::string& path, const std::string& svg);

}  // namespace nearcell::cli
