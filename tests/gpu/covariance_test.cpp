// What PCA asks CudaBackend for, on the emulated device: products in double precision, and what is
// said where CUDA's libraries are missing.
#include <nearcell/gpu/linear_algebra.h>

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/pca/pca.h>

#include "gpu/backend_support.h"

namespace nearcell::gpu {
namespace {

class CovarianceTest : public CudaBackendTest {};

struct Sums {
    std::vector<double> sums, products;  // products on and above the diagonal only

    explicit Sums(size_t dim) : sums(dim, 0.5), products(dim * dim, 0.25) {}
};

std::vector<double> shift_of(size_t dim) {
    std::vector<double> shift(dim);
    for (size_t j = 0; j < dim; ++j)
        shift[j] = static_cast<double>(j % 5) * 0.5;
    return shift;
}

Sums plain_sums(const Matrix& x, const std::vector<double>& shift) {
    Sums result(x.cols);
    for (size_t i = 0; i < x.rows; ++i) {
        std::vector<double> row(x.cols);
        for (size_t j = 0; j < x.cols; ++j)
            row[j] = static_cast<double>(x.row(i)[j]) - shift[j];
        for (size_t j = 0; j < x.cols; ++j) {
            result.sums[j] += row[j];
            for (size_t k = j; k < x.cols; ++k)
                result.products[j * x.cols + k] += row[j] * row[k];
        }
    }
    return result;
}

Sums device_sums(const Backend& backend, const Matrix& x, const std::vector<double>& shift) {
    Sums result(x.cols);
    EXPECT_TRUE(backend.add_products(x.view(), shift.data(), result.sums.data(),
                                     result.products.data(), 2));
    return result;
}

// Of small integers every sum is exact, in any order.
TEST_F(CovarianceTest, SumsAreExactWhereNothingIsRounded) {
    Random random(1);
    for (const size_t slice : {size_t{1} << 14, size_t{1} << 20}) {
        const CudaBackend backend(on_device(slice));
        for (const size_t d : {1, 64, 65}) {
            for (const size_t rows : {1, 17, 200}) {
                const Matrix x = grid_matrix(rows, d, random, 2);
                const Sums expected = plain_sums(x, shift_of(d));
                const Sums found = device_sums(backend, x, shift_of(d));
                EXPECT_EQ(found.sums, expected.sums) << rows << " x " << d;
                EXPECT_EQ(found.products, expected.products) << rows << " x " << d;
            }
        }
    }
}

TEST_F(CovarianceTest, RoundingIsThatOfDoubles) {
    Random random(2);
    const Matrix x(300, 20, random, 10);
    const CudaBackend backend(on_device());
    const Sums expected = plain_sums(x, shift_of(20)),
               found = device_sums(backend, x, shift_of(20));
    for (size_t i = 0; i < expected.products.size(); ++i)
        EXPECT_NEAR(found.products[i], expected.products[i], 1e-13 * 300 * 200);
    const auto kept = backend.keep(x.view());
    const Sums again = device_sums(backend, x, shift_of(20));
    EXPECT_EQ(again.products, found.products);
    EXPECT_EQ(again.sums, found.sums);
}

TEST_F(CovarianceTest, IsTheSameInAnyOrder) {
    Random random(3);
    const Matrix x(150, 70, random);
    const Sums expected = device_sums(CudaBackend(on_device()), x, shift_of(70));
    for (uint64_t seed = 2; seed <= 4; ++seed) {
        simt::reset();
        simt::config().seed = seed;
        simt::config().resident_blocks = static_cast<int>(seed);
        simt::config().preempt_one_in = seed % 2 == 0 ? 100 : 0;
        simt::config().deferred_streams = seed % 2 == 1;
        simt::config().architecture = 75;
        const Sums found = device_sums(CudaBackend(on_device()), x, shift_of(70));
        EXPECT_EQ(found.products, expected.products) << seed;
        EXPECT_EQ(found.sums, expected.sums) << seed;
    }
}

bool is_noticed(const simt::Site& without, const Matrix& x, const Sums& expected) {
    simt::reset();
    simt::config().without = without;
    try {
        return device_sums(CudaBackend(on_device()), x, shift_of(70)).products != expected.products;
    } catch (const simt::FaultError&) {
        return true;
    }
}

TEST_F(CovarianceTest, NoticesEveryMissingBarrier) {
    Random random(4);
    const Matrix x(150, 70, random);
    const Sums expected = device_sums(CudaBackend(on_device()), x, shift_of(70));
    size_t barriers = 0;
    for (const simt::Site& site : simt::sites()) {
        if (site.kind != simt::SiteKind::BlockBarrier) continue;
        ++barriers;
        EXPECT_TRUE(is_noticed(site, x, expected)) << site.file << ':' << site.line;
    }
    EXPECT_EQ(barriers, 2u);
}

// Different orders of summing, and then the same eigenproblem.
TEST_F(CovarianceTest, ComponentsAreNearTheCpus) {
    Random random(5);
    Matrix x(400, 12, random, 3);
    for (size_t i = 0; i < x.rows; ++i) {
        for (size_t j = 0; j < x.cols; ++j)
            x.row(i)[j] *= static_cast<float>(j + 1);
    }
    const CudaBackend backend(on_device());
    PcaOptions options;
    options.components = 12;
    std::vector<int8_t> bytes(400 * 12);
    for (int8_t& byte : bytes)
        byte = static_cast<int8_t>(random.below(100));
    for (const Vectors& rows :
         {Vectors(x.view()), Vectors(bytes.data(), ElementType::Int8, 400, 12)}) {
        const Pca expected = Pca::fit(rows, options, cpu_backend(), 1);
        const uint64_t before = simt::counters().launches;
        const Pca found = Pca::fit(rows, options, backend, 1);
        EXPECT_GT(simt::counters().launches, before);
        for (size_t i = 0; i < expected.matrix().size(); ++i)
            EXPECT_NEAR(found.matrix()[i], expected.matrix()[i], 1e-6);
        for (size_t i = 0; i < 12; ++i) {
            EXPECT_NEAR(found.variances()[i], expected.variances()[i],
                        1e-6f * expected.variances()[0]);
            EXPECT_NEAR(found.mean()[i], expected.mean()[i], 1e-5);
        }
    }
}

// Their sums tell, and are taken back: errors are those of rows that were read before.
TEST_F(CovarianceTest, RefusedRowsLeaveTheFitterUnchanged) {
    Random random(7);
    const Matrix x(400, 12, random, 3);
    const CudaBackend backend(on_device());
    PcaOptions options;
    options.components = 12;
    const Pca expected = Pca::fit(x.view(), options, backend, 1);
    const auto error_of = [&](Pca::Fitter& fitter, const Matrix& rows, const Backend& used) {
        try {
            fitter.add(rows.view(), used, 1);
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    for (const bool first : {true, false}) {
        for (const float value : {std::numeric_limits<float>::quiet_NaN(),
                                  -std::numeric_limits<float>::infinity(), 1e30f, 3e38f}) {
            for (const size_t row : {size_t{0}, size_t{399}}) {
                Matrix bad = x;
                bad.row(row)[11] = value;
                Pca::Fitter fitter(12), by_cpu(12);
                if (!first) fitter.add(x.view(), backend, 1);
                const std::string error = error_of(fitter, bad, backend);
                EXPECT_NE(error, "");
                EXPECT_EQ(error, error_of(by_cpu, bad, cpu_backend()));
                if (first) fitter.add(x.view(), backend, 1);
                EXPECT_EQ(fitter.finish(options, backend).matrix(), expected.matrix());
            }
        }
    }
}

// The same large value everywhere is allowed up to a limit, which sums of differences do not know.
TEST_F(CovarianceTest, ValuesNearTheLargestAreRead) {
    const float largest = largest_value(4);
    for (const float value : {0.9995f * largest, 1.01f * largest}) {
        std::vector<float> values(200 * 4, value);
        const MatrixView<const float> rows(values.data(), 200, 4);
        const auto is_refused = [&](const Backend& backend) {
            try {
                Pca::Fitter(4).add(rows, backend, 1);
            } catch (const Error& error) {
                return error.code() == StatusCode::InvalidArgument;
            }
            return false;
        };
        EXPECT_EQ(is_refused(CudaBackend(on_device())), value > largest);
        EXPECT_EQ(is_refused(cpu_backend()), value > largest);
    }
}

TEST_F(CovarianceTest, FewRowsAreTheCpus) {
    Random random(6);
    const Matrix x(50, 8, random);
    const CudaBackend backend;
    Sums sums(8);
    const std::vector<double> before = sums.products;
    EXPECT_FALSE(backend.add_products(x.view(), shift_of(8).data(), sums.sums.data(),
                                      sums.products.data(), 1));
    EXPECT_EQ(sums.products, before);
    EXPECT_FALSE(backend.solve_symmetric(8, sums.products.data(), sums.sums.data()));
    PcaOptions options;
    options.components = 8;
    EXPECT_EQ(Pca::fit(x.view(), options, backend, 1).matrix(),
              Pca::fit(x.view(), options, cpu_backend(), 1).matrix());
    EXPECT_EQ(simt::counters().launches, 0u);
}

// The CPU does it then, and nothing was added.
TEST_F(CovarianceTest, WithTooLittleMemoryItSaysSo) {
    Random random(7);
    const Matrix x(400, 12, random);
    const Sums nothing(12);
    bool has_failed = false, has_worked = false;
    for (size_t bytes = 1 << 10; bytes < 1 << 24; bytes *= 2) {
        simt::reset();
        simt::config().device_bytes = bytes;
        const CudaBackend backend(on_device());
        Sums sums(12);
        if (backend.add_products(x.view(), shift_of(12).data(), sums.sums.data(),
                                 sums.products.data(), 1)) {
            has_worked = true;
            continue;
        }
        has_failed = true;
        EXPECT_EQ(sums.sums, nothing.sums);
        EXPECT_EQ(sums.products, nothing.products);
    }
    EXPECT_TRUE(has_failed && has_worked);
}

TEST(LinearAlgebra, SaysWhatIsMissing) {
    const LinearAlgebra none("/no/such/folder");
    EXPECT_FALSE(none.available());
    EXPECT_EQ(
        none.missing(),
        "libcublas.so.13 cannot be loaded (/no/such/folder/libcublas.so.13: cannot open shared "
        "object file: No such file or directory; /no/such/folder/libcublas.so.12: cannot open "
        "shared object file: No such file or directory): install it, or name its folder in "
        "NEARCELL_CUDA_LIBRARIES");
    double value = 1;
    try {
        none.solve_symmetric(1, &value, &value, {});
        FAIL() << "nothing was thrown";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::NoDevice);
        EXPECT_EQ(error.what(), none.missing());
    }
    EXPECT_THROW(LinearAlgebra::Products(none, {}), Error);
}

}  // namespace
}  // namespace nearcell::gpu
