#include <nearcell/kernels/device_group.h>

#include <algorithm>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>

namespace nearcell {
namespace {

// Calls task(member) for all of them: at once, but one after the other within a parallel_for.
template <class Task>
void for_members(size_t members, const Task& task) {
    parallel_for(members, static_cast<int>(members), [&](size_t member, int) { task(member); });
}

// A member's part of some things that are counted: [begin, end).
std::pair<size_t, size_t> share(size_t count, size_t member, size_t members) {
    return {count * member / members, count * (member + 1) / members};
}

void add_counts(const SearchStats& part, SearchStats& all) {
    all.scanned += part.scanned;
    all.reranked += part.reranked;
    all.rerank_skipped += part.rerank_skipped;
}

template <class Member>
size_t memory_of(const std::vector<std::unique_ptr<Member>>& members) {
    size_t bytes = 0;
    for (const auto& member : members)
        bytes += member->memory_bytes();
    return bytes;
}

// What the members of a group hold of an index. `kind`: what they share, for the plan.
class GroupCells : public DeviceCells {
   public:
    GroupCells(std::vector<std::unique_ptr<DeviceCells>> members, const char* kind)
        : members_(std::move(members)), kind_(kind) {}
    size_t memory_bytes() const override { return memory_of(members_); }

   protected:
    // Arrays lie on one device, and a group is several. A member would name its own rows.
    static void check_batch(const DeviceBatch& batch, int threads) {
        check(!batch.on_device, StatusCode::Unsupported,
              "arrays on a device with an index on several: pass arrays in host memory, or move "
              "the index to the one device");
        check_finite(batch.queries, "queries", threads);
    }
    SearchStats sum(const std::vector<SearchStats>& parts) const {
        SearchStats all;
        all.plan = kind_;
        for (const SearchStats& part : parts) {
            add_counts(part, all);
            all.plan += (&part == parts.data() ? ": " : "; ") + part.plan;
        }
        return all;
    }

    std::vector<std::unique_ptr<DeviceCells>> members_;

   private:
    const char* kind_;
};

// Every member has all cells.
class Replicas : public GroupCells {
   public:
    explicit Replicas(std::vector<std::unique_ptr<DeviceCells>> members)
        : GroupCells(std::move(members), "queries shared") {}

    void update(const SearchableCells& cells) override {
        for_members(members_.size(), [&](size_t m) { members_[m]->update(cells); });
    }
    SearchStats search(const DeviceBatch& batch, const DeviceSearch& search) const override {
        check_batch(batch, search.threads);
        std::vector<SearchStats> parts(members_.size());
        for_members(members_.size(), [&](size_t m) {
            const auto [begin, end] = share(batch.queries.rows, m, members_.size());
            DeviceBatch part = batch;
            part.queries = batch.queries.slice(begin, end - begin);
            part.scores += begin * search.k;
            part.ids += begin * search.k;
            if (part.counts != nullptr) part.counts += begin;
            parts[m] = members_[m]->search(part, search);
        });
        return sum(parts);
    }
    SearchStats range_search(const Vectors& queries, float radius, float scan_radius,
                             const DeviceSearch& search,
                             std::span<std::vector<Candidate>> hits) const override {
        std::vector<SearchStats> parts(members_.size());
        for_members(members_.size(), [&](size_t m) {
            const auto [begin, end] = share(queries.rows, m, members_.size());
            parts[m] =
                members_[m]->range_search(queries.slice(begin, end - begin), radius, scan_radius,
                                          search, hits.subspan(begin, end - begin));
        });
        return sum(parts);
    }
};

// Every member has some of the cells, or, where there is one, some of its blocks.
class Shards : public GroupCells {
   public:
    Shards(const std::vector<const Device*>& devices, const SearchableCells& cells,
           const DeviceOptions& options)
        : GroupCells(std::vector<std::unique_ptr<DeviceCells>>(devices.size()), "cells shared"),
          metric_(cells.metric),
          parts_(devices.size()) {
        for_members(devices.size(),
                    [&](size_t m) { members_[m] = devices[m]->hold(part_of(cells, m), options); });
    }

