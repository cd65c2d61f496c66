#include "search_job.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <system_error>

#include <nearcell/core/error.h>
#include <nearcell/storage/atomic_file.h>
#include <nearcell/storage/input_file.h>
#include <nlohmann/json.hpp>

#include "files.h"
#include "number_text.h"

namespace nearcell::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t kLongestJournal = uint64_t{1} << 20;

// A path may hold bytes that are not UTF-8: JSON has others in their place.
std::string dumped(const Json& value) {
    return value.dump(2, ' ', false, Json::error_handler_t::replace);
}

Json totals_json(const SearchTotals& totals) {
    return {{"queries", totals.queries},
            {"found", totals.found},
            {"scanned", totals.stats.scanned},
            {"reranked", totals.stats.reranked},
            {"rerank_skipped", totals.stats.rerank_skipped},
            {"probes", totals.stats.probes},
            {"rerank", totals.stats.rerank},
            {"plan", totals.stats.plan},
            {"seconds", totals.seconds}};
}

SearchTotals totals_from(const Json& json) {
    SearchTotals totals;
    totals.queries = json.at("queries").get<uint64_t>();
    totals.found = json.at("found").get<uint64_t>();
    totals.stats.scanned = json.at("scanned").get<uint64_t>();
    totals.stats.reranked = json.at("reranked").get<uint64_t>();
    totals.stats.rerank_skipped = json.at("rerank_skipped").get<uint64_t>();
    totals.stats.probes = json.at("probes").get<size_t>();
    totals.stats.rerank = json.at("rerank").get<size_t>();
    totals.stats.plan = json.at("plan").get<std::string>();
    totals.seconds = json.at("seconds").get<double>();
    return totals;
}

std::string whole_file(const std::string& path) {
    const InputFile file(path);
    check(file.bytes() <= kLongestJournal, StatusCode::Corrupt, path, ": has ", file.bytes(),
          " bytes, too many for the journal of a search");
    std::string text(file.bytes(), '\0');
    file.read_at(0, text.data(), text.size(), "the journal");
    return text;
}

std::string journal_path(const NeighborOutput& output) {
    return staged_path(output.id_path()) + ".job";
}

bool is_there(const std::string& path) {
    std::error_code ignored;
    return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

// To the nanosecond: 2026-01-31 12:00:00.123456789 UTC.
std::string modification_time(const std::string& path) {
    using std::chrono::nanoseconds, std::chrono::seconds;
    std::error_code error;
    const auto time = std::chrono::file_clock::to_sys(fs::last_write_time(path, error));
    check(!error, StatusCode::Io, path, ": cannot say when it was modified: ", error.message());
    const auto since = std::chrono::duration_cast<nanoseconds>(time.time_since_epoch());
    const auto whole = std::chrono::floor<seconds>(since);
    const std::time_t clock = whole.count();
    std::tm fields = {};
    gmtime_r(&clock, &fields);
    char text[64], fraction[16];
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &fields);
    std::snprintf(fraction, sizeof fraction, ".%09ld", static_cast<long>((since - whole).count()));
    return std::string(text) + fraction + " UTC";
}

void check_same(const std::string& journal, const Json& before, const JobDescription& now) {
    for (const auto& [name, value] : now) {
        const std::string ours = Json::parse(dumped(value)).get<std::string>();
        const std::string theirs = before.value(name, std::string("unknown"));
        check(theirs == ours, StatusCode::InvalidArgument, journal,
              " is of another search, which is not finished: its ", name, " is ", theirs,
              ", and now it is ", ours,
              ". Finish that one, name another output, or begin anew with --restart");
    }
}

}  // namespace

std::string described_file(const std::string& path) {
    const std::string file = output_file(path);
    return fs::weakly_canonical(file).string() + path.substr(file.size()) + " of " +
           std::to_string(file_bytes(path)) + " bytes, of " + modification_time(file);
}

bool SearchJob::is_begun(const NeighborOutput& output) { return is_there(journal_path(output)); }

