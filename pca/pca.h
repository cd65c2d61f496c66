// Pca: principal component analysis. Rows are streamed through a covariance sum, so they never need
// to be in memory together; both in double precision, on the CPU by Eigen. Components are
// ordered by falling variance and signed so that their entry of largest magnitude is positive.
// Bitwise the same for any number of threads, but not on a device, whose sums have another order.
// Thread safe once fitted; a Fitter is one thread's.
// Cost: rows x dim^2 to fit, dim^3 to finish, dim x components a row to transform.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/progress.h>
#include <nearcell/core/vectors.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/kernels/linear_map.h>

namespace nearcell {

constexpr double kMinWhiteningEpsilon = 1e-12;

struct PcaOptions {
    size_t components = 0;  // 1 to dim
    bool whiten = false;    // scale each component to variance one
    double epsilon = 1e-6;  // whitening floor, relative to the largest variance, so that it is
                            // finite always: kMinWhiteningEpsilon to 1
};

class Pca {
   public:
    // Sums the covariance of rows fed in any number of pieces.
    class Fitter {
       public:
        explicit Fitter(size_t dim);
        // All rows or none. Throws InvalidArgument (wrong dimension), NonFinite, Cancelled.
        void add(const Vectors& rows, const Backend& backend, int threads,
                 const Progress& progress = {});
        // Throws InvalidArgument when fewer than two rows were added or components is out of range.
        Pca finish(const PcaOptions& options, const Backend& backend = cpu_backend()) const;

       private:
        size_t add_by(const Backend& backend, const Vectors& rows, int threads);
        size_t add_checked(const Backend& backend, const Vectors& rows, int threads);
        void add_all(const Vectors& rows, const Backend& backend, int threads,
                     const Progress& progress);
        bool tell_finite() const;

        size_t dim_;
        size_t rows_ = 0;
        std::vector<double> shift_;     // the first rows' mean: keeps the sums small
        std::vector<double> sum_;       // of rows - shift
        std::vector<double> products_;  // dim x dim; only tiles on and above the diagonal are kept
    };

    static Pca fit(const Vectors& x, const PcaOptions& options, const Backend& backend, int threads,
                   const Progress& progress = {});
    // Restores what components(), mean() and variances() returned; throws Corrupt on odd values.
    static Pca from_parts(size_t dim, PcaOptions options, std::vector<float> components,
                          std::vector<float> mean, std::vector<float> variances, double total);

    size_t dim() const { return mean_.size(); }
    size_t components() const { return options_.components; }
    const PcaOptions& options() const { return options_; }
    const std::vector<float>& mean() const { return mean_; }
    const std::vector<float>& matrix() const { return matrix_; }  // components x dim, orthonormal
    const std::vector<float>& variances() const { return variances_; }  // divided by rows - 1
    double total_variance() const { return total_variance_; }
    std::vector<float> explained_variance_ratio() const;
    // What each component is multiplied by: 1, or one over its deviation when whitening.
    std::vector<float> scales() const;

    // The map that transform() applies, for CellIndex's transform chain.
    const LinearMap& map() const { return forward_; }
    // Both throw InvalidArgument on wrong shapes, NonFinite.
    void transform(const Vectors& x, MatrixView<float> out, const Backend& backend,
                   int threads) const;
    void inverse(const Vectors& y, MatrixView<float> out, const Backend& backend,
                 int threads) const;

   private:
    Pca() = default;
    void build_maps();
    double deviation(size_t component) const;
    PcaOptions options_;
    std::vector<float> mean_, matrix_, variances_;
    double total_variance_ = 0;
    LinearMap forward_, backward_;
};

}  // namespace nearcell
