// TrainingRows: the rows a k-means learns from, as the methods want them: the caller's own memory
// where it is float32 and all of it is used, else one float32 copy of the rows that are.
#pragma once

#include <vector>

#include <nearcell/core/aligned_buffer.h>
#include <nearcell/core/vectors.h>
#include <nearcell/quantize/kmeans.h>
#include <nearcell/quantize/lloyd.h>

namespace nearcell {

// Points over x. For Cosine, `weights` are filled and divided by the lengths of the rows; a row of
// length zero has no direction and counts nothing.
KMeansPoints kmeans_points(MatrixView<const float> x, std::vector<float>& weights, Metric metric,
                           int threads);

class TrainingRows {
   public:
    TrainingRows(const Vectors& x, const KMeansOptions& options);
    TrainingRows(const TrainingRows&) = delete;
    TrainingRows& operator=(const TrainingRows&) = delete;

    const KMeansPoints& points() const { return points_; }

   private:
    void sample(const Vectors& x, size_t count, const KMeansOptions& options);
    void copy_all(const Vectors& x, int threads);

    KMeansPoints points_;
    AlignedBuffer<float> copy_;
    std::vector<float> weights_;
};

}  // namespace nearcell
