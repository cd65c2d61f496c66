#include <nearcell/quantize/kmeans_seeding.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <nearcell/core/parallel.h>

namespace nearcell {
namespace {

constexpr size_t kRows = 1024;      // rows of one partial sum of the probabilities
constexpr size_t kMaxPending = 16;  // seeds drawn between two looks at all points: one block
constexpr size_t kMaxRefused = 32;  // refusals in a row that bring the next look forward

bool counts(const KMeansPoints& points, size_t row) {
    if (!(points.weight(row) > 0)) return false;
    if (!points.spherical()) return true;
    const float* x = points.x.row(row);
    return std::any_of(x, x + points.x.cols, [](float value) { return value != 0.0f; });
}

// The head of a random permutation, rows that count first.
std::vector<size_t> random_rows(const KMeansPoints& points, size_t clusters, Random& random) {
    std::vector<size_t> order(points.x.rows);
    for (size_t i = 0; i < order.size(); ++i)
        order[i] = i;
    std::vector<size_t> rows, idle;
    for (size_t i = 0; i < order.size() && rows.size() < clusters; ++i) {
        std::swap(order[i], order[i + random.below(order.size() - i)]);
        (counts(points, order[i]) ? rows : idle).push_back(order[i]);
    }
    rows.insert(rows.end(), idle.begin(), idle.end());
    rows.resize(clusters);
    return rows;
}

// k-means++ with few looks at the data. The probabilities at hand may be out of date by the seeds
// drawn since they were computed; a row drawn by them is then accepted with probability (its
// probability now) / (the one at hand), which draws from the up-to-date distribution exactly.
class PlusPlus {
   public:
    PlusPlus(const KMeansPoints& points, size_t clusters, Random& random, const Backend& backend,
             int threads)
        : points_(points),
          clusters_(clusters),
          random_(random),
          backend_(backend),
          threads_(threads),
          square_(points.x.rows, std::numeric_limits<float>::max()),
          drawn_(points.x.rows, false),
          labels_(points.x.rows),
          keys_(points.x.rows),
          partial_((points.x.rows + kRows - 1) / kRows) {
        if (points.spherical()) measure_lengths();
    }

    std::vector<size_t> draw() {
        take(random_rows(points_, 1, random_)[0]);
        refresh();
        size_t room = 1;  // looks are close together at first, when each seed changes much
        while (rows_.size() < clusters_ && total_ > 0) {
            draw_pending(std::min(room, clusters_ - rows_.size()));
            refresh();
            room = std::min(2 * room, kMaxPending);
        }
        fill_up();
        return rows_;
    }

   private:
    void measure_lengths() {
        lengths_.resize(points_.x.rows);
        parallel_for(partial_.size(), threads_, [&](size_t task, int) {
            const size_t end = std::min(points_.x.rows, (task + 1) * kRows);
            for (size_t i = task * kRows; i < end; ++i)
                lengths_[i] = length(points_.x.row(i));
        });
    }
    float length(const float* x) const {
        double squares = 0;
        for (size_t j = 0; j < points_.x.cols; ++j) {
            squares += static_cast<double>(x[j]) * static_cast<double>(x[j]);
        }
        return static_cast<float>(std::sqrt(squares));
    }

    // The squared distance of a row from a seed, given its key.
    float square_from_key(size_t row, float key) const {
        if (!points_.spherical()) return key;
        return lengths_[row] > 0 ? std::max(0.0f, 2.0f + 2.0f * key / lengths_[row]) : 0.0f;
    }

    void take(size_t row) {
        rows_.push_back(row);
        drawn_[row] = true;
        const float* x = points_.x.row(row);
        pending_.insert(pending_.end(), x, x + points_.x.cols);
        if (points_.spherical()) {
            normalize_centroid(pending_.data() + pending_.size() - points_.x.cols, points_.x.cols,
                               row);
        }
    }

