// nearcell search INDEX QUERIES: neighbours of every query into a file. Queries are read and
// searched in batches and results written as they come, so that a query file of any length needs
// memory for a few batches; a search that was stopped goes on when the command is given again.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <limits>
#include <memory>
#include <optional>

#include <nearcell/ivf/cell_index.h>
#include <nearcell/storage/vector_file.h>

#include "batch_search.h"
#include "commands.h"
#include "device_option.h"
#include "files.h"
#include "interrupt.h"
#include "number_text.h"
#include "search_job.h"
#include "session.h"

namespace nearcell::cli {
namespace {

struct SearchCommandOptions {
    std::string index, queries, filter;
    size_t k = 10, probes = 0, rerank = 0;
    float margin = 1, cutoff = 0;
    size_t batch = 65536;
    double sync_seconds = 3;
    bool mmap = false, restart = false;
    DeviceOption device;
    NeighborOutput output;
};

int64_t parse_id(std::string_view text, int64_t otherwise, const std::string& whole) {
    if (text.empty()) return otherwise;
    int64_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    check(error == std::errc() && end == text.data() + text.size() && id >= 0,
          StatusCode::InvalidArgument, "--filter-range ", whole,
          " is not FIRST:LAST with ids of 0 or more, such as 1000:2000, 1000: or :2000");
    return id;
}

// "a:b": ids a <= id < b; either may be left out.
IdFilter parse_filter(const std::string& text) {
    const size_t colon = text.find(':');
    check(colon != std::string::npos, StatusCode::InvalidArgument, "--filter-range ", text,
          " has no colon; write FIRST:LAST, such as 1000:2000");
    const std::string_view all = text;
    const int64_t first = parse_id(all.substr(0, colon), 0, text);
    const int64_t last = parse_id(all.substr(colon + 1), std::numeric_limits<int64_t>::max(), text);
    check(first <= last, StatusCode::InvalidArgument, "--filter-range ", text,
          ": the first id is beyond the last");
    return IdFilter::range(first, last);
}

SearchOptions search_options(const SearchCommandOptions& options,
                             const std::optional<IdFilter>& filter, Session& session) {
    SearchOptions search;
    search.k = options.k;
    search.probes = options.probes;
    search.rerank = options.rerank;
    search.margin = options.margin;
    search.cutoff = options.cutoff;
    search.filter = filter ? &*filter : nullptr;
    search.threads = session.threads();
    search.progress = session.progress();
    return search;
}

// All that results depend on; not the batch, the threads and where the codes are.
JobDescription describe_job(const SearchCommandOptions& options, const std::string& queries) {
    const std::string scores = options.output.score_path();
    return {{"version", NEARCELL_VERSION},
            {"index", described_file(options.index)},
            {"query file", described_file(queries)},
            {"-n", std::to_string(options.k)},
            {"--probes", std::to_string(options.probes)},
            {"--rerank", std::to_string(options.rerank)},
            {"--margin", Json(options.margin).dump()},
            {"--cutoff", Json(options.cutoff).dump()},
            {"--filter-range", options.filter.empty() ? "none" : options.filter},
            {"--device", options.device.description()},
            {"--scores", scores.empty() ? "none" : scores}};
}

// What is kept when a search ends early: nothing, unless there is something to go on from. Where
// the input is to blame, the same command would only end like that again.
void keep(SearchJob& job, uint64_t queries, StatusCode why, Session& session) {
    const bool of_input = category(why) != StatusCategory::System;
    try {
        job.sync();
    } catch (const Error&) {  // a full disk, most likely what ended the search: the last sync holds
    }
    if (job.done() == 0) return job.discard();
    const std::string text =
        grouped_text(job.done()) + " of " + grouped_text(queries) + " queries are done and kept" +
        (of_input ? ", for the files as they were; once one is changed, begin anew with --restart"
                  : "; the same command goes on from there, --restart begins anew");
    if (why == StatusCode::Cancelled) {
        session.set_interrupted_text("interrupted; " + text);
    } else {
        session.note(text);
    }
}

// The rest of the job; the results are in place afterwards.
void run_job(const BatchSearch& search, SearchJob& job, Session& session) {
    try {
        if (search.first < search.total() || search.total() == 0) {
            search_in_batches(search, [&job](const FoundBatch& batch) {
                job.append(batch.result, batch.seconds);
            });
        }
        check_interrupted();
        job.finish();
    } catch (const Error& error) {
        keep(job, search.total(), error.code(), session);
        throw;
    } catch (const std::exception&) {  // such as no memory, no thread
        keep(job, search.total(), StatusCode::OutOfMemory, session);
        throw;
    }
}

void describe(const SearchTotals& totals, size_t k, Session& session) {
    const auto queries = static_cast<double>(std::max<uint64_t>(1, totals.queries));
    session.fact("queries", totals.queries);
    session.fact("k", k);
    session.fact("probes", totals.stats.probes);
    session.fact("rerank", totals.stats.rerank);
    const double reranked = static_cast<double>(totals.stats.reranked) / queries;
    session.fact("reranked_per_query", reranked, count_text(reranked));
    session.fact("missing", totals.queries * k - totals.found);
    const double scanned = static_cast<double>(totals.stats.scanned) / queries;
    session.fact("scanned_per_query", scanned, count_text(scanned));
    session.fact_seconds("seconds", totals.seconds);
    const double rate =
        totals.seconds > 0 ? static_cast<double>(totals.queries) / totals.seconds : 0;
    session.fact("queries_per_second", rate, count_text(rate));
    session.fact("plan", totals.stats.plan);
}

void search_command(const SearchCommandOptions& options, Session& session) {
    const std::string path = with_data_set(options.queries, "test");
    options.output.check({options.index, path},
                         !options.restart && SearchJob::is_begun(options.output));
    options.device.check();
    check(options.batch >= 1, StatusCode::InvalidArgument, "--batch ", options.batch,
          " must be at least 1");
    check(options.k >= 1, StatusCode::InvalidArgument, "-n ", options.k,
          " must be at least 1: ask for one neighbour or more");
    std::optional<IdFilter> filter;
    if (!options.filter.empty()) filter = parse_filter(options.filter);
    const auto index = CellIndex::open(options.index, options.mmap);
    options.device.move(*index);
    const VectorPieces queries(path);
    const size_t rows = queries.info().rows;
    check_dim({nullptr, ElementType::Float32, 0, queries.info().cols}, index->dim(), path);

    SearchJob job({options.output, options.k, rows, options.restart, options.sync_seconds},
                  describe_job(options, queries.path()));
    const uint64_t resumed = job.done();
    if (resumed > 0)
        session.note("going on after " + grouped_text(resumed) + " of " + grouped_text(rows) +
                     " queries");
    run_job({*index, queries, resumed, options.batch, search_options(options, filter, session)},
            job, session);
    session.fact("index", options.index);
    session.fact("device", index->device());
    describe(job.totals(), options.k, session);
    session.detail("resumed_from", resumed);
    session.fact("output", options.output.ids);
}

}  // namespace

void add_search(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("search", "neighbours of every query");
    auto options = std::make_shared<SearchCommandOptions>();
    command.add_option("INDEX", options->index, "index made by build")->required();
    command.add_option("QUERIES", options->queries, "vectors (HDF5: the data set test)")
        ->required();
    command.add_option("-n,--neighbors", options->k, "neighbours a query")->capture_default_str();
    command.add_option("--probes", options->probes, "cells to look into; 0 = the index's default");
    command.add_option("--rerank", options->rerank,
                       "candidates to score again; 0 = the index's default");
    command
        .add_option(
            "--margin", options->margin,
            "SQ8, RaBitQ with a re-rank store: times its error bound an estimate may be off")
        ->capture_default_str();
    command.add_option("--cutoff", options->cutoff,
                       "leave out probes that lie far for how near the nearest cell's vectors are, "
                       "such as 0.7; 0 = the index's default, or with --probes none");
    command.add_option("--filter-range", options->filter,
                       "only ids FIRST <= id < LAST, as FIRST:LAST");
    command.add_flag("--mmap", options->mmap, "leave the codes on disk");
    command.add_option("--batch", options->batch, "queries a batch")->capture_default_str();
    command.add_flag("--restart", options->restart,
                     "begin anew where a search with this output was stopped");
    command
        .add_option("--sync-seconds", options->sync_seconds,
                    "results are safe on the disk at least so often; 0 = after each batch")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    options->device.add_index_options(command);
    options->output.add_options(command);
    session.add_command(command, [options, &session] { search_command(*options, session); });
}

}  // namespace nearcell::cli
