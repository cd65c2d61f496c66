#include <nearcell/pca/pca.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string_view>
#include <utility>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

constexpr size_t kSliceRows =
    4096;  // rows of other element types are converted this many at a time

void apply_to(const Vectors& x, const LinearMap& map, MatrixView<float> out, const Backend& backend,
              int threads) {
    check_finite(x, "x", threads);
    check(out.rows == x.rows && out.cols == map.out_dim(), StatusCode::InvalidArgument, "out is ",
          out.rows, " x ", out.cols, ", but must be ", x.rows, " x ", map.out_dim());
    if (x.type == ElementType::Float32) {
        map.apply({static_cast<const float*>(x.data), x.rows, x.cols, x.stride}, out, backend,
                  threads);
        return;
    }
    std::vector<float> slice(std::min(x.rows, kSliceRows) * x.cols);
    for (size_t first = 0; first < x.rows; first += kSliceRows) {
        const size_t count = std::min(kSliceRows, x.rows - first);
        const MatrixView<float> rows(slice.data(), count, x.cols);
        read_rows(x, first, rows);
        map.apply(rows, out.slice(first, count), backend, threads);
    }
}

void check_part(bool holds, std::string_view what) {
    check(holds, StatusCode::Corrupt, "saved PCA: ", what);
}

bool all_finite(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(),
                       [](float value) { return std::isfinite(value); });
}

void check_sizes(size_t dim, const PcaOptions& options, const std::vector<float>& matrix,
                 const std::vector<float>& mean, const std::vector<float>& variances) {
    check_part(dim >= 1, "the dimension is 0");
    check_part(options.components >= 1 && options.components <= dim,
               "the number of components is not in 1 to the dimension");
    check_part(matrix.size() % dim == 0 && matrix.size() / dim == options.components,
               "the number of matrix values is not components x dimension");
    check_part(mean.size() == dim, "the number of mean values is not the dimension");
    check_part(variances.size() == options.components,
               "the number of variances is not the number of components");
}

void check_values(size_t dim, const PcaOptions& options, const std::vector<float>& matrix,
                  const std::vector<float>& mean, const std::vector<float>& variances,
                  double total) {
    check_part(all_finite(matrix) && all_finite(mean) && all_finite(variances),
               "a value is NaN or infinite");
    check_part(!options.whiten || (options.epsilon >= kMinWhiteningEpsilon && options.epsilon <= 1),
               "epsilon is out of range");
    check_part(variances.back() >= 0 &&
                   std::is_sorted(variances.begin(), variances.end(), std::greater<>()),
               "the variances are not falling to 0 or more");
    double sum = 0;
    for (const float variance : variances)
        sum += static_cast<double>(variance);
    check_part(std::isfinite(total) && total >= sum * (1 - 1e-3),
               "the total variance is less than that of the components");
    for (size_t c = 0; c < options.components; ++c) {
        double square = 0;
        for (size_t j = 0; j < dim; ++j) {
            const double value = static_cast<double>(matrix[c * dim + j]);
            square += value * value;
        }
        check_part(std::fabs(square - 1) < 1e-3, "a component's length is not 1");
    }
}

}  // namespace

Pca Pca::fit(const Vectors& x, const PcaOptions& options, const Backend& backend, int threads,
             const Progress& progress) {
    Fitter fitter(x.cols);
    fitter.add(x, backend, threads, progress);
    return fitter.finish(options, backend);
}

Pca Pca::from_parts(size_t dim, PcaOptions options, std::vector<float> components,
                    std::vector<float> mean, std::vector<float> variances, double total) {
    check_sizes(dim, options, components, mean, variances);
    check_values(dim, options, components, mean, variances, total);
    Pca pca;
    pca.options_ = options;
    pca.mean_ = std::move(mean);
    pca.matrix_ = std::move(components);
    pca.variances_ = std::move(variances);
    pca.total_variance_ = total;
    try {
        pca.build_maps();
    } catch (const Error& error) {
        throw_error(StatusCode::Corrupt, "saved PCA: ", error.what());
    }
    return pca;
}

// From the float parts alone, so that a restored Pca transforms to the same bits.
void Pca::build_maps() {
    const size_t dim = mean_.size();
    const size_t count = options_.components;
    std::vector<float> forward(count * dim), backward(dim * count), bias(count);
    for (size_t c = 0; c < count; ++c) {
        double projected_mean = 0;
        for (size_t j = 0; j < dim; ++j) {
            const double value = static_cast<double>(matrix_[c * dim + j]);
            forward[c * dim + j] = static_cast<float>(value / deviation(c));
            backward[j * count + c] = static_cast<float>(value * deviation(c));
            projected_mean += value * static_cast<double>(mean_[j]);
        }
        bias[c] = static_cast<float>(-projected_mean / deviation(c));
    }
    forward_ = LinearMap(dim, count, std::move(forward), std::move(bias));
    backward_ = LinearMap(count, dim, std::move(backward), mean_);
}

// What a component is divided by: floored by epsilon, so that it is never zero.
double Pca::deviation(size_t component) const {
    const double floor = options_.epsilon * static_cast<double>(variances_[0]);
    const double variance = std::max(static_cast<double>(variances_[component]), floor);
    return options_.whiten && variance > 0 ? std::sqrt(variance) : 1.0;
}

std::vector<float> Pca::scales() const {
    std::vector<float> scales(variances_.size());
    for (size_t c = 0; c < scales.size(); ++c)
        scales[c] = static_cast<float>(1.0 / deviation(c));
    return scales;
}

std::vector<float> Pca::explained_variance_ratio() const {
    std::vector<float> ratio(variances_.size());
    for (size_t c = 0; c < ratio.size() && total_variance_ > 0; ++c) {
        ratio[c] = static_cast<float>(static_cast<double>(variances_[c]) / total_variance_);
    }
    return ratio;
}

void Pca::transform(const Vectors& x, MatrixView<float> out, const Backend& backend,
                    int threads) const {
    check_dim(x, dim(), "x");
    apply_to(x, forward_, out, backend, threads);
}

void Pca::inverse(const Vectors& y, MatrixView<float> out, const Backend& backend,
                  int threads) const {
    check_dim(y, components(), "y");
    apply_to(y, backward_, out, backend, threads);
}

}  // namespace nearcell