    void update(const SearchableCells& cells) override {
        for_members(members_.size(), [&](size_t m) { members_[m]->update(part_of(cells, m)); });
    }

    SearchStats search(const DeviceBatch& batch, const DeviceSearch& search) const override {
        check_batch(batch, search.threads);
        const size_t rows = batch.queries.rows, values = rows * search.k;
        struct Answers {
            std::vector<float> scores;
            std::vector<int64_t> ids;
            std::vector<uint64_t> counts;
        };
        std::vector<Answers> answers(members_.size());
        std::vector<SearchStats> parts(members_.size());
        for_members(members_.size(), [&](size_t m) {
            answers[m].scores.resize(values);
            answers[m].ids.resize(values);
            answers[m].counts.resize(rows);
            DeviceBatch part = batch;
            part.scores = answers[m].scores.data();
            part.ids = answers[m].ids.data();
            part.counts = answers[m].counts.data();
            parts[m] = members_[m]->search(part, search);
        });
        parallel_for(rows, search.threads, [&](size_t q, int) {
            std::vector<Candidate> found;
            for (const Answers& answer : answers) {
                for (size_t i = q * search.k; i < q * search.k + answer.counts[q]; ++i) {
                    Candidate& candidate = found.emplace_back();
                    candidate.key = key_from_score(metric_, answer.scores[i]);
                    candidate.id = answer.ids[i];
                }
            }
            std::sort(found.begin(), found.end(), nearer);
            const size_t count = std::min(found.size(), search.k);
            if (batch.counts != nullptr) batch.counts[q] = count;
            for (size_t i = 0; i < search.k; ++i) {
                const bool there = i < count;
                batch.scores[q * search.k + i] =
                    there ? 0.0f + score_from_key(metric_, found[i].key) : worst_score(metric_);
                batch.ids[q * search.k + i] = there ? found[i].id : -1;
            }
        });
        return sum(parts);
    }

    SearchStats range_search(const Vectors& queries, float radius, float scan_radius,
                             const DeviceSearch& search,
                             std::span<std::vector<Candidate>> hits) const override {
        std::vector<std::vector<std::vector<Candidate>>> found(members_.size());
        std::vector<SearchStats> parts(members_.size());
        for_members(members_.size(), [&](size_t m) {
            found[m].resize(queries.rows);
            parts[m] = members_[m]->range_search(queries, radius, scan_radius, search, found[m]);
        });
        for (size_t q = 0; q < queries.rows; ++q) {
            for (const auto& part : found)
                hits[q].insert(hits[q].end(), part[q].begin(), part[q].end());
            std::sort(hits[q].begin(), hits[q].end(), nearer);
        }
        return sum(parts);
    }

   private:
    // What a member is given; it must stay, as the index's own cells.
    struct Part {
        std::vector<CellView> cells;
        std::vector<const uint32_t*> rerank_rows;
    };

    SearchableCells part_of(const SearchableCells& cells, size_t member) {
        Part& part = parts_[member];
        part.cells.assign(cells.cells.begin(), cells.cells.end());
        part.rerank_rows.assign(cells.rerank_rows.begin(), cells.rerank_rows.end());
        for (size_t c = 0; c < part.cells.size(); ++c) {
            CellView& cell = part.cells[c];
            if (part.cells.size() > 1) {
                if (c % members_.size() != member) cell.size = 0;
                continue;
            }
            const auto [begin, end] = share(blocks_for(cell.size), member, members_.size());
            const size_t first = begin * kBlock;
            cell.size = std::min(end * kBlock, cell.size) - std::min(first, cell.size);
            cell.blocks += begin * cells.code.block_bytes();
            cell.ids += first;
            if (cells.rerank) part.rerank_rows[c] += first * cells.rerank->words;
        }
        SearchableCells own = cells;
        own.cells = part.cells;
        own.rerank_rows = part.rerank_rows;
        return own;
    }

