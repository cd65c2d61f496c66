// nearcell images PICTURES: the whole way in one command: features of pictures, a PCA where wanted,
// an index, a search, and a sheet that shows queries with their neighbours.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>

#include <nearcell/extract/image_write.h>

#include "commands.h"
#include "contact_html.h"
#include "contact_png.h"
#include "files.h"
#include "interrupt.h"
#include "names_file.h"
#include "number_text.h"
#include "pca_file.h"
#include "picture_answers.h"

namespace nearcell::cli {
namespace {

std::string pca_path(const std::string& index) { return index + ".pca.nc"; }

struct ImagesOptions {
    std::vector<std::string> pictures, queries;
    NetworkOptions network;
    PictureIndexOptions index;
    PictureQuestion question;
    std::string html, png, save_index;

    bool wants_sheet() const { return !html.empty() || !png.empty(); }
};

void check_outputs(const ImagesOptions& options, const std::vector<std::string>& pictures,
                   const std::vector<std::string>& asked) {
    const size_t k = options.question.k;
    const size_t queries =
        asked.empty() ? std::min(options.question.sample, pictures.size()) : asked.size();
    std::vector<std::string> outputs;
    for (const std::string& path : {options.html, options.png, options.save_index})
        if (!path.empty()) outputs.push_back(path);
    if (!options.save_index.empty()) {
        outputs.push_back(names_path(options.save_index));
        if (options.index.components) outputs.push_back(pca_path(options.save_index));
    }
    for (const std::string& path : outputs)
        check_output(path);
    for (const auto& inputs :
         {options.network.inputs(options.pictures), options.queries, pictures, asked})
        check_different(outputs, inputs);
    if (options.wants_sheet()) check_sheet_size(queries, k);
    if (!options.png.empty()) check_png_size(queries, k);
}

void describe(const Extractor& extractor, const PictureFeatures& base, size_t other_files,
              const PictureIndex& index, Session& session) {
    session.fact("model", extractor.model().name);
    session.fact("layer", extractor.network().layers().back());
    session.fact("dim", extractor.dim());
    session.fact("pictures", base.listed.size());
    session.fact("rows", base.count());
    session.fact("skipped", base.skipped, grouped_text(base.skipped.size()));
    session.fact("other_files", other_files);
    if (index.pca()) {
        const std::vector<float> ratios = index.pca()->explained_variance_ratio();
        const double kept = std::accumulate(ratios.begin(), ratios.end(), 0.0);
        session.fact("pca", index.pca()->components());
        session.fact("variance_kept", kept, fixed_text(100 * kept, 2) + "%");
    }
    const IndexStats stats = index.index().stats();
    session.fact("spec", stats.spec);
    session.fact("metric", std::string(metric_name(index.index().metric())));
    session.fact("device", index.index().device());
    session.fact("bytes_per_vector", stats.bytes_per_vector, fixed_text(stats.bytes_per_vector, 1));
}

struct Seconds {
    double extract = 0, search = 0;
};

void add_facts(const Extractor& extractor, const PictureFeatures& base,
               const PictureFeatures& asked, const PictureIndex& index,
               const PictureAnswers& answers, const Seconds& seconds, ContactSheet& sheet) {
    sheet.title = "Nearest neighbours among " + grouped_text(base.count()) +
                  (base.count() == 1 ? " picture" : " pictures");
    for (const Json* list : {&base.skipped, &asked.skipped}) {
        for (const Json& skipped : *list)
            sheet.left_out.push_back(skipped["reason"].get<std::string>());
    }
    auto& facts = sheet.facts;
    facts.emplace_back("Queries", grouped_text(answers.queries.size()));
    facts.emplace_back("Network", extractor.model().name + ", " +
                                      extractor.network().layers().back() + ", " +
                                      grouped_text(extractor.dim()) + " values");
    if (index.pca())
        facts.emplace_back("PCA", grouped_text(index.pca()->components()) + " components");
    const IndexStats stats = index.index().stats();
    facts.emplace_back("Index",
                       stats.spec + ", " + bytes_text(stats.bytes_per_vector) + " a picture");
    facts.emplace_back("Metric", std::string(metric_name(index.index().metric())));
    const auto count = static_cast<double>(base.listed.size());
    facts.emplace_back("Features", seconds_text(seconds.extract) + ", " +
                                       count_text(count / seconds.extract) + " pictures a second");
    facts.emplace_back(index.pca() ? "PCA and index built" : "Index built",
                       seconds_text(index.pca_seconds() + index.build_seconds()));
    facts.emplace_back("Search", seconds_text(seconds.search));
}

void save_index(const std::string& path, const PictureIndex& index, const PictureFeatures& base,
                Session& session) {
    const std::string names = names_path(path), pca = pca_path(path);
    AtomicFile names_file(names);
    append_names(names_file, base.listed, base.rows);
    std::optional<AtomicFile> pca_file;
    if (index.pca()) append_pca(pca_file.emplace(pca), *index.pca());
    // All is written, so that a disk that is full has left the index that was there with its own.
    index.index().save(path);
    names_file.commit();
    if (pca_file) pca_file->commit();
    if (!pca_file && is_pca(pca)) std::filesystem::remove(pca);  // of the index that was there
    session.fact("index", path);
    session.fact("names", names);
    if (index.pca()) session.fact("pca_file", pca);
}

void save_sheet(const ImagesOptions& options, const ContactSheet& sheet, Session& session) {
    if (!options.png.empty()) {
        const std::vector<uint8_t> bytes = encode_png(contact_png(sheet));
        save_text(options.png, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
        session.fact("png", options.png);
    }
    if (!options.html.empty()) {
        save_text(options.html, contact_html(sheet));
        session.fact("html", options.html);
    }
}

void images(const ImagesOptions& options, Session& session) {
    check(options.question.k >= 1, StatusCode::InvalidArgument, "-n 0 must be at least 1");
    options.index.device.check();
    check(options.question.sample >= 1, StatusCode::InvalidArgument,
          "--sample 0 must be at least 1");
    size_t other_files = 0;
    const std::vector<std::string> pictures = list_all_pictures(options.pictures, &other_files);
    const std::vector<std::string> queries = list_all_pictures(options.queries);
    check_outputs(options, pictures, queries);
    if (!options.save_index.empty()) check_names(pictures);
    const Extractor extractor = options.network.make_extractor(options.index.device.name);
    options.index.check(pictures.size(), extractor.dim());

    Seconds seconds;
    Stopwatch watch;
    const bool strict = options.network.strict;
    const PictureFeatures base = extract_features(extractor, pictures, strict, session);
    seconds.extract = watch.lap();
    PictureFeatures asked;
    if (!queries.empty()) asked = extract_features(extractor, queries, strict, session);
    check_interrupted();
    const PictureIndex index(base.view(), options.index, session);
    watch.lap();
    const PictureAnswers answers = ask(index, base, asked, options.question, session);
    seconds.search = watch.lap();

    const Metric metric = index.index().metric();
    describe(extractor, base, other_files, index, session);
    session.fact("queries", answers.queries.size());
    if (!queries.empty()) session.detail("skipped_queries", asked.skipped);
    session.fact_seconds("extract_seconds", seconds.extract);
    if (index.pca()) session.fact_seconds("pca_seconds", index.pca_seconds());
    session.fact_seconds("build_seconds", index.build_seconds());
    session.fact_seconds("search_seconds", seconds.search);
    check_interrupted();
    if (!options.save_index.empty()) save_index(options.save_index, index, base, session);
    if (options.wants_sheet()) {
        watch.lap();
        ContactSheet sheet = sheet_of(answers, base, metric, session);
        add_facts(extractor, base, asked, index, answers, seconds, sheet);
        session.fact_seconds("sheet_seconds", watch.lap());
        check_interrupted();
        save_sheet(options, sheet, session);
    }
    report_answers(answers, base, metric, !options.wants_sheet(), session);
}

}  // namespace

void add_images(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("images", "pictures in, neighbours out, in one go");
    auto options = std::make_shared<ImagesOptions>();
    options->network.add_options(command, options->pictures);
    command.add_option("--pca", options->index.components, "reduce features to so many components");
    command
        .add_option("-k,--spec", options->index.spec, "factory string, such as IVF64,PQ16,RFlat")
        ->capture_default_str();
    add_metric_option(command, options->index.metric);
    command.add_option("--seed", options->index.seed, "seed of training")->capture_default_str();
    CLI::Option* query =
        command
            .add_option("--query", options->queries,
                        "pictures to ask with, as PICTURES; may be given again and again")
            ->allow_extra_args(false);
    command
        .add_option("--sample", options->question.sample,
                    "without --query: so many of PICTURES ask for their neighbours")
        ->capture_default_str()
        ->excludes(query);
    command.add_option("-n,--neighbors", options->question.k, "neighbours a query")
        ->capture_default_str();
    command.add_option("--probes", options->question.probes,
                       "cells to look into; 0 = the index's default");
    options->index.device.add_index_options(command);
    command.add_option("--html", options->html, "contact sheet, one file that needs no other");
    command.add_option("--png", options->png, "contact sheet as a picture, without names");
    command.add_option(
        "--save-index", options->save_index,
        "keep the index; names beside it, in INDEX.names.txt, a PCA in INDEX.pca.nc");
    session.add_command(command, [options, &session] { images(*options, session); });
}

}  // namespace nearcell::cli
