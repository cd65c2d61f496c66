#include <nearcell/core/search_result.h>

#include <algorithm>
#include <cstdint>

#include <nearcell/core/error.h>

namespace nearcell {

SearchResult empty_result(size_t queries, size_t k, Metric metric) {
    const size_t most = PTRDIFF_MAX / sizeof(int64_t) / std::max<size_t>(1, queries);
    check(k <= most, StatusCode::OutOfMemory, "k = ", k, " for ", queries,
          " queries is more than memory can hold, at most ", most,
          ": use a smaller k or fewer queries at a time");
    SearchResult result;
    result.queries = queries;
    result.k = k;
    result.scores.assign(queries * k, worst_score(metric));
    result.ids.assign(queries * k, -1);
    result.counts.assign(queries, 0);
    return result;
}

}  // namespace nearcell
