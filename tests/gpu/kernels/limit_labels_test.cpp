// The limit under which a vector's label is looked for, at the ends of float32: whichever row a
// scan has noted, the row that float32 takes, as the CPU's assignment does, passes with the worst
// product that a tensor core may give, and so does the nearest by exact keys; or the vector is
// doubtful. Keys and products are the test's own, in long double.
#include <nearcell/gpu/kernels/limit_labels.cuh>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <nearcell/core/random.h>
#include <nearcell/core/vectors.h>

#include "gpu/simt/support.h"

namespace nearcell::gpu {
namespace {

using simt::DeviceArray;
using Wide = long double;
using Vector = std::vector<float>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kMost = std::numeric_limits<float>::max();

Wide exact_key(Metric metric, const Vector& a, const Vector& b) {
    Wide sum = 0;
    for (size_t j = 0; j < a.size(); ++j) {
        const Wide x = static_cast<Wide>(a[j]), y = static_cast<Wide>(b[j]);
        sum += is_similar(metric) ? -x * y : (x - y) * (x - y);
    }
    return sum;
}

// As add_dimension (tile_product.cuh).
float float_key(Metric metric, const Vector& a, const Vector& b) {
    float sum = 0;
    for (size_t j = 0; j < a.size(); ++j) {
        const float difference = a[j] - b[j];
        sum =
            is_similar(metric) ? std::fma(a[j], b[j], sum) : std::fma(difference, difference, sum);
    }
    return is_similar(metric) ? -sum : sum;
}

// The first row of the smallest finite key.
template <class Key>
std::optional<size_t> nearest_row(size_t rows, const Key& key) {
    std::optional<size_t> best;
    for (size_t i = 0; i < rows; ++i) {
        if (std::isfinite(key(i)) && (!best || key(i) < key(*best))) best = i;
    }
    return best;
}

Wide length(const Vector& vector) {
    return std::sqrt(-exact_key(Metric::InnerProduct, vector, vector));
}

Vector flat(const std::vector<Vector>& vectors, size_t times = 1) {
    Vector values;
    for (const Vector& vector : vectors) {
        for (size_t i = 0; i < times; ++i)
            values.insert(values.end(), vector.begin(), vector.end());
    }
    return values;
}

Vector mean(const std::vector<Vector>& rows) {
    Vector result;
    for (size_t j = 0; j < rows.front().size(); ++j) {
        double sum = 0;
        for (const Vector& row : rows)
            sum += static_cast<double>(row[j]);
        result.push_back(static_cast<float>(sum / static_cast<double>(rows.size())));
    }
    return result;
}

struct Tally {
    size_t lost = 0;      // labels, and nearest rows
    size_t doubtful = 0;  // vectors, for no reason
    size_t pairs = 0;     // of a vector that noted its nearest row, and a row
    size_t left_out = 0;  // of these
};

// Rows and vectors on the device. Each vector is there once for each row that it may have noted,
// and once for none.
class LabelCase {
   public:
    LabelCase(Metric metric, Rounding rounding, const std::vector<Vector>& rows,
              const std::vector<Vector>& vectors)
        : rows_(rows),
          vectors_(vectors),
          row_values_(flat(rows)),
          vector_values_(flat(vectors, rows.size() + 1)),
          centre_(mean(rows)) {
        space_.metric = metric;
        space_.rounding = rounding;
        space_.dim = rows.front().size();
        space_.padded = (space_.dim + kSegment - 1) / kSegment * kSegment;
        space_.centre = centre_.data();
        measure();
        round();
    }

    Tally tally() const {
        const std::vector<float2> limits = limits_of_all();
        Tally result;
        for (size_t slot = 0; slot < slots(); ++slot) {
            const Vector& vector = vectors_[slot / choices()];
            const size_t noted = slot % choices();
            std::vector<bool> in;
            for (size_t i = 0; i < rows_.size(); ++i)
                in.push_back(passes(i, slot, limits[slot]));
            const auto passing = static_cast<size_t>(std::count(in.begin(), in.end(), true));
            if (noted == rows_.size()) {
                EXPECT_EQ(passing, 0u);
                continue;
            }
            if (passing == 0) {  // all rows are compared
                result.doubtful += may_overflow(vector, rows_[noted]) ? 0 : 1;
                continue;
            }
            const auto label = nearest_row(
                rows_.size(), [&](size_t i) { return float_key(space_.metric, vector, rows_[i]); });
            const auto nearest = nearest_row(
                rows_.size(), [&](size_t i) { return exact_key(space_.metric, vector, rows_[i]); });
            result.lost += label && !in[*label] ? 1 : 0;
            EXPECT_TRUE(!label || is_expected(vector, *label, noted));
            result.lost += nearest && !in[*nearest] ? 1 : 0;
            if (nearest != noted) continue;
            result.pairs += in.size();
            result.left_out += in.size() - passing;
        }
        return result;
    }

