#include <algorithm>

#include <nearcell/gpu/session.h>
#include <nearcell/index/factory.h>
#include <nearcell/kernels/device.h>
#include <nearcell/quantize/kmeans.h>
#include "device_bench.h"

namespace nearcell::bench {
namespace {

double number(size_t value) { return static_cast<double>(value); }

double recall_of(const std::vector<int64_t>& found, const std::vector<int64_t>& truth) {
    size_t hits = 0;
    for (size_t i = 0; i < found.size(); ++i) {
        const auto begin =
            truth.begin() + static_cast<std::ptrdiff_t>(i / kNeighbours * kNeighbours);
        const auto end = begin + static_cast<std::ptrdiff_t>(kNeighbours);
        hits += std::find(begin, end, found[i]) != end;
    }
    return number(hits) / number(found.size());
}

// Queries and results that lie on the device, as peers have theirs.
class DeviceArrays {
   public:
    explicit DeviceArrays(const Rows& queries)
        : queries_(queries.values.size(), stream_.get()),
          scores_(queries.rows * kNeighbours, stream_.get()),
          ids_(queries.rows * kNeighbours, stream_.get()) {
        queries_.copy_from(queries.values.data(), queries.values.size());
        batch_.queries = Vectors(queries_.data(), ElementType::Float32, queries.rows, queries.dim);
        batch_.scores = scores_.data();
        batch_.ids = ids_.data();
        batch_.on_device = true;
        batch_.stream = stream_.get();
        simt::synchronize(stream_.get());
    }
    // What the last searches found of the first `count` queries.
    std::vector<int64_t> ids(size_t count) const {
        std::vector<int64_t> found(count * kNeighbours);
        ids_.copy_to(found.data(), found.size());
        simt::synchronize(stream_.get());
        return found;
    }
    // Of `count` queries from `first` on. Returns when the results are there.
    void search(const CellIndex& index, const SearchOptions& options, size_t first,
                size_t count) const {
        DeviceBatch part = batch_;
        part.queries = batch_.queries.slice(first, count);
        index.search_into(part, options);
        simt::synchronize(stream_.get());
    }

   private:
    gpu::OwnStream stream_;
    gpu::DeviceArray<float> queries_, scores_;
    gpu::DeviceArray<int64_t> ids_;
    DeviceBatch batch_;
};

// One spec's index, built, and searched in batches and by single queries.
class IndexBench {
   public:
    IndexBench(const Setting& setting, const std::string& spec, const Rows& queries)
        : setting_(setting), spec_(spec), queries_(queries.view()), arrays_(queries) {
        CellIndexOptions options = parse_spec(spec, {queries.dim, Metric::L2});
        options.max_points_per_cell = setting.size.rows_per_cell;
        index_ = std::make_unique<CellIndex>(options);
    }

    void build(const Rows& base) {
        index_->to("cuda:0");
        const double trained = seconds_of([&] { index_->train(base.view()); });
        const double added = seconds_of([&] { index_->add(base.view()); });
        SearchOptions options = search_options(setting_.size.probes[0]);
        const double copied = seconds_of([&] { index_->search(queries_.slice(0, 1), options); });
        const IndexStats stats = index_->stats();
        setting_.report.write(
            Line("build")
                .add("spec", spec_)
                .add("train_seconds", trained)
                .add("add_seconds", added)
                .add("copy_seconds", copied)
                .add("code_bytes", number(stats.code_bytes))
                .add("rerank_bytes", number(stats.rerank_bytes))
                .add("device_bytes", number(stats.device_bytes) / number(base.rows)));
        code_bytes_ = number(stats.code_bytes);
    }

    void search_batches(const std::vector<int64_t>& truth) {
        for (const size_t probes : setting_.size.probes)
            search(probes, setting_.size.batches[0], &truth);
        const size_t middle = setting_.size.probes[kMiddle];
        for (const size_t batch : {size_t{1000}, setting_.size.batches[1]}) {
            if (batch < queries_.rows) search(middle, batch, nullptr);
        }
    }

