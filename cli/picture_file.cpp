#include "picture_file.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include <nearcell/core/error.h>

#include "files.h"

extern char** environ;

namespace nearcell::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConverter = "rsvg-convert";

bool is_installed(const char* program) {
    const char* path = std::getenv("PATH");
    std::istringstream folders(path != nullptr ? path : "");
    for (std::string folder; std::getline(folders, folder, ':');) {
        if (access((folder + "/" + program).c_str(), X_OK) == 0) return true;
    }
    return false;
}

// A new empty directory that goes away with everything in it.
class TemporaryDirectory {
   public:
    TemporaryDirectory() {
        std::string name = (fs::temp_directory_path() / "nearcell-").string();
        name.append(6, 'X');  // what mkdtemp replaces
        check(mkdtemp(name.data()) != nullptr, StatusCode::Io, "cannot make the directory ", name,
              ": ", std::strerror(errno));
        path_ = name;
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    std::string file(const char* name) const { return (path_ / name).string(); }

   private:
    fs::path path_;
};

void run_converter(const std::string& svg, const std::string& png) {
    std::array<std::string, 5> words = {kConverter, "--format=png", "--output", png, svg};
    std::array<char*, 6> arguments = {words[0].data(), words[1].data(), words[2].data(),
                                      words[3].data(), words[4].data(), nullptr};
    pid_t child = 0;
    const int error = posix_spawnp(&child, kConverter, nullptr, nullptr, arguments.data(), environ);
    check(error == 0, StatusCode::Io, "cannot start ", kConverter, ": ", std::strerror(error));
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, StatusCode::Io, kConverter,
          " failed; ask for a .svg instead");
}

std::string png_from_svg(const std::string& svg) {
    const TemporaryDirectory directory;
    std::ofstream(directory.file("plot.svg"), std::ios::binary) << svg;
    run_converter(directory.file("plot.svg"), directory.file("plot.png"));
    std::ifstream file(directory.file("plot.png"), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

void check_picture(const std::string& path) {
    check(path.ends_with(".svg") || path.ends_with(".png"), StatusCode::InvalidArgument, "--plot ",
          path, " must end in .svg or .png");
    check(path.ends_with(".svg") || is_installed(kConverter), StatusCode::Unsupported, "--plot ",
          path, " needs ", kConverter, ": install the package librsvg2-bin, or name a .svg");
    check_output(path);
}

void save_picture(const std::string& path, const std::string& svg) {
    save_text(path, path.ends_with(".png") ? png_from_svg(svg) : svg);
}

}  // namespace nearcell::cli
