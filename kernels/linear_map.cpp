#include <nearcell/kernels/linear_map.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>

namespace nearcell {
namespace {

// A task's rows: few enough that their results are still in the cache when the bias is added.
constexpr size_t kSliceRows = 64;

void check_values(const std::vector<float>& values, std::string_view name) {
    for (size_t i = 0; i < values.size(); ++i) {
        check(std::isfinite(values[i]), StatusCode::NonFinite, name, "[", i,
              "] of a linear map is NaN or infinite; all values must be finite");
    }
}

void check_shapes(MatrixView<const float> x, size_t in_dim, MatrixView<float> out, size_t out_dim) {
    check(x.cols == in_dim, StatusCode::InvalidArgument, "rows have ", x.cols,
          " values, but the linear map takes ", in_dim, ": pass rows of ", in_dim, " values");
    check(out.rows == x.rows && out.cols == out_dim, StatusCode::InvalidArgument, "out is ",
          out.rows, " x ", out.cols, ", but the linear map gives ", x.rows, " x ", out_dim,
          ": pass an output of that shape");
}

template <class Task>
void for_slices(size_t rows, size_t slice, int threads, const Task& task) {
    parallel_for((rows + slice - 1) / slice, threads, [&](size_t i, int) {
        const size_t first = i * slice;
        task(first, std::min(slice, rows - first));
    });
}

// The backend's inner-product keys are negated products.
void negate_and_add(MatrixView<float> keys, const std::vector<float>& bias, int threads) {
    for_slices(keys.rows, kSliceRows, threads, [&](size_t first, size_t count) {
        for (size_t i = first; i < first + count; ++i) {
            float* row = keys.row(i);
            if (bias.empty()) {
                for (size_t j = 0; j < keys.cols; ++j)
                    row[j] = -row[j];
            } else {
                for (size_t j = 0; j < keys.cols; ++j)
                    row[j] = bias[j] - row[j];
            }
        }
    });
}

}  // namespace

LinearMap::LinearMap(size_t in_dim, size_t out_dim, std::vector<float> matrix,
                     std::vector<float> bias)
    : in_dim_(in_dim), out_dim_(out_dim), matrix_(std::move(matrix)), bias_(std::move(bias)) {
    check(in_dim >= 1 && out_dim >= 1, StatusCode::InvalidArgument, "a linear map from ", in_dim,
          " to ", out_dim, " dimensions: both must be at least 1");
    check(matrix_.size() % in_dim == 0 && matrix_.size() / in_dim == out_dim,
          StatusCode::InvalidArgument, "matrix has ", matrix_.size(), " values, but must have ",
          out_dim, " rows of ", in_dim);
    check(bias_.empty() || bias_.size() == out_dim, StatusCode::InvalidArgument, "bias has ",
          bias_.size(), " values, but must have ", out_dim, " or none");
    check_values(matrix_, "matrix");
    check_values(bias_, "bias");
    rows_ = FloatBlocks({matrix_.data(), out_dim, in_dim});
}

void LinearMap::apply(MatrixView<const float> x, MatrixView<float> out, const Backend& backend,
                      int threads) const {
    check_shapes(x, in_dim_, out, out_dim_);
    const size_t slice = std::max(kSliceRows, backend.least_rows());
    // A device's slices follow one another, and all threads copy the rows of one.
    const int workers = backend.least_rows() > 1 ? 1 : threads;
    for_slices(x.rows, slice, workers, [&](size_t first, size_t count) {
        const MatrixView<float> part = out.slice(first, count);
        backend.scores(x.slice(first, count), rows_, Metric::InnerProduct, part, threads);
        negate_and_add(part, bias_, threads);
    });
}

}  // namespace nearcell
