// nearcell search INDEX QUERIES: neighbours of every query into a file. Queries are read and
// searched in batches, so that a query file of any length needs memory for one batch and the
// results.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <limits>
#include <memory>
#include <optional>

#include <nearcell/ivf/cell_index.h>
#include <nearcell/storage/vector_file.h>

#include "commands.h"
#include "device_option.h"
#include "files.h"
#include "interrupt.h"
#include "neighbor_output.h"
#include "number_text.h"
#include "session.h"

namespace nearcell::cli {
namespace {

struct SearchCommandOptions {
    std::string index, queries, filter;
    size_t k = 10, probes = 0, rerank = 0;
    float margin = 1, cutoff = 0;
    size_t batch = 65536;
    bool mmap = false;
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

void append(SearchResult& all, SearchResult&& part) {
    all.queries += part.queries;
    all.scores.insert(all.scores.end(), part.scores.begin(), part.scores.end());
    all.ids.insert(all.ids.end(), part.ids.begin(), part.ids.end());
    all.counts.insert(all.counts.end(), part.counts.begin(), part.counts.end());
    part.stats.scanned += all.stats.scanned;
    part.stats.reranked += all.stats.reranked;
    part.stats.rerank_skipped += all.stats.rerank_skipped;
    all.stats = std::move(part.stats);
}

// Searches batch by batch; adds the time in searches to `seconds`.
SearchResult search_all(const CellIndex& index, const SearchCommandOptions& options,
                        const SearchOptions& search, double& seconds) {
    const std::string path = with_data_set(options.queries, "test");
    const VectorFileInfo info = vector_file_info(path);
    SearchResult all;
    all.k = options.k;
    VectorFileOptions piece;
    piece.max_rows = options.batch;
    do {  // once even for an empty file: then the options are still checked
        const VectorData queries = read_vectors(path, piece);
        check_dim(queries.view(), index.dim(), path);
        check_interrupted();
        const Stopwatch watch;
        SearchResult part = index.search(queries.view(), search);
        seconds += watch.seconds();
        append(all, std::move(part));
        piece.first_row += options.batch;
    } while (piece.first_row < info.rows);
    return all;
}

void describe(const SearchResult& result, double seconds, Session& session) {
    const auto queries = static_cast<double>(std::max<size_t>(1, result.queries));
    size_t found = 0;
    for (size_t count : result.counts)
        found += count;
    session.fact("queries", result.queries);
    session.fact("k", result.k);
    session.fact("probes", result.stats.probes);
    session.fact("rerank", result.stats.rerank);
    const double reranked = static_cast<double>(result.stats.reranked) / queries;
    session.fact("reranked_per_query", reranked, count_text(reranked));
    session.fact("missing", result.queries * result.k - found);
    const double scanned = static_cast<double>(result.stats.scanned) / queries;
    session.fact("scanned_per_query", scanned, count_text(scanned));
    session.fact_seconds("seconds", seconds);
    const double rate = seconds > 0 ? static_cast<double>(result.queries) / seconds : 0;
    session.fact("queries_per_second", rate, count_text(rate));
    session.fact("plan", result.stats.plan);
}

void search_command(const SearchCommandOptions& options, Session& session) {
    options.output.check();
    options.device.check();
    check(options.batch >= 1, StatusCode::InvalidArgument, "--batch ", options.batch,
          " must be at least 1");
    std::optional<IdFilter> filter;
    if (!options.filter.empty()) filter = parse_filter(options.filter);
    const auto index = CellIndex::open(options.index, options.mmap);
    options.device.move(*index);
    SearchOptions search;
    search.k = options.k;
    search.probes = options.probes;
    search.rerank = options.rerank;
    search.margin = options.margin;
    search.cutoff = options.cutoff;
    search.filter = filter ? &*filter : nullptr;
    search.threads = session.threads();
    search.progress = session.progress();

    double seconds = 0;
    const SearchResult result = search_all(*index, options, search, seconds);
    check_interrupted();
    options.output.write(result);
    session.fact("index", options.index);
    session.fact("device", index->device());
    describe(result, seconds, session);
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
    options->device.add_index_options(command);
    options->output.add_options(command);
    session.add_command(command, [options, &session] { search_command(*options, session); });
}

}  // namespace nearcell::cli