    // Brings the squared distances and their sums up to date with the pending seeds.
    void refresh() {
        const size_t dim = points_.x.cols;
        const MatrixView<const float> seeds(pending_.data(), pending_.size() / dim, dim);
        backend_.assign(points_.x, seeds, points_.metric, labels_.data(), keys_.data(), threads_);
        parallel_for(partial_.size(), threads_, [&](size_t task, int) {
            const size_t end = std::min(points_.x.rows, (task + 1) * kRows);
            double sum = 0;
            for (size_t i = task * kRows; i < end; ++i) {
                square_[i] = drawn_[i] ? 0.0f : std::min(square_[i], square_from_key(i, keys_[i]));
                sum += mass(i);
            }
            partial_[task] = sum;
        });
        total_ = 0;
        for (double part : partial_)
            total_ += part;
        pending_.clear();
    }
    double mass(size_t row) const {
        return points_.weight(row) * static_cast<double>(square_[row]);
    }

    void draw_pending(size_t count) {
        size_t refused = 0;
        for (size_t taken = 0; taken < count && refused < kMaxRefused;) {
            const size_t row = drawn_row();
            if (!drawn_[row] && accept(row)) {
                take(row);
                ++taken;
                refused = 0;
            } else {
                ++refused;
            }
        }
    }
    // A row with probability mass / total.
    size_t drawn_row() {
        double rest = random_.uniform() * total_;
        size_t block = 0;
        while (block + 1 < partial_.size() && rest >= partial_[block])
            rest -= partial_[block++];
        const size_t end = std::min(points_.x.rows, (block + 1) * kRows);
        size_t last = block * kRows;  // rounding may leave a rest: the last row with mass takes it
        for (size_t i = block * kRows; i < end; ++i) {
            if (!(mass(i) > 0)) continue;
            last = i;
            rest -= mass(i);
            if (rest < 0) break;
        }
        return last;
    }
    bool accept(size_t row) {
        const size_t dim = points_.x.cols;
        double now = static_cast<double>(square_[row]);
        for (size_t first = 0; first < pending_.size(); first += dim) {
            now = std::min(now, square_from_seed(row, pending_.data() + first));
        }
        return random_.uniform() * static_cast<double>(square_[row]) < now;
    }
    double square_from_seed(size_t row, const float* seed) const {
        const double scale = points_.spherical() ? 1.0 / static_cast<double>(lengths_[row]) : 1.0;
        double square = 0;
        for (size_t j = 0; j < points_.x.cols; ++j) {
            const double gap =
                scale * static_cast<double>(points_.x.row(row)[j]) - static_cast<double>(seed[j]);
            square += gap * gap;
        }
        return square;
    }

    // Every row left lies on a seed (or does not count): the rest are rows not yet drawn.
    void fill_up() {
        if (rows_.size() == clusters_) return;
        for (size_t row : random_rows(points_, points_.x.rows, random_)) {
            if (rows_.size() == clusters_) return;
            if (!drawn_[row]) rows_.push_back(row);
        }
    }

    const KMeansPoints& points_;
    size_t clusters_;
    Random& random_;
    const Backend& backend_;
    int threads_;
    std::vector<float> lengths_;  // spherical
    std::vector<float> square_;   // squared distance from the nearest seed, pending ones excepted
    std::vector<bool> drawn_;
    std::vector<uint32_t> labels_;  // of the pending seeds, and their keys
    std::vector<float> keys_;
    std::vector<double> partial_;  // mass of each kRows rows
    double total_ = 0;
    std::vector<size_t> rows_;    // drawn so far
    std::vector<float> pending_;  // seeds drawn since square_ was computed
};

}  // namespace

std::vector<float> seed_centroids(const KMeansPoints& points, size_t clusters, Seeding seeding,
                                  Random& random, const Backend& backend, int threads) {
    const size_t dim = points.x.cols;
    const std::vector<size_t> rows =
        seeding == Seeding::Random ? random_rows(points, clusters, random)
                                   : PlusPlus(points, clusters, random, backend, threads).draw();
    std::vector<float> centroids(clusters * dim);
    for (size_t c = 0; c < clusters; ++c) {
        std::copy_n(points.x.row(rows[c]), dim, centroids.data() + c * dim);
        if (points.spherical()) normalize_centroid(centroids.data() + c * dim, dim, c);
    }
    return centroids;
}

}  // namespace nearcell