    void search_singly() {
        const SearchOptions options = search_options(setting_.size.probes[kMiddle]);
        const Latencies found = latencies(
            setting_.size.calls, setting_.size.seconds,
            [&](size_t i) { index_->search(queries_.slice(i % queries_.rows, 1), options); });
        const Latencies there =
            latencies(setting_.size.calls, setting_.size.seconds,
                      [&](size_t i) { arrays_.search(*index_, options, i % queries_.rows, 1); });
        setting_.report.write(Line("one query")
                                  .add("spec", spec_)
                                  .add("probes", number(options.probes))
                                  .add("device_arrays_p50_us", 1e6 * there.p50)
                                  .add(found));
    }

    void use_tiles(bool byte_tiles) {
        DeviceOptions options;
        options.byte_tiles = byte_tiles;
        index_->to("cuda:0", options);
    }
    // A search of all queries between arrays on the device; seconds.
    double time_search(size_t probes) const {
        const SearchOptions options = search_options(probes);
        return seconds_of([&] { arrays_.search(*index_, options, 0, queries_.rows); });
    }
    double device_bytes() const { return number(index_->stats().device_bytes); }
    const std::string& spec() const { return spec_; }

    // Batches at few and at many probes, a small batch, one query.
    void profile_searches() {
        for (const auto& [batch, probes] :
             {std::pair(0, 1), std::pair(0, 5), std::pair(1, 1), std::pair(2, 1)}) {
            const SearchOptions options = search_options(setting_.size.probes[probes]);
            const Vectors some = queries_.slice(0, setting_.size.batches[batch]);
            profile([&] { index_->search(some, options); });
        }
    }

   private:
    static SearchOptions search_options(size_t probes) {
        SearchOptions options;
        options.k = kNeighbours;
        options.probes = probes;
        return options;
    }

    void search(size_t probes, size_t batch, const std::vector<int64_t>* truth) {
        const SearchOptions options = search_options(probes);
        const size_t parts = queries_.rows / batch;
        SearchResult result;
        const Timing timing =
            repeat(setting_.size.repetitions, setting_.size.seconds, [&](size_t i) {
                result = index_->search(queries_.slice(i % parts * batch, batch), options);
            });
        Line line("search");
        line.add("spec", spec_).add("probes", number(probes)).add("batch", number(batch));
        if (truth != nullptr) line.add("recall@10", recall_of(result.ids, *truth));
        line.add("queries_per_second", number(batch) / timing.median);
        // Of codes, were each read for each query: batches read them less often.
        const double bytes = static_cast<double>(result.stats.scanned) * code_bytes_;
        line.add("scanned_per_query", static_cast<double>(result.stats.scanned) / number(batch));
        line.add("code_GBs", bytes / timing.median / 1e9);
        line.add("of_copy_rate", bytes / timing.median / setting_.copy_rate);
        line.add(timing);
        const Timing there =
            repeat(setting_.size.repetitions, setting_.size.seconds,
                   [&](size_t i) { arrays_.search(*index_, options, i % parts * batch, batch); });
        line.add("device_arrays_ms", 1e3 * there.median);
        if (truth != nullptr)
            line.add("device_arrays_recall", recall_of(arrays_.ids(batch), *truth));
        setting_.report.write(line);
    }