   private:
    // As DeviceFlat does.
    void measure() {
        const Vector centre = centre_.to_host();
        space_.centre_length = static_cast<double>(length(centre)) * (1 + 1e-15);
        const DeviceArray<unsigned> longest(1, 0u);
        simt::launch({"measure_rows", blocks_of(rows_.size()), kRoundThreads}, measure_rows, space_,
                     row_values_.data(), rows_.size(), longest.data());
        const double most = static_cast<double>(std::bit_cast<float>(longest.to_host()[0]));
        space_.row_length = most + space_.centre_length;
        int exponent = 0;
        std::frexp(most, &exponent);
        space_.scale = most > 0 ? std::ldexp(1.0, target_exponent(space_.rounding) - exponent) : 1;
    }
    void round() {
        const size_t places = padded_places(rows_.size()), count = slots();
        const DeviceArray<unsigned short> rounded_rows(places * space_.padded),
            rounded_vectors(count * space_.padded);
        const DeviceArray<float2> terms(places), unlimited(count);
        simt::launch({"round_rows", blocks_of(places), kRoundThreads}, round_rows, space_,
                     row_values_.data(), order(), rounded_rows.data(), terms.data());
        simt::launch({"round_queries", blocks_of(count), kRoundThreads}, round_queries, space_,
                     vector_values_.data(), count, rounded_vectors.data(), bounds_.data(),
                     unlimited.data());
        tiles_ = rounded_rows.to_host();
        terms_ = terms.to_host();
        vector_bits_ = rounded_vectors.to_host();
    }
    std::vector<float2> limits_of_all() const {
        std::vector<unsigned long long> noted;
        for (size_t slot = 0; slot < slots(); ++slot)
            noted.push_back(slot % choices() == rows_.size()
                                ? ~0ull
                                : pack_key(0, static_cast<unsigned>(slot % choices())));
        const DeviceArray<unsigned long long> lowest(noted);
        const DeviceArray<float2> limits(slots());
        const LabelLimitJob job{space_,  vector_values_.data(), slots(),        row_values_.data(),
                                order(), lowest.data(),         bounds_.data(), limits.data()};
        simt::launch(
            {"limit_labels", static_cast<unsigned>(slots() * kLimitLanes / kLimitThreads + 1),
             kLimitThreads},
            limit_labels, job);
        return limits.to_host();
    }

    // Whether a row passes, with a sum that is as much too large as g allows.
    bool passes(size_t row, size_t slot, float2 limit) const {
        const Wide start = static_cast<Wide>(terms_[row].x);
        Wide sum = 0, row_squares = 0, vector_squares = 0;
        for (size_t j = 0; j < space_.padded; ++j) {
            const auto bits = tiles_[place_in_tiles(row, j, space_.padded)];
            const Wide a = static_cast<Wide>(value_of(space_.rounding, bits));
            const Wide b = static_cast<Wide>(
                value_of(space_.rounding, vector_bits_[slot * space_.padded + j]));
            sum += a * b;
            row_squares += a * a;
            vector_squares += b * b;
        }
        const Wide largest = std::abs(start) + std::sqrt(row_squares * vector_squares);
        sum += start + static_cast<Wide>(product_error(space_)) * largest;
        return static_cast<float>(sum) <= std::fma(limit.y, terms_[row].y, limit.x);
    }
    // Whether a label is as near as is said of it where the sums do not overflow.
    bool is_expected(const Vector& vector, size_t label, size_t noted) const {
        if (may_overflow(vector, rows_[noted])) return true;
        const auto key = static_cast<float>(exact_key(space_.metric, vector, rows_[noted]));
        const double lengths = static_cast<double>(length(vector)) * space_.row_length;
        return exact_key(space_.metric, vector, rows_[label]) <=
               static_cast<Wide>(largest_key(space_.metric, static_cast<double>(key), space_.dim,
                                             is_similar(space_.metric) ? lengths : 0));
    }
    bool may_overflow(const Vector& vector, const Vector& noted) const {
        for (const float x : vector) {
            if (!std::isfinite(x)) return true;
        }
        const Wide key = std::abs(exact_key(space_.metric, vector, noted));
        const Wide lengths = length(vector) * static_cast<Wide>(space_.row_length);
        return key > 0.9e38L || (is_similar(space_.metric) && lengths > 0.9e37L);
    }

    static dim3 blocks_of(size_t vectors) {
        return static_cast<unsigned>((vectors * 32 + kRoundThreads - 1) / kRoundThreads);
    }
    size_t choices() const { return rows_.size() + 1; }
    size_t slots() const { return vectors_.size() * choices(); }
    RowOrder order() const { return {rows_.size(), 1}; }

