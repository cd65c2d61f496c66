#include "recall_curve.h"

#include <algorithm>
#include <string>

#include <nearcell/index/tune.h>

#include "interrupt.h"
#include "stopwatch.h"

namespace nearcell::cli {
namespace {

constexpr int kRuns = 3;
constexpr double kEnoughSeconds = 0.5;  // in runs of one setting
constexpr double kSmallestGain = 5e-5;  // in recall, for twice the probes

// 1, 2, 4, ... and all cells.
std::vector<size_t> probe_steps(size_t cells) {
    std::vector<size_t> steps;
    for (size_t probes = 1; probes < cells; probes *= 2)
        steps.push_back(probes);
    steps.push_back(std::max<size_t>(1, cells));
    return steps;
}

// Without a second copy of the vectors there is nothing to re-rank with; codes with bounds decide
// themselves.
std::vector<size_t> rerank_steps(const CellIndex& index, size_t k) {
    if (!index.options().rerank || index.reranks_by_bound()) return {0};
    return {k, 4 * k, 16 * k};
}

void mark_pareto(std::vector<CurvePoint>& points) {
    const auto beats = [](const CurvePoint& a, const CurvePoint& b) {
        const double recall = a.recalls.back() - b.recalls.back();
        const double speed = a.queries_per_second - b.queries_per_second;
        return recall >= 0 && speed >= 0 && (recall > 0 || speed > 0);
    };
    for (CurvePoint& point : points) {
        point.pareto = std::none_of(points.begin(), points.end(),
                                    [&](const CurvePoint& other) { return beats(other, point); });
    }
}

}  // namespace

std::vector<size_t> recall_depths(size_t k) {
    std::vector<size_t> depths;
    for (size_t depth : {size_t{1}, size_t{10}, size_t{100}}) {
        if (depth < k) depths.push_back(depth);
    }
    depths.push_back(k);
    return depths;
}

CurvePoint measure(const RecallQuestion& question, size_t probes, size_t rerank) {
    SearchOptions search;
    search.k = question.k;
    search.probes = probes;
    search.rerank = rerank;
    search.threads = question.threads;
    search.progress = question.progress;
    CurvePoint point;
    const Stopwatch total;
    double best = 0;
    for (int run = 0; run < kRuns && (run == 0 || total.seconds() < kEnoughSeconds); ++run) {
        check_interrupted();
        const Stopwatch watch;
        const SearchResult result = question.index.search(question.queries, search);
        const double seconds = watch.seconds();
        if (run == 0 || seconds < best) best = seconds;
        if (run > 0) continue;
        for (size_t depth : question.depths) {
            point.recalls.push_back(recall_at(result, question.truth, depth));
        }
        const auto queries = static_cast<double>(std::max<size_t>(1, result.queries));
        point.probes = result.stats.probes;
        point.rerank = result.stats.rerank;
        point.scanned_per_query = static_cast<double>(result.stats.scanned) / queries;
    }
    point.queries_per_second = static_cast<double>(question.queries.rows) / std::max(best, 1e-9);
    return point;
}

std::vector<CurvePoint> sweep(const RecallQuestion& question) {
    const std::vector<size_t> probes = probe_steps(question.index.stats().cells);
    const std::vector<size_t> reranks = rerank_steps(question.index, question.k);
    const auto total = static_cast<double>(probes.size() * reranks.size());
    RecallQuestion quiet = question;  // the bar counts settings, not what happens in each
    double done = 0;
    quiet.progress = [&](std::string_view, double, double) {
        return !question.progress || question.progress("sweep", done, total);
    };
    std::vector<CurvePoint> points;
    for (size_t line = 0; line < reranks.size(); ++line) {
        double last = -1;
        for (size_t step = 0; step < probes.size(); ++step) {
            done = static_cast<double>(line * probes.size() + step);
            report(question.progress, "sweep", done, total);
            points.push_back(measure(quiet, probes[step], reranks[line]));
            const double recall = points.back().recalls.back();
            // Recall may pause between steps as long as it is low.
            if (recall >= 1 || (recall > 0.5 && recall - last < kSmallestGain)) break;
            last = recall;
        }
    }
    report(question.progress, "sweep", total, total);
    mark_pareto(points);
    return points;
}

}  // namespace nearcell::cli
