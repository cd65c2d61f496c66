// What every codec asks of parameters that come from a file: the right number, all finite.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>

#include <nearcell/core/error.h>

namespace nearcell {

inline void check_parameters(std::span<const float> parameters, size_t expected,
                             std::string_view codec) {
    check(parameters.size() == expected, StatusCode::Corrupt, codec, " has ", expected,
          " parameters, but ", parameters.size(), " were given");
    for (size_t i = 0; i < parameters.size(); ++i) {
        check(std::isfinite(parameters[i]), StatusCode::Corrupt, "parameter ", i, " of ", codec,
              " is NaN or infinite");
    }
}

}  // namespace nearcell
