#include <nearcell/index/tune.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

// What a candidate costs, in scanned codes: it must pass the threshold and be kept, its row lies
// anywhere in memory, and it is multiplied alone, while a scanned code shares all that with its
// neighbours and other queries. Measured by bench/rerank_cost.py, photo-sift-200k: 60 to 77 on
// AVX-512 (PQ16, PQ32x4fs, RaBitQ with RFlat; PQ16 with Refine(SQfp16)), 71 to 81 with RFlat on
// AVX2.
constexpr double kRerankWork = 80;
// And what one more cell does, its vectors not counted: its centroid is ranked, the cell is looked
// up. Measured on photo-sift-200k with AMX, 1,024 cells, by a script that was not kept: 14 codes
// one by one, 70 in batches.
constexpr double kProbeWork = 40;
// A cutoff is tried where there are so many times the probes that do without, and taken where the
// work is less than this part of theirs.
constexpr double kMoreProbes = 1.5;
constexpr double kWorthACutoff = 0.97;
constexpr float kLeastCutoff = 0.1f, kLargestCutoff = 3.0f;
constexpr int kCutoffSteps = 6;
constexpr float kNoCutoff = std::numeric_limits<float>::infinity();
constexpr size_t kDeepest = 64;       // deepest re-ranking tried, times k...
constexpr size_t kMostRerank = 4096;  // ...unless that is more than this
constexpr size_t kManyQueries = 100;  // from here on the target includes the sampling error
constexpr size_t kProbeSteps = 16;    // probes are settled to one part in so many

std::vector<int64_t> real_ids(const int64_t* ids, size_t count) {
    std::vector<int64_t> real;
    std::copy_if(ids, ids + count, std::back_inserter(real), [](int64_t id) { return id >= 0; });
    std::sort(real.begin(), real.end());
    real.erase(std::unique(real.begin(), real.end()), real.end());
    return real;
}

struct Trial {
    OperatingPoint point;
    double work = 0;  // a query, in scanned codes
};

class Tuner {
   public:
    Tuner(const CellIndex& index, const Vectors& queries, MatrixView<const int64_t> truth,
          const TuneOptions& options)
        : index_(index), queries_(queries), truth_(truth), options_(options) {
        // A query's neighbours are found or missed together: it counts as one draw.
        const double r = options.recall, n = static_cast<double>(queries.rows);
        goal_ = queries.rows > kManyQueries ? r + std::sqrt(r * (1 - r) / n) : r;
    }

    TuneResult tune() {
        bool found = search();
        if (!found && by_bound_) {  // bounds fail for a few in a hundred: a number of candidates
            by_bound_ = false;
            found = search();
        }
        if (!found) {  // no setting reaches the goal: the cheapest that equals the best one will
                       // do
            goal_ = best_recall();
            search();
        }
        TuneResult result;
        result.chosen = cheapest().point;
        const std::optional<OperatingPoint> cut =
            found ? with_cutoff(cheapest()) : std::optional<OperatingPoint>();
        if (cut) result.chosen = *cut;
        result.reached = result.chosen.recall >= options_.recall;
        for (const Trial& trial : trials_)
            result.tried.push_back(trial.point);
        result.pareto = pareto();
        return result;
    }

   private:
    // Runs the trials that find the cheapest setting, deepest re-ranking first: a shallower one
    // needs at least as many probes. Returns whether any setting reaches the goal.
    bool search() {
        double least_work = std::numeric_limits<double>::infinity();
        size_t probes = 1;
        for (const size_t depth : depths()) {
            const std::optional<size_t> enough = least_probes(depth, probes, least_work);
            if (!enough) break;
            probes = *enough;
            least_work = std::min(least_work, run(probes, depth).work);
        }
        return std::isfinite(least_work);
    }

    std::vector<size_t> depths() const {
        if (!index_.options().rerank || by_bound_) return {0};
        const size_t k = options_.k;
        const size_t most = std::max(k, std::min({k * kDeepest, kMostRerank, index_.size()}));
        std::vector<size_t> depths;
        for (size_t depth = k; depth < most; depth *= 2)
            depths.push_back(depth);
        depths.push_back(most);
        std::reverse(depths.begin(), depths.end());
        return depths;
    }

