// PictureAnswers: the queries of `nearcell images` with the neighbours found, by paths; how they
// are told, and how they get onto a contact sheet.
#pragma once

#include <string>
#include <vector>

#include "contact_sheet.h"
#include "picture_features.h"
#include "picture_index.h"

namespace nearcell::cli {

struct PictureAnswers {
    std::vector<std::string> queries;
    std::vector<std::vector<FoundNeighbor>> neighbors;  // of each query; rows of the collection
};

struct PictureQuestion {
    size_t k = 10;
    size_t sample = 8;  // pictures of the collection that are queries when there are no others
    size_t probes = 0;
};

// Asks for `asked`, or when that has none for some pictures of `base`, evenly chosen, which are
// left out of their own neighbours.
PictureAnswers ask(const PictureIndex& index, const PictureFeatures& base,
                   const PictureFeatures& asked, const PictureQuestion& question, Session& session);

// Into the JSON object, and with `as_text` as a table for people.
void report_answers(const PictureAnswers& answers, const PictureFeatures& base, Metric metric,
                    bool as_text, Session& session);

// Queries, neighbours and thumbnails; title and facts are the caller's.
ContactSheet sheet_of(const PictureAnswers& answers, const PictureFeatures& base, Metric metric,
                      Session& session);

}  // namespace nearcell::cli
