#include "data.h"

#include <cmath>
#include <fstream>
#include <numbers>

#include <nearcell/core/error.h>
#include <nearcell/core/parallel.h>
#include <nearcell/core/random.h>

namespace nearcell::bench {
namespace {

constexpr size_t kLatent = 16, kHidden = 64;
constexpr size_t kRowsPerTask = 4096;
constexpr float kNoise = 0.05f;
constexpr uint64_t kManifoldSeed = 7;

// Standard normals, two at a time, in float32: ten million rows want a billion of them.
void fill_normals(Random& random, float* values, size_t count) {
    for (size_t i = 0; i < count; i += 2) {
        const uint64_t bits = random.next();
        const float u = (static_cast<float>(bits >> 40) + 1) * 0x1p-24f;  // (0, 1]
        const float turn = static_cast<float>(bits & 0xffffff) * 0x1p-24f;
        const float radius = std::sqrt(-2 * std::log(u));
        const float angle = 2 * std::numbers::pi_v<float> * turn;
        values[i] = radius * std::cos(angle);
        if (i + 1 < count) values[i + 1] = radius * std::sin(angle);
    }
}

// The manifold itself: V is kLatent x kHidden, W is kHidden x dim.
struct Manifold {
    std::vector<float> v, w;

    explicit Manifold(size_t dim) : v(kLatent * kHidden), w(kHidden * dim) {
        Random random(kManifoldSeed);
        for (float& value : v)
            value = static_cast<float>(random.normal() * 2 / std::sqrt(double{kLatent}));
        for (float& value : w)
            value = static_cast<float>(random.normal() / 8);
    }

    void make_row(uint64_t seed, float* row, size_t dim) const {
        Random random(seed);
        float hidden[kHidden] = {};
        float latent[kLatent];
        fill_normals(random, latent, kLatent);
        for (size_t i = 0; i < kLatent; ++i) {
            for (size_t j = 0; j < kHidden; ++j)
                hidden[j] += latent[i] * v[i * kHidden + j];
        }
        fill_normals(random, row, dim);
        for (size_t j = 0; j < dim; ++j)
            row[j] *= kNoise;
        for (size_t i = 0; i < kHidden; ++i) {
            const float h = std::tanh(hidden[i]);
            for (size_t j = 0; j < dim; ++j)
                row[j] += h * w[i * dim + j];
        }
    }
};

std::ofstream open_matrix(const std::string& path, size_t rows, size_t columns) {
    std::ofstream file(path, std::ios::binary);
    const uint32_t shape[2] = {static_cast<uint32_t>(rows), static_cast<uint32_t>(columns)};
    file.write(reinterpret_cast<const char*>(shape), sizeof(shape));
    return file;
}

void finish(std::ofstream& file, const std::string& path) {
    file.close();
    check(file.good(), StatusCode::Io, path, " could not be written: choose another folder");
}

}  // namespace

Rows manifold(size_t rows, size_t dim, uint64_t seed) {
    const Manifold shape(dim);
    Rows made{rows, dim, std::vector<float>(rows * dim)};
    parallel_for((rows + kRowsPerTask - 1) / kRowsPerTask, 0, [&](size_t task, int) {
        const size_t end = std::min(rows, (task + 1) * kRowsPerTask);
        for (size_t i = task * kRowsPerTask; i < end; ++i)
            shape.make_row((seed << 40) + i, made.values.data() + i * dim, dim);
    });
    return made;
}

void write_floats(const std::string& path, MatrixView<const float> rows) {
    std::ofstream file = open_matrix(path, rows.rows, rows.cols);
    file.write(reinterpret_cast<const char*>(rows.data),
               static_cast<std::streamsize>(rows.rows * rows.cols * sizeof(float)));
    finish(file, path);
}

void write_ids(const std::string& path, const std::vector<int64_t>& ids, size_t columns) {
    std::ofstream file = open_matrix(path, ids.size() / columns, columns);
    const std::vector<int32_t> narrow(ids.begin(), ids.end());
    file.write(reinterpret_cast<const char*>(narrow.data()),
               static_cast<std::streamsize>(narrow.size() * sizeof(int32_t)));
    finish(file, path);
}

}  // namespace nearcell::bench
