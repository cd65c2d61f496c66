#include <nearcell/ivf/search_settings.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace nearcell {
namespace {

constexpr size_t kScarce = 100;  // a filter that lets one in so many pass is scanned for

}  // namespace

void check_queries(const CellIndex::State& state, const Vectors& queries, int threads) {
    check_dim(queries, state.options.dim, "queries");
    check_finite(queries, "queries", threads);
}

SearchSettings resolve_search(const CellIndex::State& state, const SearchOptions& options,
                              size_t default_probes) {
    state.require_trained("searching");
    const bool names_depth = options.rerank != 0 && options.rerank != SearchOptions::kNoDepth;
    check(state.options.rerank.has_value() || !names_depth, StatusCode::InvalidArgument,
          "rerank = ", options.rerank,
          ", but the index keeps no vectors to re-rank with: build it with RFlat or "
          "Refine(...), or "
          "leave rerank out");
    check(options.margin >= 0 && std::isfinite(options.margin), StatusCode::InvalidArgument,
          "margin = ", options.margin, " must be at least 0 and finite: 1 is the codes' own bound");
    SearchSettings settings;
    settings.probes =
        std::min(options.probes == 0 ? default_probes : options.probes, state.options.cells);
    check(options.cutoff >= 0, StatusCode::InvalidArgument, "cutoff = ", options.cutoff,
          " must be above 0, or 0 for the index's default");
    settings.cutoff = options.cutoff != 0   ? options.cutoff
                      : options.probes == 0 ? state.default_cutoff
                                            : std::numeric_limits<float>::infinity();
    state.require_cutoff(settings.cutoff);
    settings.k = std::min(options.k, std::max<size_t>(1, state.size));
    if (options.filter != nullptr) {
        // Few vectors pass: look for them everywhere; blocks without any are skipped.
        const size_t passing = options.filter->count_bound(state.size);
        if (passing <= std::max(state.size / kScarce, 16 * options.k)) {
            settings.probes = state.options.cells;
            settings.cutoff = std::numeric_limits<float>::infinity();
        }
    }
    size_t asked = names_depth ? options.rerank : 0;  // 0: as bounds or the rule below say
    if (options.rerank == 0) asked = state.default_rerank;
    settings.refine = state.can_refine() && asked == 0;
    settings.by_integers = settings.refine || state.scans_by_integers();
    settings.reranked = state.rerank_codec && !settings.refine;
    settings.depth = settings.k;
    if (settings.reranked) {
        const size_t by_rule = std::max<size_t>(4 * settings.k, 64);
        settings.depth = std::clamp(asked != 0 ? asked : by_rule, settings.k,
                                    std::max<size_t>(settings.k, state.size));
    }
    return settings;
}

}  // namespace nearcell
