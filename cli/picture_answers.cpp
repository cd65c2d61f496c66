#include "picture_answers.h"

#include <algorithm>
#include <cstdio>
#include <unordered_map>
#include <utility>

#include "number_text.h"

namespace nearcell::cli {
namespace {

// Some rows, evenly over all.
std::vector<size_t> even_rows(size_t rows, size_t count) {
    std::vector<size_t> chosen(std::min(rows, count));
    for (size_t i = 0; i < chosen.size(); ++i)
        chosen[i] = i * rows / chosen.size();
    return chosen;
}

std::string score_text(Metric metric, float score) {
    if (metric == Metric::Cosine) return fixed_text(static_cast<double>(score), 3);
    char text[32];
    std::snprintf(text, sizeof text, "%#.4g", static_cast<double>(score));
    return text;
}

std::string score_words(Metric metric) {
    switch (metric) {
        case Metric::L2: return "squared distance; 0 is the same picture";
        case Metric::L1: return "sum of absolute differences; 0 is the same picture";
        case Metric::InnerProduct: return "inner product; the more, the nearer";
        case Metric::Cosine: return "cosine; 1 is the same picture";
    }
    return "";
}

}  // namespace

PictureAnswers ask(const PictureIndex& index, const PictureFeatures& base,
                   const PictureFeatures& asked, const PictureQuestion& question,
                   Session& session) {
    PictureAnswers answers;
    for (size_t i = 0; i < asked.count(); ++i)
        answers.queries.push_back(asked.path(i));
    std::vector<size_t> rows;
    std::vector<float> chosen;
    MatrixView<const float> queries = asked.view();
    if (asked.count() == 0) {
        rows = even_rows(base.count(), question.sample);
        for (const size_t row : rows) {
            answers.queries.push_back(base.path(row));
            const float* from = base.view().row(row);
            chosen.insert(chosen.end(), from, from + base.dim);
        }
        queries = {chosen.data(), rows.size(), base.dim};
    }
    answers.neighbors = index.search(queries, rows, question.k, question.probes, session);
    return answers;
}

void report_answers(const PictureAnswers& answers, const PictureFeatures& base, Metric metric,
                    bool as_text, Session& session) {
    Json list = Json::array();
    Table table(
        {{"query", Table::Align::Left}, {"rank"}, {"score"}, {"picture", Table::Align::Left}});
    for (size_t q = 0; q < answers.queries.size(); ++q) {
        Json neighbors = Json::array();
        for (size_t i = 0; i < answers.neighbors[q].size(); ++i) {
            const auto [row, score] = answers.neighbors[q][i];
            neighbors.push_back({{"id", row}, {"score", score}, {"picture", base.path(row)}});
            table.add_row({i == 0 ? answers.queries[q] : "", std::to_string(i + 1),
                           score_text(metric, score), base.path(row)});
        }
        list.push_back({{"query", answers.queries[q]}, {"neighbors", std::move(neighbors)}});
    }
    session.detail("neighbors", std::move(list));
    if (as_text) session.text(table.text());
}

ContactSheet sheet_of(const PictureAnswers& answers, const PictureFeatures& base, Metric metric,
                      Session& session) {
    ContactSheet sheet;
    std::vector<std::string> paths;
    std::unordered_map<std::string, size_t> numbers;
    const auto number = [&](const std::string& path) {
        const auto [at, is_new] = numbers.try_emplace(path, paths.size());
        if (is_new) paths.push_back(path);
        return at->second;
    };
    for (size_t q = 0; q < answers.queries.size(); ++q) {
        SheetQuery query{number(answers.queries[q]), {}};
        for (const auto& [row, score] : answers.neighbors[q])
            query.neighbors.push_back({number(base.path(row)), score_text(metric, score)});
        sheet.queries.push_back(std::move(query));
    }
    sheet.pictures = sheet_pictures(paths, session.threads(), session.progress());
    for (const SheetPicture& picture : sheet.pictures) {
        if (!picture.reason.empty()) session.warn("shown blank: " + picture.reason);
    }
    sheet.score_words = score_words(metric);
    return sheet;
}

}  // namespace nearcell::cli