    Metric metric_;
    std::vector<Part> parts_;
};

// Every member has the network.
class ReplicaNetworks : public DeviceNetwork {
   public:
    explicit ReplicaNetworks(std::vector<std::unique_ptr<DeviceNetwork>> members)
        : members_(std::move(members)) {}

    size_t memory_bytes() const override { return memory_of(members_); }
    size_t batch_pictures() const override {
        size_t pictures = 0;
        for (const auto& member : members_)
            pictures += member->batch_pictures();
        return pictures;
    }
    void forward(MatrixView<const float> pictures, MatrixView<float> out,
                 int threads) const override {
        for_members(members_.size(), [&](size_t m) {
            const auto [begin, end] = share(pictures.rows, m, members_.size());
            members_[m]->forward(pictures.slice(begin, end - begin), out.slice(begin, end - begin),
                                 threads);
        });
    }

   private:
    std::vector<std::unique_ptr<DeviceNetwork>> members_;
};

}  // namespace

DeviceGroup::DeviceGroup(std::vector<const Device*> members) : members_(std::move(members)) {}

std::string DeviceGroup::name() const {
    std::string all = members_.front()->name();
    for (size_t m = 1; m < members_.size(); ++m) {
        const std::string name = members_[m]->name();
        all += "," + name.substr(name.find(':') + 1);
    }
    return all;
}

std::string DeviceGroup::describe() const {
    std::string all;
    for (const Device* member : members_)
        all += (all.empty() ? "" : "; ") + member->describe();
    return all;
}

DeviceMemory DeviceGroup::memory() const {
    DeviceMemory all;
    for (const Device* member : members_) {
        const DeviceMemory memory = member->memory();
        all.total += memory.total;
        all.free += memory.free;
    }
    return all;
}

std::unique_ptr<DeviceCells> DeviceGroup::hold(const SearchableCells& cells,
                                               const DeviceOptions& options) const {
    if (options.shard) return std::make_unique<Shards>(members_, cells, options);
    std::vector<std::unique_ptr<DeviceCells>> held(members_.size());
    for_members(members_.size(), [&](size_t m) { held[m] = members_[m]->hold(cells, options); });
    return std::make_unique<Replicas>(std::move(held));
}

std::unique_ptr<DeviceNetwork> DeviceGroup::hold_network(const NetworkSteps& network,
                                                         const DeviceOptions& options) const {
    std::vector<std::unique_ptr<DeviceNetwork>> held(members_.size());
    for_members(members_.size(),
                [&](size_t m) { held[m] = members_[m]->hold_network(network, options); });
    return std::make_unique<ReplicaNetworks>(std::move(held));
}

SearchResult DeviceGroup::exact_search(const Vectors& base, const Vectors& queries, Metric metric,
                                       size_t k, int threads) const {
    std::vector<SearchResult> parts(members_.size());
    for_members(members_.size(), [&](size_t m) {
        const auto [begin, end] = share(queries.rows, m, members_.size());
        parts[m] =
            members_[m]->exact_search(base, queries.slice(begin, end - begin), metric, k, threads);
    });
    SearchResult all = std::move(parts.front());
    for (size_t m = 1; m < parts.size(); ++m) {
        all.queries += parts[m].queries;
        all.scores.insert(all.scores.end(), parts[m].scores.begin(), parts[m].scores.end());
        all.ids.insert(all.ids.end(), parts[m].ids.begin(), parts[m].ids.end());
        all.counts.insert(all.counts.end(), parts[m].counts.begin(), parts[m].counts.end());
        add_counts(parts[m].stats, all.stats);
    }
    return all;
}

}  // namespace nearcell