    const Setting& setting_;
    std::string spec_;
    Vectors queries_;
    DeviceArrays arrays_;
    std::unique_ptr<CellIndex> index_;
    double code_bytes_ = 0;
};

// Searches by turns, each index as often the first as the others: what else happens to the device
// meanwhile happens to all.
void compare(const Setting& setting, const std::vector<std::unique_ptr<IndexBench>>& indexes,
             size_t probes, bool byte_tiles, size_t rows) {
    const size_t count = indexes.size(), rounds = 2 * count * setting.size.repetitions;
    std::vector<std::vector<double>> times(count), ratios(count);
    for (const auto& index : indexes)
        index->time_search(probes);
    for (size_t round = 0; round < rounds; ++round) {
        std::vector<double> seconds(count);
        for (size_t i = 0; i < count; ++i) {
            const size_t which = (round + i) % count;
            seconds[which] = indexes[which]->time_search(probes);
        }
        for (size_t i = 0; i < count; ++i) {
            times[i].push_back(seconds[i]);
            ratios[i].push_back(seconds[i] / seconds[0]);
        }
    }
    for (size_t i = 0; i < count; ++i) {
        std::sort(times[i].begin(), times[i].end());
        std::sort(ratios[i].begin(), ratios[i].end());
        setting.report.write(Line("codes by turns")
                                 .add("spec", indexes[i]->spec())
                                 .add("byte_tiles", byte_tiles ? "yes" : "no")
                                 .add("probes", number(probes))
                                 .add("device_arrays_ms", 1e3 * times[i][rounds / 2])
                                 .add("of_first", ratios[i][rounds / 2])
                                 .add("quarter_below", ratios[i][rounds / 4])
                                 .add("quarter_above", ratios[i][rounds * 3 / 4])
                                 .add("rounds", number(rounds))
                                 .add("device_bytes", indexes[i]->device_bytes() / number(rows)));
    }
}

}  // namespace

void bench_codes(const Setting& setting, const Rows& base, const Rows& queries) {
    const std::string cells = "IVF" + std::to_string(setting.size.cells) + ",";
    std::vector<std::unique_ptr<IndexBench>> indexes;
    const std::string first = "SQbf16nr", again = first;  // what it differs by from itself, too
    for (const std::string& code :
         {first, std::string("SQ8nr"), "PQ" + std::to_string(setting.size.dim) + "x4fs", again}) {
        indexes.push_back(std::make_unique<IndexBench>(setting, cells + code, queries));
        indexes.back()->build(base);
    }
    for (const bool byte_tiles : {true, false}) {
        for (const auto& index : indexes)
            index->use_tiles(byte_tiles);
        for (const size_t which : {size_t{1}, size_t{4}})
            compare(setting, indexes, setting.size.probes[which], byte_tiles, base.rows);
    }
}

void bench_build(const Setting& setting, const Rows& base) {
    const Backend& backend = find_device("cuda:0")->backend();
    KMeansOptions options;
    options.clusters = setting.size.cells;
    options.iterations = CellIndexOptions().cell_iterations;
    options.method = KMeansMethod::Hierarchical;
    options.max_points_per_cluster = setting.size.rows_per_cell;
    KMeansResult result;
    const double seconds =
        seconds_of([&] { result = train_kmeans(base.view(), options, backend); });
    setting.report.write(Line("k-means")
                             .add("rows", number(result.points_used))
                             .add("clusters", number(options.clusters))
                             .add("seconds", seconds)
                             .add("backend", backend.describe()));
    // A tenth of the rows tells what one costs; adding them all is measured with each index.
    const MatrixView<const float> part = base.view().slice(0, (base.rows + 9) / 10);
    std::vector<uint32_t> labels(part.rows);
    const double assigned = seconds_of(
        [&] { backend.assign(part, result.view(), Metric::L2, labels.data(), nullptr, 0); });
    setting.report.write(Line("assign")
                             .add("rows", number(part.rows))
                             .add("clusters", number(options.clusters))
                             .add("seconds", assigned)
                             .add("rows_per_second", number(part.rows) / assigned));
}

void bench_index(const Setting& setting, const std::string& spec, const Rows& base,
                 const Rows& queries, const std::vector<int64_t>& truth) {
    IndexBench bench(setting, spec, queries);
    bench.build(base);
    if (setting.profile) return bench.profile_searches();
    bench.search_batches(truth);
    bench.search_singly();
}

}  // namespace nearcell::bench
