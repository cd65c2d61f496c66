#include <nearcell/gpu/exact_search.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/gpu/row_slices.h>
#include <nearcell/gpu/exact_batch.cuh>
#include <nearcell/gpu/kernels/limit_labels.cuh>

namespace nearcell::gpu {
namespace {

constexpr size_t kMostRows = (size_t{1} << 32) - 1;  // places are 32 bits
constexpr size_t kUploadBytes = size_t{16} << 20;    // of the base that are copied at once
constexpr size_t kSampleRows = size_t{1} << 14;      // whose mean is the centre
constexpr size_t kSampleShare = 4;  // of all rows, whose nearest is a limit for the others
constexpr size_t kLabelRoom = 64;   // candidates of a vector; some kSampleShare are expected
static_assert(sizeof(QueryBound) + sizeof(float2) + sizeof(uint64_t) +
                  sizeof(unsigned) * (kLabelRoom + 1) + 2 * kSegment <=
              DeviceFlat::kLabelBytes);

// Rows [first, first + out.rows) as float32, by all threads.
void read_floats(const Vectors& vectors, size_t first, MatrixView<float> out, int threads) {
    constexpr size_t kRows = 256;
    parallel_for(ceil_divide(out.rows, kRows), threads, [&](size_t task, int) {
        const size_t begin = task * kRows, count = std::min(kRows, out.rows - begin);
        read_rows(vectors, first + begin, out.slice(begin, count));
    });
}

// Vectors as float32 to the device, by way of the session's memory for copies.
void upload_floats(Session& session, const Vectors& vectors, float* to, int threads) {
    const size_t count = vectors.rows * vectors.cols;
    auto* const between = session.upload.get<float>(count);
    read_floats(vectors, 0, {between, vectors.rows, vectors.cols}, threads);
    simt::copy_to_device(to, between, count * sizeof(float), session.stream.get());
}

struct UploadWork {
    const Vectors& vectors;
    float* to;
    int threads;

    void start(Session& session, size_t first, size_t count) const {
        upload_floats(session, vectors.slice(first, count), to + first * vectors.cols, threads);
    }
    void finish(Session&, size_t, size_t) const {}
};

// The mean of a sample. Any point would be right; the nearer to the rows, the smaller the bounds.
std::vector<float> centre_of(const Vectors& base, Metric metric) {
    const size_t count = std::min(base.rows, kSampleRows);
    std::vector<double> sums(base.cols, 0.0);
    std::vector<float> row(base.cols);
    for (size_t i = 0; i < count; ++i) {
        const size_t at = i * (base.rows / count);
        read_rows(base, at, {row.data(), 1, base.cols});
        double squares = 0;
        for (const float x : row)
            squares += static_cast<double>(x) * static_cast<double>(x);
        const bool by_length = metric == Metric::Cosine && squares > 0;
        const double factor = by_length ? 1 / std::sqrt(squares) : 1;
        for (size_t j = 0; j < base.cols; ++j)
            sums[j] += static_cast<double>(row[j]) * factor;
    }
    for (size_t j = 0; j < base.cols; ++j)
        row[j] = static_cast<float>(sums[j] / static_cast<double>(std::max<size_t>(1, count)));
    return row;
}

double length_of(const std::vector<float>& vector) {
    double sum = 0;
    for (const float x : vector)
        sum += static_cast<double>(x) * static_cast<double>(x);
    return std::sqrt(sum) * (1 + slack_of_sum(vector.size()));
}

// Steps of the golden ratio spread any number of them evenly.
RowOrder order_of(size_t rows) {
    auto step = static_cast<uint64_t>(static_cast<double>(rows) * 0.6180339887498949);
    step = std::max<uint64_t>(step, 1);
    while (std::gcd(step, rows) != 1)
        ++step;
    return {rows, step};
}

void check_base(const Vectors& base) {
    check(base.cols >= 1, StatusCode::InvalidArgument,
          "base has 0 columns: pass vectors of 1 or more");
    check_dim(base, base.cols, "base");
    check(base.rows <= kMostRows, StatusCode::Unsupported, "base has ", base.rows,
          " rows, but exact search on a device takes at most ", kMostRows,
          ": search parts of it, or use exact_search");
}

void check_queries(const Vectors& queries, size_t dim, size_t k, int threads) {
    check(k >= 1, StatusCode::InvalidArgument, "k = 0: ask for at least one neighbour");
    check_dim(queries, dim, "queries");
    check_finite(queries, "queries", threads);
}

}  // namespace

// The base on the device, and what its searches need to know.
struct DeviceFlat::Base : ExactBase {
    DeviceFlatOptions options;
    OwnStream stream;
    DeviceArray<float> floats, centre;
    DeviceArray<unsigned short> rounded;
    DeviceArray<float2> terms;
    MemoryBudget budget{std::numeric_limits<size_t>::max()};  // calls take what options say
    SessionPool sessions{budget};

