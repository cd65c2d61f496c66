// Hierarchical k-means: groups first, each group's rows clustered on their own, then all together.
#include <algorithm>
#include <cmath>
#include <queue>
#include <utility>

#include <nearcell/core/parallel.h>
#include <nearcell/quantize/kmeans_methods.h>
#include <nearcell/quantize/kmeans_seeding.h>

namespace nearcell {
namespace {

constexpr size_t kFinalIterations = 2;
constexpr size_t kGroupsPerThread = 2;  // clustered between two reports of progress

// The rows of one group, contiguous, and their weights.
struct GroupRows {
    AlignedBuffer<float> x;
    std::vector<float> weights;

    GroupRows(const KMeansPoints& points, const ClusterRows& groups, size_t group) {
        const size_t dim = points.x.cols;
        const size_t count = groups.size(group);
        x.resize_for_overwrite(count * dim);
        float* const copy = x.mutable_data();
        for (size_t i = 0; i < count; ++i) {
            const uint32_t row = groups.rows(group)[i];
            std::copy_n(points.x.row(row), dim, copy + i * dim);
            if (points.weights != nullptr) weights.push_back(points.weights[row]);
        }
    }
    KMeansPoints points(const KMeansPoints& all) const {
        return {{x.data(), x.size() / all.x.cols, all.x.cols},
                weights.empty() ? nullptr : weights.data(),
                all.metric};
    }
};

}  // namespace

std::vector<size_t> share_clusters(const std::vector<size_t>& group_rows, size_t clusters) {
    std::vector<size_t> shares(group_rows.size(), 0);
    // By rows a cluster if it receives one more; then the smaller number of the group.
    const auto smaller = [&](size_t a, size_t b) {
        const size_t left = group_rows[a] * (shares[b] + 1);
        const size_t right = group_rows[b] * (shares[a] + 1);
        return left != right ? left < right : a > b;
    };
    std::priority_queue<size_t, std::vector<size_t>, decltype(smaller)> next(smaller);
    for (size_t g = 0; g < group_rows.size() && clusters > 0; ++g) {
        if (group_rows[g] == 0) continue;
        shares[g] = 1;
        --clusters;
    }
    for (size_t g = 0; g < group_rows.size(); ++g) {
        if (shares[g] < group_rows[g]) next.push(g);
    }
    for (; clusters > 0 && !next.empty(); --clusters) {
        const size_t g = next.top();
        next.pop();
        ++shares[g];
        if (shares[g] < group_rows[g]) next.push(g);
    }
    return shares;
}

KMeansRun run_hierarchical(const KMeansPoints& points, const KMeansPlan& plan, Random& random) {
    const size_t dim = points.x.cols;
    KMeansPlan group_plan = plan;
    group_plan.clusters =
        std::max(size_t{1}, static_cast<size_t>(std::sqrt(static_cast<double>(plan.clusters))));
    const KMeansRun grouping = run_lloyd(points, group_plan, random);
    Lloyd members(points, group_plan.clusters, plan.backend, plan.threads);
    members.assign(grouping.centroids);
    ClusterRows groups;
    groups.group(members.labels(), group_plan.clusters, plan.threads);

    std::vector<size_t> group_rows(groups.clusters());
    for (size_t g = 0; g < group_rows.size(); ++g)
        group_rows[g] = groups.size(g);
    const std::vector<size_t> shares = share_clusters(group_rows, plan.clusters);
    std::vector<uint64_t> seeds(groups.clusters());
    for (uint64_t& seed : seeds)
        seed = random.next();
    std::vector<KMeansRun> runs(groups.clusters());

    const auto cluster_group = [&](size_t g) {
        const GroupRows rows(points, groups, g);
        const std::shared_ptr<const void> kept = plan.backend.keep(rows.points(points).x);
        KMeansPlan inner = plan;
        inner.clusters = shares[g];
        inner.progress = nullptr;  // called from the calling thread only
        Random own(seeds[g]);
        runs[g] = run_lloyd(rows.points(points), inner, own);
    };
    const size_t wave = kGroupsPerThread * static_cast<size_t>(resolve_threads(plan.threads));
    for (size_t first = 0; first < runs.size(); first += wave) {
        report(plan.progress, "k-means groups", static_cast<double>(first),
               static_cast<double>(runs.size()));
        const size_t count = std::min(wave, runs.size() - first);
        parallel_for(count, plan.threads, [&](size_t i, int) {
            if (shares[first + i] > 0) cluster_group(first + i);
        });
    }

    KMeansRun run;
    run.centroids.reserve(plan.clusters * dim);
    run.empty_splits = grouping.empty_splits;
    for (const KMeansRun& group : runs) {
        run.centroids.insert(run.centroids.end(), group.centroids.begin(), group.centroids.end());
        run.empty_splits += group.empty_splits;
    }
    KMeansPlan final_plan = plan;
    final_plan.iterations = kFinalIterations;
    iterate_lloyd(points, final_plan, run);
    return run;
}

}  // namespace nearcell
