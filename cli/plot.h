// Plot: recall against queries per second as an SVG picture, written by our own few lines so that
// it works on a bare machine. The points that no other beats are joined and carry their probes.
#pragma once

#include <string>
#include <vector>

#include "recall_curve.h"

namespace nearcell::cli {

std::string draw_plot(const std::string& title, const std::vector<CurvePoint>& points, size_t k);

}  // namespace nearcell::cli
