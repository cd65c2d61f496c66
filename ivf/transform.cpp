#include <nearcell/ivf/transform.h>

#include <algorithm>
#include <cmath>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/pca/pca.h>
#include <nearcell/quantize/opq.h>
#include <nearcell/quantize/rotation.h>

namespace nearcell {
namespace {

constexpr size_t kOpqRows = 65536;
constexpr size_t kPcaRowsPerDim = 1000;

}  // namespace

void normalize_rows(MatrixView<float> x, int threads) {
    constexpr size_t kRows = 256;
    parallel_for((x.rows + kRows - 1) / kRows, threads, [&](size_t task, int) {
        for (size_t i = task * kRows; i < std::min(x.rows, (task + 1) * kRows); ++i) {
            float* row = x.row(i);
            double squares = 0;
            for (size_t j = 0; j < x.cols; ++j) {
                squares += static_cast<double>(row[j]) * static_cast<double>(row[j]);
            }
            if (squares == 0) continue;
            const double inverse = 1.0 / std::sqrt(squares);
            for (size_t j = 0; j < x.cols; ++j) {
                row[j] = static_cast<float>(static_cast<double>(row[j]) * inverse);
            }
        }
    });
}

Transform::Transform(const TransformOptions& options, size_t in_dim, uint64_t seed, bool saved)
    : options_(options),
      in_dim_(in_dim),
      out_dim_(options.out_dim == 0 ? in_dim : options.out_dim),
      seed_(seed) {
    if (options.kind == TransformKind::Normalize) {
        trained_ = true;
    } else if (saved) {
        return;
    } else if (is_fast()) {
        fast_ = FastRotation(in_dim_, seed_);
        trained_ = true;
    } else if (options.kind == TransformKind::RandomRotation) {
        set_linear(random_rotation(in_dim_, out_dim_, seed_), std::vector<float>(out_dim_, 1.0f),
                   std::vector<float>(in_dim_, 0.0f));
    }
}

bool Transform::is_fast() const {
    return options_.kind == TransformKind::RandomRotation && in_dim_ == out_dim_;
}

bool Transform::keeps_keys(bool similarity) const {
    switch (options_.kind) {
        case TransformKind::Opq:
        case TransformKind::RandomRotation: return !similarity || out_dim_ >= in_dim_;
        case TransformKind::Pca: return !similarity;  // it moves the origin
        case TransformKind::Normalize:
        case TransformKind::PcaWhiten: return false;
    }
    return false;
}

size_t Transform::training_rows() const {
    if (trained_) return 0;
    return options_.kind == TransformKind::Opq ? kOpqRows : kPcaRowsPerDim * in_dim_;
}

void Transform::train(MatrixView<const float> x, size_t code_bits, const Backend& backend,
                      int threads, const Progress& progress) {
    if (options_.kind == TransformKind::Opq) {
        OpqOptions opq;
        opq.subquantizers = options_.subquantizers;
        opq.out_dim = out_dim_;
        opq.bits = code_bits;
        opq.max_points = kOpqRows;
        opq.seed = seed_;
        opq.threads = threads;
        opq.progress = progress;
        set_linear(train_opq(x, opq, backend), std::vector<float>(out_dim_, 1.0f),
                   std::vector<float>(in_dim_, 0.0f));
    } else if (options_.kind == TransformKind::Pca || options_.kind == TransformKind::PcaWhiten) {
        PcaOptions pca;
        pca.components = out_dim_;
        pca.whiten = options_.kind == TransformKind::PcaWhiten;
        const Pca fitted = Pca::fit(x, pca, backend, threads, progress);
        set_linear(fitted.matrix(), fitted.scales(), fitted.mean());
    }
}

void Transform::set_linear(std::vector<float> rotation, std::vector<float> scale,
                           std::vector<float> mean) {
    std::vector<float> forward(rotation.size()), backward(rotation.size()), bias(out_dim_);
    for (size_t i = 0; i < out_dim_; ++i) {
        double sum = 0;
        for (size_t j = 0; j < in_dim_; ++j) {
            const float entry = rotation[i * in_dim_ + j];
            forward[i * in_dim_ + j] = scale[i] * entry;
            backward[j * out_dim_ + i] = entry / scale[i];
            sum += static_cast<double>(forward[i * in_dim_ + j]) * static_cast<double>(mean[j]);
        }
        bias[i] = static_cast<float>(-sum);
    }
    forward_ = LinearMap(in_dim_, out_dim_, std::move(forward), std::move(bias));
    backward_ = LinearMap(out_dim_, in_dim_, std::move(backward), mean);
    rotation_ = std::move(rotation);
    scale_ = std::move(scale);
    mean_ = std::move(mean);
    trained_ = true;
}

void Transform::apply(MatrixView<const float> x, MatrixView<float> out, const Backend& backend,
                      int threads) const {
    if (is_fast()) return fast_.apply(x, out, backend, threads);
    if (options_.kind != TransformKind::Normalize) {
        forward_.apply(x, out, backend, threads);
        return;
    }
    for (size_t i = 0; i < x.rows; ++i)
        std::copy_n(x.row(i), in_dim_, out.row(i));
    normalize_rows(out, threads);
}

VectorStep Transform::step() const {
    if (is_fast()) return {nullptr, &fast_};
    if (options_.kind == TransformKind::Normalize) return {};
    return {&forward_, nullptr};
}

void Transform::inverse(MatrixView<const float> y, MatrixView<float> out, const Backend& backend,
                        int threads) const {
    if (is_fast()) return fast_.inverse(y, out, backend, threads);
    if (options_.kind != TransformKind::Normalize) {
        backward_.apply(y, out, backend, threads);
        return;
    }
    for (size_t i = 0; i < y.rows; ++i)
        std::transform(y.row(i), y.row(i) + in_dim_, out.row(i),
                       [this](float value) { return value * length_; });
}

void Transform::learn_length(MatrixView<const float> x) {
    double sum = 0;
    for (size_t i = 0; i < x.rows; ++i) {
        double squares = 0;
        for (size_t j = 0; j < x.cols; ++j)
            squares += static_cast<double>(x.row(i)[j]) * static_cast<double>(x.row(i)[j]);
        sum += std::sqrt(squares);
    }
    if (sum > 0) length_ = static_cast<float>(sum / static_cast<double>(x.rows));
}

std::vector<float> Transform::parameters() const {
    if (is_fast()) return fast_.signs();
    if (length_ != 1) return {length_};
    std::vector<float> all(rotation_);
    all.insert(all.end(), scale_.begin(), scale_.end());
    all.insert(all.end(), mean_.begin(), mean_.end());
    return all;
}

void Transform::set_parameters(std::span<const float> parameters) {
    if (options_.kind == TransformKind::Normalize) {
        check(parameters.size() <= 1, StatusCode::Corrupt, "a normalisation has ",
              parameters.size(), " parameters; it should have one at most");
        if (parameters.empty()) return;
        length_ = parameters[0];
        check(std::isfinite(length_) && length_ > 0, StatusCode::Corrupt,
              "a normalisation has a length of ", length_, "; it must be positive and finite");
        return;
    }
    if (is_fast()) {
        fast_ = FastRotation(in_dim_, parameters);
        trained_ = true;
        return;
    }
    const size_t cells = in_dim_ * out_dim_;
    check(parameters.size() == cells + out_dim_ + in_dim_, StatusCode::Corrupt, "a transform from ",
          in_dim_, " to ", out_dim_, " dimensions has ", parameters.size(),
          " parameters; it should have ", cells + out_dim_ + in_dim_);
    for (const float value : parameters) {
        check(std::isfinite(value), StatusCode::Corrupt,
              "a transform has a parameter that is not finite");
    }
    const auto scale = parameters.subspan(cells, out_dim_);
    for (const float value : scale) {
        check(value > 0, StatusCode::Corrupt, "a transform has a scale of ", value,
              "; it must be positive");
    }
    const auto rotation = parameters.first(cells), mean = parameters.last(in_dim_);
    set_linear({rotation.begin(), rotation.end()}, {scale.begin(), scale.end()},
               {mean.begin(), mean.end()});
}

}  // namespace nearcell
