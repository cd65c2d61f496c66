#include <nearcell/kernels/fast_rotation.h>

#include <cmath>

#include <nearcell/core/error.h>
#include <nearcell/core/random.h>
#include <nearcell/kernels/kernel_table.h>

namespace nearcell {

FastRotation::FastRotation(size_t dim, uint64_t seed) : dim_(dim) {
    Random random(seed);
    for (size_t i = 0; i < kRotationRounds * dim; ++i)
        signs_.push_back((random.next() >> 63) != 0 ? 1.0f : -1.0f);
    set_factors();
}

FastRotation::FastRotation(size_t dim, std::span<const float> signs)
    : dim_(dim), signs_(signs.begin(), signs.end()) {
    check(signs.size() == kRotationRounds * dim, StatusCode::Corrupt, "a fast rotation of ", dim,
          " dimensions has ", signs.size(), " signs; it should have ", kRotationRounds * dim);
    for (const float sign : signs) {
        check(sign == 1.0f || sign == -1.0f, StatusCode::Corrupt, "a fast rotation has the sign ",
              sign, "; signs are 1 or -1");
    }
    set_factors();
}

// The transforms are not normalised, what comes before each makes up for it; nor are the sums and
// differences, for which what follows does.
void FastRotation::set_factors() {
    size_t n = 1;
    while (2 * n <= dim_)
        n *= 2;
    const double transformed = 1.0 / std::sqrt(static_cast<double>(n)), mixed = std::sqrt(0.5);
    const size_t half = dim_ / 2;
    factors_.resize((kRotationRounds + 1) * dim_);
    for (size_t round = 0; round <= kRotationRounds; ++round) {
        for (size_t j = 0; j < dim_; ++j) {
            double factor = 1.0;
            if (round < kRotationRounds) {
                factor = static_cast<double>(signs_[round * dim_ + j]);
                if (round % 2 == 0 ? j < n : j >= dim_ - n) factor *= transformed;
            }
            if (round % 2 == 0 && round > 0 && (j < half || j >= dim_ - half)) factor *= mixed;
            factors_[round * dim_ + j] = static_cast<float>(factor);
        }
    }
}

void FastRotation::apply(MatrixView<const float> x, MatrixView<float> out, const Backend& backend,
                         int threads) const {
    backend.rotate(x, factors_.data(), false, out, threads);
}

void FastRotation::inverse(MatrixView<const float> y, MatrixView<float> out, const Backend& backend,
                           int threads) const {
    backend.rotate(y, factors_.data(), true, out, threads);
}

}  // namespace nearcell
