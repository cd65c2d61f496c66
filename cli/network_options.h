// NetworkOptions: what the commands over pictures share: which pictures, which network with which
// weights, what the network is fed, and what is said of pictures that could not be read.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nearcell/extract/extractor.h>

#include "session.h"

namespace nearcell::cli {

struct NetworkOptions {
    std::string model = "efficientnet-lite0", tap, denoise = "none";
    std::optional<std::string> weights;  // else they are looked for
    std::optional<double> sigma;
    bool strict = false;

    // PICTURES, kept in `pictures`, and all of these; or only which network.
    void add_options(CLI::App& command, std::vector<std::string>& pictures);
    void add_network(CLI::App& command);
    // What is read to list and to compute: these sources, which may be list files, and the weights.
    std::vector<std::string> inputs(std::vector<std::string> sources) const;
    // Throws what reading the weights does, and InvalidArgument naming the option at fault.
    Extractor make_extractor(const std::string& device = "cpu") const;
};

// The pictures of folders, patterns, list files and single pictures, one source after the other.
// `others` grows by the files that were passed over for their suffixes.
std::vector<std::string> list_all_pictures(const std::vector<std::string>& sources,
                                           size_t* others = nullptr);

// Warns of each picture that was left out. Returns the list for JSON. Throws Corrupt with the first
// reason when no picture is left.
Json report_skipped(std::span<const std::string> pictures, std::span<const SkippedPicture> skipped,
                    Session& session);

}  // namespace nearcell::cli