    void upload(const Vectors& vectors, SessionPool& pool);
    void round(const Vectors& vectors, SessionPool& pool);

   private:
    template <class T>
    DeviceArray<T> make(size_t size, SessionPool& pool) const {
        return made_with_room(&pool, [&] { return DeviceArray<T>(size, stream.get()); });
    }
};

void DeviceFlat::Base::upload(const Vectors& vectors, SessionPool& pool) {
    floats = make<float>(vectors.rows * vectors.cols, pool);
    simt::synchronize(stream.get());  // so that other streams may use it
    UploadWork work{vectors, floats.data(), options.threads};
    run_in_slices(pool, vectors.rows, rows_of_slice(kUploadBytes, vectors.cols * sizeof(float)),
                  work);
}

// Where and how large the base is, and then its rounded copy.
void DeviceFlat::Base::round(const Vectors& vectors, SessionPool& pool) {
    const std::vector<float> middle = centre_of(vectors, space.metric);
    centre = DeviceArray<float>(space.dim, stream.get());
    centre.copy_from(middle.data(), middle.size());
    space.centre = centre.data();
    space.centre_length = length_of(middle);
    DeviceArray<unsigned> longest(1, stream.get());
    longest.fill_zero();
    const dim3 grid = grid_of_warps(vectors.rows);
    simt::launch({"measure_rows", grid, kRoundThreads, 0, stream.get()}, measure_rows, space,
                 floats.data(), vectors.rows, longest.data());
    unsigned bits = 0;
    longest.copy_to(&bits, 1);
    simt::synchronize(stream.get());
    const double length = static_cast<double>(std::bit_cast<float>(bits));
    space.row_length = length + space.centre_length;
    int exponent = 0;
    std::frexp(length, &exponent);
    space.scale = length > 0 ? std::ldexp(1.0, target_exponent(space.rounding) - exponent) : 1;
    order = order_of(vectors.rows);
    const size_t places = padded_places(vectors.rows);
    rounded = make<unsigned short>(places * space.padded, pool);
    terms = make<float2>(places, pool);
    simt::launch({"round_rows", grid_of_warps(places), kRoundThreads, 0, stream.get()}, round_rows,
                 space, floats.data(), order, rounded.data(), terms.data());
    simt::synchronize(stream.get());
}

DeviceFlat::DeviceFlat(const Vectors& base, Metric metric, const DeviceFlatOptions& options,
                       SessionPool* uploads) {
    check_base(base);
    check_finite(base, "base", options.threads);
    base_ = std::make_unique<Base>();
    base_->options = options;
    base_->device = simt::device_properties();
    Space& space = base_->space;
    space.metric = metric;
    space.rounding = base_->device.architecture >= 80 ? Rounding::Bfloat16 : Rounding::Half;
    space.dim = base.cols;
    space.padded = ceil_divide(base.cols, kSegment) * kSegment;
    SessionPool& pool = uploads == nullptr ? base_->sessions : *uploads;
    base_->upload(base, pool);
    base_->order.rows = base.rows;
    if (base.rows > 0) base_->round(base, pool);
    base_->row_floats = base_->floats.data();
    base_->row_rounded = base_->rounded.data();
    base_->row_terms = base_->terms.data();
}

DeviceFlat::~DeviceFlat() = default;
DeviceFlat::DeviceFlat(DeviceFlat&&) noexcept = default;
DeviceFlat& DeviceFlat::operator=(DeviceFlat&&) noexcept = default;

size_t DeviceFlat::rows() const { return base_->order.rows; }
size_t DeviceFlat::dim() const { return base_->space.dim; }

namespace {

// The best k of some queries, which are numbers in any order, as a result.
void write_results(Metric metric, size_t first, size_t queries, const BatchResult& found,
                   size_t kept, int threads, SearchResult& result) {
    constexpr size_t kQueries = 256;  // of a task: threads take longer to come together than this
    parallel_for(ceil_divide(queries, kQueries), threads, [&](size_t task, int) {
        for (size_t i = task * kQueries; i < std::min(queries, (task + 1) * kQueries); ++i) {
            const size_t q = first + i, count = found.held[i];
            uint64_t* const keys = found.best + i * kept;
            std::sort(keys, keys + count);
            result.counts[q] = count;
            for (size_t j = 0; j < count; ++j) {
                const float key = std::bit_cast<float>(key_bits(keys[j]));
                result.scores[q * result.k + j] = 0.0f + score_from_key(metric, key);
                result.ids[q * result.k + j] = tag_of(keys[j]);
            }
        }
    });
}

SearchResult missing_results(size_t queries, size_t k, Metric metric) {
    SearchResult result = empty_result(queries, k, metric);
    result.stats.plan = "exact on a device: 16-bit products bound the scores, float64 decides";
    return result;
}

}  // namespace

SearchResult DeviceFlat::search(const Vectors& queries, size_t k) const {
    const Base& base = *base_;
    const Space& space = base.space;
    check_queries(queries, space.dim, k, base.options.threads);
    SearchResult result = missing_results(queries.rows, k, space.metric);
    const size_t kept = std::min(k, rows());
    if (kept == 0) return result;
    // Of L1 every row is a candidate, and one block selects among a query's: more room for few
    // queries would not help.
    const size_t sharing = space.metric == Metric::L1 ? kFewQueries : queries.rows;
    const size_t room =
        candidate_room(base.options.candidates, rows(), kept, sharing, base.options.scratch_bytes);
    const size_t batch = batch_queries(base.options.scratch_bytes, space, room, kept);
    SessionPool::Lease session = base_->sessions.lease();
    Scratch& scratch = session->scratch;
    for (size_t first = 0; first < queries.rows; first += batch) {
        const size_t count = std::min(batch, queries.rows - first);
        scratch.start();
        auto* const floats = scratch.take<float>(count * dim());
        upload_floats(*session, queries.slice(first, count), floats, base.options.threads);
        ExactBatch searched(base, floats, count, kept, room, *session);
        searched.add_all();
        write_results(space.metric, first, count, searched.finish(), kept, base.options.threads,
                      result);
        result.stats.scanned += uint64_t{count} * rows();
        result.stats.reranked += searched.rescored();
    }
    if (scratch.bytes() > base.options.scratch_bytes) scratch.clear();
    scratch.start();  // on the emulation nothing stays between calls
    session.done();
    return result;
}

LabelCandidates DeviceFlat::find_candidates(const float* vectors, size_t count,
                                            Session& session) const {
    const Base& base = *base_;
    const Space& space = base.space;
    const simt::Stream stream = session.stream.get();
    Scratch& scratch = session.scratch;
    auto* const rounded = scratch.take<unsigned short>(count * space.padded);
    auto* const bounds = scratch.take<QueryBound>(count);
    auto* const limits = scratch.take<float2>(count);
    auto* const lowest = scratch.take<unsigned long long>(count);
    auto* const counts = scratch.take<unsigned>(count);
    const size_t room = std::min(rows(), kLabelRoom);
    auto* const places = scratch.take<unsigned>(count * room);
    simt::launch({"round_queries", grid_of_warps(count), kRoundThreads, 0, stream}, round_queries,
                 space, vectors, count, rounded, bounds, limits);
    ScanJob job{};
    job.queries = rounded;
    job.limits = limits;
    job.count = count;
    job.end = std::min(rows(), std::max<size_t>(kFirstRows, rows() / kSampleShare));
    job.lowest = lowest;
    simt::fill_bytes(lowest, 0xff, count * sizeof *lowest, stream);
    start_scan<NoteLowest>(base, job, stream);
    simt::launch(
        {"limit_labels", static_cast<unsigned>(ceil_divide(count, kLimitThreads / kLimitLanes)),
         kLimitThreads, 0, stream},
        limit_labels,
        LabelLimitJob{space, vectors, count, base.row_floats, base.order, lowest, bounds, limits});
    job.end = rows();
    job.counts = counts;
    job.candidates = places;
    job.capacity = room;
    simt::fill_bytes(counts, 0, count * sizeof *counts, stream);
    start_scan<OfferPassing>(base, job, stream);
    return {{counts, places, room, 0, 0}, base.order};
}

SearchResult device_exact_search(const Vectors& base, const Vectors& queries, Metric metric,
                                 size_t k, const DeviceFlatOptions& options) {
    check_base(base);
    check_queries(queries, base.cols, k, options.threads);  // before the base is copied
    return DeviceFlat(base, metric, options).search(queries, k);
}

}  // namespace nearcell::gpu
