#include "tuning.h"

#include <cmath>
#include <string>

#include "number_text.h"

namespace nearcell::cli {
namespace {

Json point_json(const OperatingPoint& point) {
    return {{"probes", point.probes},
            {"rerank", point.rerank},
            {"cutoff", cutoff_json(point.cutoff)},
            {"recall", point.recall},
            {"queries_per_second", point.queries_per_second}};
}

Json points_json(const std::vector<OperatingPoint>& points) {
    Json list = Json::array();
    for (const OperatingPoint& point : points)
        list.push_back(point_json(point));
    return list;
}

Table tried_table(const TuneResult& result, size_t k) {
    Table table({{"probes"},
                 {"rerank"},
                 {"cutoff"},
                 {"recall@" + std::to_string(k)},
                 {"queries/s"},
                 {"", Table::Align::Left}});
    for (const OperatingPoint& point : result.tried) {
        const bool chosen = point.probes == result.chosen.probes &&
                            point.rerank == result.chosen.rerank &&
                            point.cutoff == result.chosen.cutoff;
        table.add_row({grouped_text(point.probes), grouped_text(point.rerank),
                       cutoff_text(point.cutoff), fixed_text(point.recall, 4),
                       count_text(point.queries_per_second), chosen ? "chosen" : ""});
    }
    return table;
}

Json candidates_json(const SpecChoice& choice) {
    Json list = Json::array();
    for (const SpecTrial& trial : choice.tried) {
        const bool tried = trial.not_tried.empty();
        list.push_back(
            {{"spec", trial.spec},
             {"reached", trial.reached},
             {"recall", tried ? Json(trial.recall) : Json(nullptr)},
             {"queries_per_second", tried ? Json(trial.queries_per_second) : Json(nullptr)},
             {"bytes_per_vector", trial.bytes_per_vector},
             {"build_seconds", tried ? Json(trial.build_seconds) : Json(nullptr)},
             {"not_tried", tried ? Json(nullptr) : Json(trial.not_tried)}});
    }
    return list;
}

Table candidates_table(const SpecChoice& choice, size_t k) {
    Table table({{"candidate", Table::Align::Left},
                 {"recall@" + std::to_string(k)},
                 {"queries/s"},
                 {"bytes"},
                 {"build"},
                 {"", Table::Align::Left}});
    for (const SpecTrial& trial : choice.tried) {
        const bool tried = trial.not_tried.empty();
        table.add_row({trial.spec, tried ? fixed_text(trial.recall, 4) : "",
                       tried ? count_text(trial.queries_per_second) : "",
                       fixed_text(trial.bytes_per_vector, 0),
                       tried ? seconds_text(trial.build_seconds) : "",
                       trial.spec == choice.spec ? "chosen" : trial.not_tried});
    }
    return table;
}

}  // namespace

Json cutoff_json(float cutoff) { return std::isfinite(cutoff) ? Json(cutoff) : Json(nullptr); }

std::string cutoff_text(float cutoff) {
    return std::isfinite(cutoff) ? fixed_text(static_cast<double>(cutoff), 3) : "none";
}

void check_recall_target(double recall) {
    check(recall > 0 && recall <= 1, StatusCode::InvalidArgument, "recall ", recall,
          " must be in (0, 1]");
}

std::string choose_and_report(const Vectors& base, ChooseSpecOptions options, Session& session) {
    options.threads = session.threads();
    options.progress = session.progress();
    const SpecChoice choice = choose_spec(base, options);
    session.fact("rows_tried_on", choice.sample_rows);
    session.detail("candidates", candidates_json(choice));
    session.text(candidates_table(choice, options.k).text() + "\n");
    if (!choice.reached) {
        session.warn("no candidate that was tried reaches recall " + fixed_text(options.recall, 4) +
                     "; the nearest, " + choice.spec +
                     ", was taken. More --tune-seconds try more, --spec names another");
    }
    return choice.spec;
}

void tune_and_report(CellIndex& index, const Vectors& queries, const IdData& truth, double recall,
                     size_t k, Session& session) {
    TuneOptions options;
    options.recall = recall;
    options.k = k;
    options.threads = session.threads();
    options.progress = session.progress();
    const MatrixView<const int64_t> ids(truth.values.data(), truth.rows, truth.cols);
    const TuneResult result = tune(index, queries, ids, options);

    const OperatingPoint& chosen = result.chosen;
    session.fact("probes", chosen.probes);
    session.fact("rerank", chosen.rerank);
    session.fact("cutoff", cutoff_json(chosen.cutoff), cutoff_text(chosen.cutoff));
    session.fact("recall", chosen.recall, fixed_text(chosen.recall, 4));
    session.fact("queries_per_second", chosen.queries_per_second,
                 count_text(chosen.queries_per_second));
    session.detail("target", recall);
    session.detail("reached", result.reached);
    session.detail("tried", points_json(result.tried));
    session.detail("pareto", points_json(result.pareto));
    session.text(tried_table(result, k).text());
    if (result.reached) return;
    session.warn("no setting reaches recall " + fixed_text(recall, 4) + "; the best, " +
                 fixed_text(chosen.recall, 4) +
                 ", was kept. Longer codes or a re-rank store (\",RFlat\") give more");
}

}  // namespace nearcell::cli
