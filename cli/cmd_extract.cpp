// nearcell extract PICTURES: feature vectors of pictures by a network, and the names of their rows.
// Features are written as they come, so memory does not grow with the number of pictures.
#include <CLI/CLI.hpp>
#include <memory>

#include <nearcell/storage/vector_writer.h>

#include "commands.h"
#include "device_option.h"
#include "files.h"
#include "interrupt.h"
#include "names_file.h"
#include "network_options.h"
#include "number_text.h"

namespace nearcell::cli {
namespace {

struct ExtractCommandOptions {
    std::vector<std::string> pictures;
    NetworkOptions network;
    DeviceOption device;
    std::string out;
    bool normalize = false;
};

void describe(const Extractor& extractor, Session& session) {
    session.fact("model", extractor.model().name);
    session.fact("layer", extractor.network().layers().back());
    session.fact("dim", extractor.dim());
    session.fact("device", extractor.device());
}

void extract(const ExtractCommandOptions& options, Session& session) {
    options.device.check();
    const std::string names = names_path(options.out);
    check_vector_output(options.out, ElementType::Float32);
    check_output(names);
    size_t other_files = 0;
    const std::vector<std::string> pictures = list_all_pictures(options.pictures, &other_files);
    check_different({options.out, names}, options.network.inputs(options.pictures));
    check_different({options.out, names}, pictures);
    check_names(pictures);
    const Extractor extractor = options.network.make_extractor(options.device.name);
    VectorWriter writer(options.out, ElementType::Float32, extractor.dim());

    ExtractOptions how;
    how.normalize = options.normalize;
    how.strict = options.network.strict;
    how.threads = session.threads();
    how.progress = session.progress();
    std::vector<size_t> rows;
    const auto keep = [&](std::span<const size_t> numbers, MatrixView<const float> features) {
        writer.append(features);
        rows.insert(rows.end(), numbers.begin(), numbers.end());
    };
    const Stopwatch watch;
    const std::vector<SkippedPicture> skipped = extractor.extract(pictures, how, keep);
    const double seconds = watch.seconds();
    check_interrupted();
    const Json left_out = report_skipped(pictures, skipped, session);
    AtomicFile names_file(names);
    append_names(names_file, pictures, rows);
    writer.commit();
    names_file.commit();

    describe(extractor, session);
    session.fact("pictures", pictures.size());
    session.fact("rows", rows.size());
    session.fact("skipped", left_out, grouped_text(skipped.size()));
    session.fact("other_files", other_files);
    session.fact("output", options.out);
    session.fact("names", names);
    session.fact_seconds("seconds", seconds);
    const double rate = static_cast<double>(pictures.size()) / seconds;
    session.fact("pictures_per_second", rate, count_text(rate));
}

}  // namespace

void add_extract(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("extract", "feature vectors of pictures");
    auto options = std::make_shared<ExtractCommandOptions>();
    options->network.add_options(command, options->pictures);
    options->device.add_option(command);
    command.add_flag("--normalize", options->normalize, "features of length 1");
    command
        .add_option("-o,--output", options->out,
                    "features: .npy, .fbin or .fvecs; names beside it, in OUTPUT.names.txt")
        ->required();
    session.add_command(command, [options, &session] { extract(*options, session); });
}

}  // namespace nearcell::cli