SearchJob::SearchJob(const SearchJobOptions& options, JobDescription description)
    : options_(options),
      description_(std::move(description)),
      journal_(journal_path(options_.output)) {
    if (!options_.output.scores.empty()) targets_.push_back(score_target(options_.output));
    targets_.push_back(id_target(options_.output));
    const bool resumed = !options_.restart && read_journal();
    if (!resumed && !options_.restart) check_no_strangers();
    try {
        open_outputs();
        if (!resumed) save_journal();
    } catch (const Error& error) {
        if (!resumed) discard_outputs();
        if (error.code() != StatusCode::Corrupt) throw;
        throw_error(error.code(), error.what(), " with --restart");
    }
}

bool SearchJob::read_journal() {
    if (!is_there(journal_)) return false;
    const Json journal = Json::parse(whole_file(journal_), nullptr, false);
    try {
        check_same(journal_, journal.at("search"), description_);
        totals_ = kept_ = totals_from(journal.at("done"));
    } catch (const Json::exception&) {
        throw_error(StatusCode::Corrupt, journal_,
                    ": is not the journal of a search; delete it, or begin anew with --restart");
    }
    check(kept_.queries <= options_.queries, StatusCode::Corrupt, journal_, ": says that ",
          kept_.queries, " queries are done, but there are ", options_.queries,
          "; begin anew with --restart");
    return true;
}

// The journal is there before the first result is, so other files are not ours to overwrite.
void SearchJob::check_no_strangers() const {
    for (const ResultTarget& target : targets_) {
        const std::string part = target.part();
        check(!is_there(part) || file_bytes(part) == 0, StatusCode::InvalidArgument, part,
              " is there, but no ", journal_,
              " says what it is; delete it, name another output, or overwrite it with --restart");
    }
}

// Of a search that was stopped while it put its outputs in place, some are there already.
void SearchJob::open_outputs() {
    const bool complete = kept_.queries == options_.queries && options_.queries > 0;
    for (const ResultTarget& target : targets_) {
        if (complete && !is_there(target.part()) && is_there(output_file(target.path))) continue;
        const auto open = &target == &targets_.back() ? open_id_file : open_score_file;
        outputs_.push_back(open(target, options_.k, kept_.queries));
    }
}

void SearchJob::save_journal() {
    Json search = Json::object();
    for (const auto& [name, value] : description_)
        search[name] = value;
    const std::string text = dumped({{"search", search}, {"done", totals_json(totals_)}}) + "\n";
    AtomicFile file(journal_, 0);  // resumed: kills leave at most one temporary file, used again
    file.append(text.data(), text.size());
    file.commit();
    kept_ = totals_;
    since_sync_.lap();
}

void SearchJob::append(const SearchResult& result, double seconds) {
    for (const std::unique_ptr<ResultFile>& output : outputs_)
        output->append(result);
    totals_.queries += result.queries;
    for (const size_t count : result.counts)
        totals_.found += count;
    SearchStats stats = result.stats;
    stats.scanned += totals_.stats.scanned;
    stats.reranked += totals_.stats.reranked;
    stats.rerank_skipped += totals_.stats.rerank_skipped;
    totals_.stats = std::move(stats);
    totals_.seconds += seconds;
    if (since_sync_.seconds() >= options_.sync_seconds) sync();
}

void SearchJob::sync() {
    for (const std::unique_ptr<ResultFile>& output : outputs_)
        output->sync();
    save_journal();
}

void SearchJob::finish() {
    sync();
    for (const std::unique_ptr<ResultFile>& output : outputs_)
        output->finish();
    std::error_code error;
    fs::remove(journal_, error);
    check(!error, StatusCode::Io, journal_, ": cannot be removed: ", error.message(),
          "; the outputs are in place, delete it");
}

void SearchJob::discard_outputs() {
    for (const std::unique_ptr<ResultFile>& output : outputs_)
        output->discard();
}

void SearchJob::discard() {
    discard_outputs();
    std::error_code ignored;
    fs::remove(journal_, ignored);
}

}  // namespace nearcell::cli
