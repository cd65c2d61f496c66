#include <nearcell/core/parallel.h>
#include <nearcell/core/random.h>
#include <nearcell/kernels/device.h>
#include <nearcell/pca/pca.h>
#include "device_bench.h"

namespace nearcell::bench {
namespace {

// Any numbers: what a PCA costs does not depend on them.
Rows uniform_rows(size_t count, size_t dim) {
    Rows rows{count, dim, std::vector<float>(count * dim)};
    parallel_for(count, 0, [&](size_t row, int) {
        Random random(row);
        for (size_t j = 0; j < dim; ++j)
            rows.values[row * dim + j] = static_cast<float>(random.uniform()) - 0.5f;
    });
    return rows;
}

}  // namespace

void bench_pca(const Setting& setting) {
    const Size& size = setting.size;
    const Backend& backend = find_device("cuda:0")->backend();
    const Rows rows = uniform_rows(size.pca_rows, size.pca_dim);
    PcaOptions options;
    options.components = size.pca_dim / 2;
    const auto fit = [&] { return Pca::fit(rows.view(), options, backend, 0); };
    const auto time_fit = [&] {  // the first time libraries are loaded, and memory is taken
        return repeat(size.repetitions, size.seconds, [&](size_t) { fit(); });
    };
    const Timing from_host = time_fit();
    const Pca pca = fit();
    std::vector<float> values(size.pca_rows * options.components);
    const MatrixView<float> out(values.data(), size.pca_rows, options.components);
    const double transformed = seconds_of([&] { pca.transform(rows.view(), out, backend, 0); });
    Line line("pca");
    line.add("rows", static_cast<double>(size.pca_rows))
        .add("dim", static_cast<double>(size.pca_dim))
        .add("fit_seconds", from_host.median)
        .add("least_seconds", from_host.least)
        .add("most_seconds", from_host.most);
    if (const auto kept = backend.keep(rows.view()))
        line.add("fit_kept_seconds", time_fit().median);
    setting.report.write(line.add("components", static_cast<double>(options.components))
                             .add("transform_seconds", transformed));
}

}  // namespace nearcell::bench