    // The fewest probes, from `first` on, that reach the goal with at most this work: doubled until
    // they do, then halved in. Where doubling gains nothing, all cells say whether it ever will.
    std::optional<size_t> least_probes(size_t depth, size_t first, double most_work) {
        const size_t all = index_.options().cells;
        size_t probes = first, too_few = first - 1, idle = 0;
        double previous = -1;
        for (;; probes = std::min(2 * probes, all)) {
            const Trial trial = run(probes, depth);
            if (trial.work >= most_work) return std::nullopt;
            if (trial.point.recall >= goal_) break;
            idle = trial.point.recall > previous ? 0 : idle + 1;
            if (probes == all) return std::nullopt;
            if (idle == 2 && run(all, depth).point.recall < goal_) return std::nullopt;
            previous = trial.point.recall;
            too_few = probes;
        }
        while (probes - too_few > std::max<size_t>(1, probes / kProbeSteps)) {
            const size_t middle = too_few + (probes - too_few) / 2;
            (run(middle, depth).point.recall >= goal_ ? probes : too_few) = middle;
        }
        return probes;
    }

    // More probes than the best setting without a cutoff has, and the least cutoff that reaches the
    // goal with them, where that is less work.
    std::optional<OperatingPoint> with_cutoff(const Trial best) {
        const bool distances = index_.metric() == Metric::L2 || index_.metric() == Metric::Cosine;
        const size_t probes =
            std::min(static_cast<size_t>(kMoreProbes * static_cast<double>(best.point.probes)),
                     index_.options().cells);
        if (!distances || best.point.probes == 1 || probes == best.point.probes) return {};
        std::optional<OperatingPoint> found;
        double low = std::log(kLeastCutoff), high = std::log(kLargestCutoff);
        for (int step = 0; step < kCutoffSteps; ++step) {
            const double middle = (low + high) / 2;
            const Trial trial =
                run(probes, best.point.rerank, static_cast<float>(std::exp(middle)));
            const bool reached = trial.point.recall >= goal_;
            (reached ? high : low) = middle;
            if (reached && trial.work <= kWorthACutoff * best.work) found = trial.point;
        }
        return found;
    }

    Trial run(size_t probes, size_t depth, float cutoff = kNoCutoff) {
        for (const Trial& trial : trials_) {
            if (trial.point.probes == probes && trial.point.rerank == depth &&
                trial.point.cutoff == cutoff)
                return trial;
        }
        SearchOptions search;
        search.k = options_.k;
        search.probes = probes;
        search.rerank = depth != 0 ? depth : SearchOptions::kNoDepth;  // whatever the defaults are
        search.cutoff = cutoff;
        search.threads = options_.threads;
        search.progress = [this](std::string_view, double done, double total) {
            const double runs = static_cast<double>(trials_.size());
            const double expected = 2 * std::log2(static_cast<double>(index_.options().cells)) + 8;
            report(options_.progress, "tune", runs + done / std::max(total, 1.0),
                   std::max(expected, runs + 1));
            return true;
        };
        const auto start = std::chrono::steady_clock::now();
        const SearchResult result = index_.search(queries_, search);
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        const double n = static_cast<double>(queries_.rows);
        Trial trial;
        trial.point = {probes, depth, cutoff, recall_at(result, truth_, options_.k),
                       n / seconds.count()};
        trial.work = static_cast<double>(result.stats.scanned) / n +
                     kRerankWork * static_cast<double>(depth) +
                     kProbeWork * static_cast<double>(probes);
        trials_.push_back(trial);
        return trial;
    }

    double best_recall() const {
        double best = 0;
        for (const Trial& trial : trials_)
            best = std::max(best, trial.point.recall);
        return best;
    }

    const Trial& cheapest() const {
        const Trial* chosen = nullptr;
        for (const Trial& trial : trials_) {
            if (trial.point.recall < goal_) continue;
            if (chosen == nullptr || trial.work < chosen->work) chosen = &trial;
        }
        return *chosen;  // search() has left one that reaches the goal
    }

