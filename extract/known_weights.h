// Weights of the known models (extract/models.h), where nobody names a file: MODEL.safetensors in
// the folder $NEARCELL_WEIGHTS, otherwise in nearcell/ of the user's cache folder. A file found
// there must be one whose SHA-256 is known, where the model has such; a file that the user names is
// taken as it is. Cost: opening reads the file once, and once more where it is hashed. Thread safe
// as long as nobody changes the environment.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nearcell/extract/safetensors.h>

namespace nearcell {

// Where the model's file is looked for, whether it is there or not. Throws InvalidArgument for an
// unknown model, NotFound when the environment names no folder at all.
std::string weights_path(std::string_view model);

// The same, of a file that is there. Throws NotFound naming the path and how to make the file.
std::string find_weights(std::string_view model);

// Opens the file that the user named; where there is none the one that find_weights finds, after
// comparing its SHA-256. Throws what these and Weights::open throw, Corrupt for another digest.
Weights open_weights(std::string_view model, const std::optional<std::string>& path = {});

}  // namespace nearcell
