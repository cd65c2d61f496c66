// ScratchDir: a directory of a test's own, removed with all it holds; and whole files as bytes.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <nearcell/core/error.h>

namespace nearcell {

class ScratchDir {
   public:
    ScratchDir() {
        std::string name = (std::filesystem::temp_directory_path() / "nearcell_test_").string();
        name.append(6, 'X');  // what mkdtemp replaces
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
        path_ = name;
    }
    ~ScratchDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    ScratchDir(const ScratchDir&) = delete;
    ScratchDir& operator=(const ScratchDir&) = delete;

    std::string file(const std::string& name) const { return (path_ / name).string(); }
    const std::filesystem::path& path() const { return path_; }
    size_t entries() const {
        size_t count = 0;
        for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_))
            ++count;
        return count;
    }

   private:
    std::filesystem::path path_;
};

inline std::vector<uint8_t> file_bytes(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    return {text.begin(), text.end()};
}

inline void put_bytes(const std::string& path, const std::vector<uint8_t>& bytes) {
    std::filesystem::remove(path);  // some file systems flush a file that is cut short: slow
    std::ofstream out(path, std::ios::binary);
    const std::string text(bytes.begin(), bytes.end());
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
}

// The Error that `call` throws, or one with an empty message when it throws none.
template <class Call>
Error error_of(Call&& call) {
    try {
        call();
    } catch (const Error& error) {
        return error;
    }
    return Error(StatusCode::Cancelled, "");
}

}  // namespace nearcell