    std::vector<OperatingPoint> pareto() const {
        std::vector<OperatingPoint> points;
        for (const Trial& trial : trials_)
            points.push_back(trial.point);
        // Best recall first, the faster of equals first: a point stays if it is faster than all
        // before it.
        std::stable_sort(points.begin(), points.end(), [](const auto& a, const auto& b) {
            return a.recall > b.recall ||
                   (a.recall == b.recall && a.queries_per_second > b.queries_per_second);
        });
        double fastest = 0;
        std::vector<OperatingPoint> kept;
        for (const OperatingPoint& point : points) {
            if (point.queries_per_second <= fastest) continue;
            fastest = point.queries_per_second;
            kept.push_back(point);
        }
        std::reverse(kept.begin(), kept.end());
        return kept;
    }

    const CellIndex& index_;
    const Vectors& queries_;
    MatrixView<const int64_t> truth_;
    const TuneOptions& options_;
    double goal_ = 0;
    bool by_bound_ = index_.reranks_by_bound();
    std::vector<Trial> trials_;
};

}  // namespace

double recall_at(const SearchResult& result, MatrixView<const int64_t> truth, size_t k) {
    check(k >= 1, StatusCode::InvalidArgument, "k = 0: measure recall of at least one neighbour");
    check(result.k >= k, StatusCode::InvalidArgument, "recall@", k, " needs ", k,
          " results a query, but the search returned ", result.k, ": search with k = ", k);
    check(truth.rows == result.queries, StatusCode::InvalidArgument, "truth has ", truth.rows,
          " rows, but there are ", result.queries, " queries: pass one row a query");
    check(truth.cols >= k, StatusCode::InvalidArgument, "truth has ", truth.cols,
          " columns, fewer than k = ", k, ": pass k true neighbours a query");
    size_t found = 0, total = 0;
    for (size_t q = 0; q < result.queries; ++q) {
        const std::vector<int64_t> expected = real_ids(truth.row(q), k);
        const std::vector<int64_t> returned = real_ids(result.ids.data() + q * result.k, k);
        std::vector<int64_t> common;
        std::set_intersection(expected.begin(), expected.end(), returned.begin(), returned.end(),
                              std::back_inserter(common));
        found += common.size();
        total += expected.size();
    }
    return total == 0 ? 1.0 : static_cast<double>(found) / static_cast<double>(total);
}

TuneResult tune(CellIndex& index, const Vectors& queries, MatrixView<const int64_t> truth,
                const TuneOptions& options) {
    check(options.recall > 0 && options.recall <= 1, StatusCode::InvalidArgument,
          "recall = ", options.recall, " is outside (0, 1]: pass a share such as 0.95");
    check(options.k >= 1, StatusCode::InvalidArgument, "k = 0: tune for at least one neighbour");
    check(queries.rows >= 1, StatusCode::InvalidArgument,
          "queries has no rows: tuning needs some, at best 1,000 or more");
    check(truth.rows == queries.rows, StatusCode::InvalidArgument, "truth has ", truth.rows,
          " rows, but there are ", queries.rows, " queries: pass one row a query");
    check(truth.cols >= options.k, StatusCode::InvalidArgument, "truth has ", truth.cols,
          " columns, fewer than k = ", options.k, ": pass k true neighbours a query");
    check(index.size() > 0, StatusCode::InvalidArgument,
          "the index has no vectors: add some before tuning");
    bool says_something = false;
    for (size_t q = 0; q < truth.rows && !says_something; ++q)
        says_something = !real_ids(truth.row(q), options.k).empty();
    check(says_something, StatusCode::InvalidArgument, "truth has no id among the first ",
          options.k, " of any row: pass what exact_search() found among the index's vectors");
    TuneResult result = Tuner(index, queries, truth, options).tune();
    if (result.chosen.recall > 0)  // else nothing says that these are better
        index.set_defaults(result.chosen.probes, result.chosen.rerank, result.chosen.cutoff);
    return result;
}

}  // namespace nearcell
