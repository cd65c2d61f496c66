#include <nearcell/index/choose_spec.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ios>
#include <iterator>
#include <limits>
#include <memory>
#include <numeric>
#include <sstream>
#include <string_view>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/index/exact_search.h>
#include <nearcell/index/factory.h>
#include <nearcell/index/held_out.h>
#include <nearcell/index/tune.h>

namespace nearcell {
namespace {

// Most promising first. What the metric cannot do drops out by itself.
struct Candidate {
    std::string_view code;
    double rows_per_cell;                                   // 0: no cells
    size_t most_rows = std::numeric_limits<size_t>::max();  // of base
};
constexpr Candidate kCandidates[] = {
    {"Flat", 0, 10000}, {"SQ8nr", 300}, {"RaBitQ,Refine(SQ8)", 150},
    {"SQ8", 300},       {"Flat", 300},  {"RaBitQ4", 150},  // for those who have no room
};
constexpr double kMostCells = 4;  // times the root of the rows; at least once the root

constexpr size_t kFirstRows = 20000;  // the sample that tells how long a candidate takes...
constexpr double kGrowth = 1.5;       // ...which grows with this power of the rows at most
constexpr double kWorthMore = 2;      // and is drawn again where so many times the rows fit
constexpr double kHopeless = 0.5;     // slower than this part of the fastest: measured once
constexpr double kAlike = 0.95;
constexpr int kRounds = 6;
constexpr double kLeastSeconds = 0.02;  // of one measurement

std::string spec_for(const Candidate& candidate, size_t rows) {
    if (candidate.rows_per_cell == 0) return std::string(candidate.code);
    const double n = static_cast<double>(rows), root = std::sqrt(n);
    const double cells = std::clamp(n / candidate.rows_per_cell, root, kMostCells * root);
    return "IVF" + std::to_string(static_cast<size_t>(cells)) + "," + std::string(candidate.code);
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

struct Contender {
    const Candidate* candidate;
    SpecTrial trial;
    std::unique_ptr<CellIndex> index;  // while it may win
    std::vector<double> speeds;
};

// Queries with their true neighbours among the sample.
struct Questions {
    VectorData rows;
    std::vector<int64_t> truth;

    MatrixView<const int64_t> ids(size_t k) const { return {truth.data(), rows.rows, k}; }
};

class Chooser {
   public:
    Chooser(const Vectors& base, const ChooseSpecOptions& options)
        : base_(base), options_(options) {
        list_contenders();
        std::vector<int64_t> asked;
        if (options.queries) {
            asked.resize(options.queries->rows);
            std::iota(asked.begin(), asked.end(), 0);
            rows_.resize(base.rows);
            std::iota(rows_.begin(), rows_.end(), 0);
        } else {
            HeldOut parts = hold_out(base.rows, options.seed);
            asked = std::move(parts.queries);
            rows_ = std::move(parts.rest);
        }
        const Vectors& from = options.queries ? *options.queries : base;
        asked = sample_rows(asked, std::min(kMostHeldOut, asked.size()), options.seed);
        const std::vector<int64_t> tuning = sample_rows(asked, asked.size() / 2, options.seed + 1);
        std::vector<int64_t> judging;
        std::set_difference(asked.begin(), asked.end(), tuning.begin(), tuning.end(),
                            std::back_inserter(judging));
        tuning_.rows = copy_rows(from, tuning);
        judging_.rows = copy_rows(from, judging);
    }

    SpecChoice choose() {
        const auto possible = [](const Contender& one) { return one.trial.not_tried.empty(); };
        const auto first = std::find_if(contenders_.begin(), contenders_.end(), possible);
        const auto count = std::count_if(contenders_.begin(), contenders_.end(), possible);
        const double began = elapsed();
        draw_sample(rows_.size() <= 2 * kFirstRows ? rows_.size() : kFirstRows);
        double longest = try_out(*first);
        const size_t fit = affordable_rows(elapsed() - began, static_cast<double>(count));
        if (fit > sample_.size()) {
            draw_sample(fit);
            longest = try_out(*first);
        }
        for (auto next = first + 1; next != contenders_.end(); ++next) {
            if (!possible(*next)) continue;
            if (elapsed() + longest > options_.seconds) {
                next->trial.not_tried = out_of_time(longest);
            } else {
                longest = std::max(longest, try_out(*next));
            }
        }
        measure_in_turn();
        return best();
    }

   private:
    double elapsed() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }

    // Those of the list that fit this base, with the reason for each that cannot be tried.
    void list_contenders() {
        const IndexOptions wanted{base_.cols, options_.metric, options_.seed};
        const double most = options_.max_bytes;
        double least = std::numeric_limits<double>::infinity();
        bool any = false;
        for (const Candidate& candidate : kCandidates) {
            if (base_.rows >= candidate.most_rows) continue;
            Contender one{&candidate, {}, nullptr, {}};
            one.trial.spec = spec_for(candidate, base_.rows);
            try {
                const double bytes = make_index(one.trial.spec, wanted)->stats().bytes_per_vector;
                one.trial.bytes_per_vector = bytes;
                least = std::min(least, bytes);
                if (most != 0 && bytes > most) one.trial.not_tried = "too many bytes a vector";
            } catch (const Error& error) {
                if (error.code() != StatusCode::Unsupported) throw;
                one.trial.not_tried = error.what();
            }
            any = any || one.trial.not_tried.empty();
            contenders_.push_back(std::move(one));
        }
        check(any, StatusCode::InvalidArgument, "max_bytes = ", most,
              " bytes a vector, its id included, is less than the smallest candidate needs, ",
              least, ": allow more, or build with a spec of shorter codes, such as PQ<M>");
    }

    void draw_sample(size_t count) {
        copy_ = {};
        sample_ = sample_rows(rows_, count, options_.seed + 2);
        // All of the caller's rows are used where they lie.
        const bool all = sample_.size() == base_.rows;
        if (!all) copy_ = copy_rows(base_, sample_);
        sampled_ = all ? base_ : copy_.view();
        for (Questions* part : {&tuning_, &judging_}) {
            part->truth = exact_search(sampled_, part->rows.view(), options_.metric, options_.k,
                                       options_.threads, progress())
                              .ids;
        }
    }

    // The rows that a candidate may have so that all of them fit into the time that is left.
    size_t affordable_rows(double first_seconds, double count) const {
        const double share = (options_.seconds - elapsed()) / (count * first_seconds);
        const double now = static_cast<double>(sample_.size());
        const double rows = now * std::pow(std::max(share, 0.0), 1 / kGrowth);
        if (rows < kWorthMore * now) return sample_.size();
        return static_cast<size_t>(std::min(rows, static_cast<double>(rows_.size())));
    }

    // Builds, tunes, measures once. Returns the seconds it took.
    double try_out(Contender& one) {
        const double began = elapsed();
        one.index.reset();
        one.speeds.clear();
        auto index = make_index(spec_for(*one.candidate, sample_.size()),
                                {base_.cols, options_.metric, options_.seed});
        index->train(sampled_, {options_.threads, progress()});
        index->add(sampled_, {}, {options_.threads, progress()});
        one.trial.build_seconds = elapsed() - began;
        const TuneResult tuned = tune(*index, tuning_.rows.view(), tuning_.ids(options_.k),
                                      {options_.recall, options_.k, options_.threads, progress()});
        one.index = std::move(index);
        one.trial.recall = recall_at(measure(one), judging_.ids(options_.k), options_.k);
        const double r = options_.recall, n = static_cast<double>(judging_.rows.rows);
        one.trial.reached = tuned.reached && one.trial.recall >= r - std::sqrt(r * (1 - r) / n);
        drop_hopeless();
        return elapsed() - began;
    }

    SearchResult measure(Contender& one) {
        SearchOptions search;
        search.k = options_.k;
        search.threads = options_.threads;
        search.progress = progress();
        const double began = elapsed();
        SearchResult found;
        double runs = 0, seconds = 0;
        while (seconds < kLeastSeconds) {
            found = one.index->search(judging_.rows.view(), search);
            ++runs;
            seconds = elapsed() - began;
        }
        one.speeds.push_back(runs * static_cast<double>(judging_.rows.rows) / seconds);
        one.trial.queries_per_second = median(one.speeds);
        return found;
    }

    double fastest() const {
        double speed = 0;
        for (const Contender& one : contenders_)
            if (one.trial.reached) speed = std::max(speed, one.trial.queries_per_second);
        return speed;
    }

    // Keeps the memory of those only that may win.
    void drop_hopeless() {
        const double enough = kHopeless * fastest();
        for (Contender& one : contenders_)
            if (!one.trial.reached || one.trial.queries_per_second < enough) one.index.reset();
    }

    // In rounds, so that what else the machine does is shared by all.
    void measure_in_turn() {
        for (int round = 0; round < kRounds; ++round) {
            if (round > 0 && elapsed() > options_.seconds) return;
            for (Contender& one : contenders_)
                if (one.index) measure(one);
        }
    }

    SpecChoice best() {
        const double enough = kAlike * fastest();
        // What is better comes first: bytes among the fast, recall where none reaches it.
        const Contender* chosen = nullptr;
        const auto better = [&](const Contender& a, const Contender& b) {
            if (a.trial.reached != b.trial.reached) return a.trial.reached;
            if (!a.trial.reached) return a.trial.recall > b.trial.recall;
            const bool fast = a.trial.queries_per_second >= enough;
            if (fast != (b.trial.queries_per_second >= enough)) return fast;
            if (fast && a.trial.bytes_per_vector != b.trial.bytes_per_vector)
                return a.trial.bytes_per_vector < b.trial.bytes_per_vector;
            return a.trial.queries_per_second > b.trial.queries_per_second;
        };
        for (const Contender& one : contenders_) {
            if (!one.trial.not_tried.empty()) continue;
            if (chosen == nullptr || better(one, *chosen)) chosen = &one;
        }
        SpecChoice choice;
        choice.spec = chosen->trial.spec;  // the first was tried
        choice.reached = chosen->trial.reached;
        choice.sample_rows = sample_.size();
        for (Contender& one : contenders_)
            choice.tried.push_back(std::move(one.trial));
        return choice;
    }

    std::string out_of_time(double needed) const {
        std::ostringstream text;
        text.imbue(std::locale::classic());
        text.precision(1);
        text << std::fixed << "no time: needs about " << needed << " s, left are "
             << std::max(0.0, options_.seconds - elapsed()) << " s";
        return text.str();
    }

    // The steps' own progress says nothing of the whole: the time used up does.
    Progress progress() const {
        return [this](std::string_view, double, double) {
            report(options_.progress, "choose spec", std::min(elapsed(), options_.seconds),
                   options_.seconds);
            return true;
        };
    }

    const Vectors& base_;
    const ChooseSpecOptions& options_;
    const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    std::vector<Contender> contenders_;
    std::vector<int64_t> rows_, sample_;  // of base: what may be sampled, what is
    VectorData copy_;
    Vectors sampled_;
    Questions tuning_, judging_;
};

}  // namespace

SpecChoice choose_spec(const Vectors& base, const ChooseSpecOptions& options) {
    check(options.recall > 0 && options.recall <= 1, StatusCode::InvalidArgument,
          "recall = ", options.recall, " is outside (0, 1]: pass a share such as 0.95");
    check(options.k >= 1, StatusCode::InvalidArgument, "k = 0: choose for at least one neighbour");
    check(options.seconds > 0 && std::isfinite(options.seconds), StatusCode::InvalidArgument,
          "seconds = ", options.seconds, " must be above 0 and finite: pass a time such as 60");
    check(options.max_bytes >= 0, StatusCode::InvalidArgument, "max_bytes = ", options.max_bytes,
          " must not be negative: pass 0 for no limit");
    check(base.rows >= kLeastHeldOutBase, StatusCode::InvalidArgument, "base has ", base.rows,
          " rows, fewer than ", kLeastHeldOutBase, ", too few to choose by: use Flat");
    if (options.queries) {
        check_dim(*options.queries, base.cols, "queries");
        check(options.queries->rows >= 2, StatusCode::InvalidArgument, "queries has ",
              options.queries->rows,
              " rows, but some tune and others judge: pass 2 or more, at best 2,000");
        check_finite(*options.queries, "queries", options.threads);
    }
    check_finite(base, "base", options.threads);
    return Chooser(base, options).choose();
}

}  // namespace nearcell
