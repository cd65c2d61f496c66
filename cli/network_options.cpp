#include "network_options.h"

#include <CLI/CLI.hpp>
#include <utility>

#include <nearcell/extract/known_weights.h>
#include <nearcell/extract/picture_list.h>

namespace nearcell::cli {

void NetworkOptions::add_network(CLI::App& command) {
    command.add_option("-m,--model", model, "network")
        ->check(CLI::IsMember(model_names()))
        ->capture_default_str();
    command.add_option("--weights", weights,
                       "its weights, a safetensors file; else MODEL.safetensors in "
                       "$NEARCELL_WEIGHTS, or in nearcell/ of the user's cache folder");
    command.add_option("--tap", tap, "layer whose output is the feature; else the model's own");
}

void NetworkOptions::add_options(CLI::App& command, std::vector<std::string>& pictures) {
    command
        .add_option("PICTURES", pictures,
                    "folders, patterns, list files or pictures (JPEG, PNG, BMP)")
        ->required();
    add_network(command);
    command.add_option("--denoise", denoise, "noise reduction before resizing")
        ->check(CLI::IsMember({"none", "median", "gaussian"}))
        ->capture_default_str();
    command.add_option("--sigma", sigma, "of --denoise gaussian, in pixels; else 1");
    command.add_flag("--strict", strict, "a picture that cannot be read is an error");
}

std::vector<std::string> NetworkOptions::inputs(std::vector<std::string> sources) const {
    sources.push_back(weights ? *weights : weights_path(model));
    return sources;
}

Extractor NetworkOptions::make_extractor(const std::string& device) const {
    Model network = model_by_name(model);
    set_denoise(network.preprocess, denoise, sigma);
    Extractor extractor(std::move(network), open_weights(model, weights), tap);
    extractor.to(device);
    return extractor;
}

std::vector<std::string> list_all_pictures(const std::vector<std::string>& sources,
                                           size_t* others) {
    std::vector<std::string> all;
    for (const std::string& source : sources) {
        size_t passed_over = 0;
        std::vector<std::string> found = list_pictures(source, &passed_over);
        if (others != nullptr) *others += passed_over;
        all.insert(all.end(), std::make_move_iterator(found.begin()),
                   std::make_move_iterator(found.end()));
    }
    return all;
}

Json report_skipped(std::span<const std::string> pictures, std::span<const SkippedPicture> skipped,
                    Session& session) {
    Json list = Json::array();
    for (const SkippedPicture& one : skipped) {
        list.push_back({{"picture", pictures[one.number]}, {"reason", one.reason}});
        session.warn("left out: " + one.reason);
    }
    check(skipped.size() < pictures.size(), StatusCode::Corrupt, "none of ", pictures.size(),
          " pictures could be read; the first: ", skipped.empty() ? "" : skipped[0].reason);
    return list;
}

}  // namespace nearcell::cli