    const std::vector<Vector>&rows_, &vectors_;
    Space space_{};
    DeviceArray<float> row_values_, vector_values_, centre_;
    DeviceArray<QueryBound> bounds_{slots()};
    std::vector<unsigned short> tiles_, vector_bits_;
    std::vector<float2> terms_;
};

// Within what a base may have, of either sign.
Vector values(size_t dim, const std::function<double()>& value) {
    Vector vector;
    for (size_t j = 0; j < dim; ++j) {
        const float most = largest_value(dim);
        vector.push_back(static_cast<float>(
            std::clamp(value(), -static_cast<double>(most), static_cast<double>(most))));
    }
    return vector;
}

// Rows of one kind, in the order of a scale's.
std::vector<Vector> some_rows(size_t kind, size_t dim, double scale, Random& random) {
    constexpr size_t kRows = 9;
    const auto normal = [&] { return scale * random.normal(); };
    const Vector first = values(dim, normal);
    std::vector<Vector> rows(kRows, first);
    for (size_t i = 0; i < kRows; ++i) {
        Vector& row = rows[i];
        float& some = row[random.below(dim)];
        switch (kind) {
            case 0: row = values(dim, normal); break;
            case 1: break;  // all equal
            case 2:         // which differ by a last bit, or two
                some = std::nextafter(some, i % 2 == 0 ? kInfinity : 0.0f);
                row[0] = std::nextafter(row[0], 0.0f);
                break;
            case 3:  // of every size
                row = values(dim,
                             [&] { return normal() * std::ldexp(1.0, -static_cast<int>(8 * i)); });
                if (i == 4) row.assign(dim, 0.0f);
                break;
            case 4: row.assign(dim, (i % 2 == 0 ? 1.0f : -1.0f) * largest_value(dim)); break;
            case 5:  // apart by less than 16 bits tell, far from the origin
                row = values(dim, [&] { return scale * (1 + 1e-6 * random.normal()); });
                break;
            case 6:  // whose last terms are lost in a sum of floats, or in one of squares
                row.assign(dim, static_cast<float>(scale * (i % 2 == 0 ? 0x1p-25 : 0x1.6p-13)));
                if (i % 3 == 0) row.assign(dim, 0.0f);
                row[0] = static_cast<float>(scale);
                break;
            default:  // nearly equal beside one large value
                row = values(dim, [&] { return static_cast<double>(random.below(4)) * 0x1p-149; });
                row[0] = std::min(0x1p50f, largest_value(dim));
                break;
        }
    }
    return rows;
}
constexpr size_t kKinds = 8;

std::vector<Vector> some_vectors(const std::vector<Vector>& rows, double scale, Random& random) {
    const size_t dim = rows.front().size();
    std::vector<Vector> vectors = {rows[3],
                                   Vector(dim, 0.0f),
                                   Vector(dim, -0x1p-149f),
                                   Vector(dim, kMost),
                                   Vector(dim, static_cast<float>(scale)),
                                   rows[2]};
    for (float& x : vectors.back())
        x = -x;
    for (const double times : {1.0, 1e-3, 1e8})
        vectors.push_back(values(dim, [&] { return scale * times * random.normal(); }));
    vectors.push_back(rows[5]);
    vectors.back()[0] = std::nextafter(vectors.back()[0], kInfinity);
    for (const float none : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
        vectors.push_back(rows[1]);
        vectors.back()[dim / 2] = none;
    }
    // Half-way between rows.
    vectors.push_back(rows[0]);
    for (size_t j = 0; j < dim; ++j)
        vectors.back()[j] = rows[0][j] / 2 + rows[1][j] / 2;
    return vectors;
}

class LimitLabelsTest : public simt::SimtTest {};

constexpr Metric kProducts[] = {Metric::L2, Metric::InnerProduct};
constexpr Rounding kRoundings[] = {Rounding::Bfloat16, Rounding::Half};

TEST_F(LimitLabelsTest, LosesNoLabel) {
    Random random(1);
    for (const size_t dim : {1, 3, 70}) {
        for (const double scale : {1e-44, 1e-38, 1e-23, 1e-19, 1e-3, 1.0, 1e9, 1e18}) {
            for (size_t kind = 0; kind < kKinds; ++kind) {
                const std::vector<Vector> rows = some_rows(kind, dim, scale, random);
                const std::vector<Vector> vectors = some_vectors(rows, scale, random);
                for (const Metric metric : kProducts) {
                    for (const Rounding rounding : kRoundings) {
                        SCOPED_TRACE(testing::Message()
                                     << metric_name(metric) << ", dim " << dim << ", scale "
                                     << scale << ", kind " << kind << ", rounding "
                                     << static_cast<int>(rounding));
                        const Tally found = LabelCase(metric, rounding, rows, vectors).tally();
                        ASSERT_EQ(found.lost, 0u);
                        ASSERT_EQ(found.doubtful, 0u);
                    }
                }
            }
        }
    }
}

TEST_F(LimitLabelsTest, LeavesMostRowsOut) {
    Random random(2);
    const auto normals = [&](size_t count) {
        std::vector<Vector> vectors;
        for (size_t i = 0; i < count; ++i)
            vectors.push_back(values(96, [&] { return 5 + random.normal(); }));
        return vectors;
    };
    const std::vector<Vector> rows = normals(40), vectors = normals(5);
    for (const Metric metric : kProducts) {
        for (const Rounding rounding : kRoundings) {
            const Tally found = LabelCase(metric, rounding, rows, vectors).tally();
            EXPECT_EQ(found.pairs, 200u);
            EXPECT_GT(found.left_out, 190u) << metric_name(metric);
            EXPECT_EQ(found.lost, 0u);
        }
    }
}

}  // namespace
}  // namespace nearcell::gpu
