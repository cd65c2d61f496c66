// nearcell reduce IN: fewer dimensions by principal component analysis. Rows are read in pieces,
// for the fit and again for the projection, so that only the result has to fit into memory.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>

#include <nearcell/pca/pca.h>
#include <nearcell/storage/vector_file.h>

#include "commands.h"
#include "files.h"
#include "interrupt.h"
#include "number_text.h"
#include "pca_file.h"
#include "session.h"
#include "vector_pieces.h"

namespace nearcell::cli {
namespace {

constexpr size_t kPieceBytes = size_t{64} << 20;

struct ReduceOptions {
    std::string in, out, save, apply;
    std::optional<size_t> components;
    bool whiten = false;
};

// Calls use(first, rows) for consecutive pieces of the file.
template <class Use>
void for_each_piece(const VectorPieces& in, const char* phase, Session& session, const Use& use) {
    const Progress progress = session.progress();
    const size_t count =
        std::max<size_t>(1, kPieceBytes / (4 * std::max<size_t>(1, in.info().cols)));
    const auto total = static_cast<double>(in.info().rows);
    for (size_t first = 0; first < in.info().rows; first += count) {
        report(progress, phase, static_cast<double>(first), total);
        const VectorData rows = in.read(first, count);
        check_finite(rows.view(), in.path(), session.threads(), first);
        use(first, rows.view());
    }
    report(progress, phase, total, total);
}

Pca fit(const ReduceOptions& options, const VectorPieces& in, Session& session) {
    const size_t dim = in.info().cols;
    PcaOptions wanted;
    wanted.components = *options.components;
    wanted.whiten = options.whiten;
    check(wanted.components >= 1 && wanted.components <= dim, StatusCode::InvalidArgument, "--pca ",
          wanted.components, " must be in [1, ", dim, "], the dimension of ", options.in);
    Pca::Fitter fitter(dim);
    for_each_piece(in, "fit", session, [&](size_t, const Vectors& rows) {
        fitter.add(rows, cpu_backend(), session.threads());
    });
    return fitter.finish(wanted);
}

VectorData project(const Pca& pca, const VectorPieces& in, Session& session) {
    const size_t count = in.info().rows;
    VectorData reduced{AlignedBuffer<uint8_t>(count * pca.components() * sizeof(float)),
                       ElementType::Float32, count, pca.components()};
    auto* values = static_cast<float*>(static_cast<void*>(reduced.bytes.mutable_data()));
    const MatrixView<float> out(values, reduced.rows, reduced.cols);
    for_each_piece(in, "project", session, [&](size_t first, const Vectors& rows) {
        pca.transform(rows, out.slice(first, rows.rows), cpu_backend(), session.threads());
    });
    return reduced;
}

void describe(const Pca& pca, Session& session) {
    const std::vector<float> ratios = pca.explained_variance_ratio();
    const double kept = std::accumulate(ratios.begin(), ratios.end(), 0.0);
    session.fact("dim", pca.dim());
    session.fact("components", pca.components());
    session.fact("whiten", pca.options().whiten, pca.options().whiten ? "yes" : "no");
    session.fact("variance_kept", kept, fixed_text(100 * kept, 2) + "%");
    session.detail("explained_variance_ratio", ratios);
}

void reduce(const ReduceOptions& options, Session& session) {
    const Stopwatch watch;
    check_vector_output(options.out, ElementType::Float32);
    if (!options.save.empty()) check_output(options.save);
    check_different({with_data_set(options.out, "train"), options.save},
                    {with_data_set(options.in, "train"), options.apply});
    const VectorPieces in(options.in);
    std::optional<Pca> saved;
    if (!options.apply.empty()) {
        saved = load_pca(options.apply);
        check(saved->dim() == in.info().cols, StatusCode::InvalidArgument, options.in,
              " has dimension ", in.info().cols, ", but ", options.apply, " reduces dimension ",
              saved->dim());
    }
    const Pca pca = saved ? *saved : fit(options, in, session);
    const VectorData reduced = project(pca, in, session);
    check_interrupted();
    write_vectors(options.out, reduced.view());
    if (!options.save.empty()) save_pca(pca, options.save);
    session.fact("rows", reduced.rows);
    describe(pca, session);
    session.fact("output", options.out);
    if (!options.save.empty()) session.fact("pca", options.save);
    session.fact_seconds("seconds", watch.seconds());
}

}  // namespace

void add_reduce(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("reduce", "fewer dimensions, by PCA");
    auto options = std::make_shared<ReduceOptions>();
    command.add_option("IN", options->in, "vectors")->required();
    command.add_option("-o,--output", options->out, "reduced vectors (float32)")->required();
    auto* how = command.add_option_group("how", "one of");
    auto* pca = how->add_option("--pca", options->components, "fit this many components");
    auto* apply = how->add_option("--apply", options->apply, "use a PCA that --save wrote");
    how->require_option(1);
    command.add_flag("--whiten", options->whiten, "scale every component to variance one")
        ->excludes(apply);
    command.add_option("--save", options->save, "keep the fitted PCA")->needs(pca);
    session.add_command(command, [options, &session] { reduce(*options, session); });
}

}  // namespace nearcell::cli
