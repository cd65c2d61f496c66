// PictureFeatures: the features of pictures in memory, for `nearcell images`.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <nearcell/core/matrix_view.h>

#include "network_options.h"

namespace nearcell::cli {

struct PictureFeatures {
    std::vector<std::string> listed;
    std::vector<size_t> rows;  // row i is of listed[rows[i]]
    std::vector<float> values;
    size_t dim = 0;
    Json skipped = Json::array();

    size_t count() const { return rows.size(); }
    const std::string& path(size_t row) const { return listed[rows[row]]; }
    MatrixView<const float> view() const { return {values.data(), count(), dim}; }
};

// Throws as Extractor::extract and report_skipped do, and NonFinite.
PictureFeatures extract_features(const Extractor& extractor, std::vector<std::string> pictures,
                                 bool strict, Session& session);

}  // namespace nearcell::cli
