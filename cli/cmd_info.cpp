// nearcell info [FILE]: what this build and machine are, or what a file is.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include <nearcell/core/parallel.h>
#include <nearcell/ivf/cell_index.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/storage/container.h>
#include <nearcell/storage/vector_file.h>

#include "commands.h"
#include "exit_code.h"
#include "files.h"
#include "machine.h"
#include "number_text.h"
#include "pca_file.h"
#include "session.h"
#include "tuning.h"

namespace nearcell::cli {
namespace {

void machine_info(Session& session) {
    const std::string backend = cpu_backend().describe();
    session.fact("version", std::string(NEARCELL_VERSION));
    session.fact("compiler", compiler());
    session.fact("cpu", cpu_model());
    std::string runnable;
    for (const std::string& name : cpu_instruction_sets()) {
        runnable += (runnable.empty() ? "" : " ") + name;
    }
    session.fact("instruction_sets", cpu_instruction_sets(), runnable);
    session.fact("instruction_set", chosen_instruction_set());
    session.fact("executor", std::string(executor_name()));
    session.fact("threads", static_cast<uint64_t>(resolve_threads(session.threads())));
    session.fact("backend", backend);
}

std::string_view section_type_name(SectionType type) {
    switch (type) {
        case SectionType::U8: return "uint8";
        case SectionType::U16: return "uint16";
        case SectionType::U32: return "uint32";
        case SectionType::U64: return "uint64";
        case SectionType::I64: return "int64";
        case SectionType::F32: return "float32";
        case SectionType::F64: return "float64";
        case SectionType::Text: return "text";
    }
    return "?";
}

void describe_sections(const Container& file, Session& session) {
    Json list = Json::array();
    Table table({{"section", Table::Align::Left},
                 {"type", Table::Align::Left},
                 {"rows"},
                 {"cols"},
                 {"bytes"}});
    for (const SectionInfo& section : file.sections()) {
        const std::string type(section_type_name(section.type));
        list.push_back({{"name", section.name},
                        {"type", type},
                        {"rows", section.rows},
                        {"cols", section.cols},
                        {"bytes", section.bytes}});
        table.add_row({section.name, type, grouped_text(section.rows), grouped_text(section.cols),
                       bytes_text(static_cast<double>(section.bytes))});
    }
    session.detail("sections", std::move(list));
    session.text(table.text());
}

void describe_index(const CellIndex& index, Session& session) {
    const IndexStats stats = index.stats();
    session.fact("spec", stats.spec);
    session.fact("metric", std::string(metric_name(index.metric())));
    session.fact("rows", stats.size);
    session.fact("dim", index.dim());
    session.fact("trained", index.is_trained(), index.is_trained() ? "yes" : "no");
    session.fact("cells", stats.cells);
    session.fact("largest_cell", stats.largest_cell);
    session.fact("empty_cells", stats.empty_cells);
    session.fact("imbalance", stats.imbalance, fixed_text(stats.imbalance, 2));
    session.fact("code_bytes", stats.code_bytes);
    session.fact("rerank_bytes", stats.rerank_bytes);
    session.fact("bytes_per_vector", stats.bytes_per_vector, fixed_text(stats.bytes_per_vector, 1));
    session.fact("default_probes", stats.default_probes);
    const bool follows_k = stats.default_rerank == 0 && stats.rerank_bytes > 0;
    session.fact("default_rerank", stats.default_rerank,
                 !follows_k                 ? grouped_text(stats.default_rerank)
                 : index.reranks_by_bound() ? "by bound"
                                            : "by k");
    session.fact("default_cutoff", cutoff_json(stats.default_cutoff),
                 cutoff_text(stats.default_cutoff));
}

void describe_pca(const Pca& pca, Session& session) {
    session.fact("dim", pca.dim());
    session.fact("components", pca.components());
    session.fact("whiten", pca.options().whiten, pca.options().whiten ? "yes" : "no");
}

// A damaged file is still described, as far as its header and section table say.
void container_info(const std::string& path, Session& session) {
    const Container file = Container::open(path, OpenMode::MapUnchecked);
    session.fact("file", path);
    session.fact("kind", file.kind());
    session.fact("bytes", file.file_bytes(), bytes_text(static_cast<double>(file.file_bytes())));
    describe_sections(file, session);
    try {
        file.verify();
        session.fact("checksums", std::string("ok"));
        if (file.kind() == "index") describe_index(*CellIndex::open(path, true), session);
        if (file.kind() == "pca") describe_pca(load_pca(path), session);
    } catch (const Error& error) {
        session.fact("damage", std::string(error.what()));
        session.fail_with(exit_code(error.code()));
    }
}

void vector_info(const std::string& path, Session& session) {
    const std::vector<DataSet> sets = data_sets(path);
    const uint64_t bytes = file_bytes(path);
    session.fact("file", path);
    session.fact("format", std::string(format_name(sets[0].info.format)));
    session.fact("bytes", bytes, bytes_text(static_cast<double>(bytes)));
    if (sets[0].path == path) {
        session.fact("element", sets[0].info.element);
        session.fact("rows", sets[0].info.rows);
        session.fact("cols", sets[0].info.cols);
        return;
    }
    Json list = Json::object();
    Table table(
        {{"data set", Table::Align::Left}, {"element", Table::Align::Left}, {"rows"}, {"cols"}});
    for (const auto& [name, info] : sets) {
        const std::string set = name.substr(path.size() + 1);
        list[set] = {{"element", info.element}, {"rows", info.rows}, {"cols", info.cols}};
        table.add_row({set, info.element, grouped_text(info.rows), grouped_text(info.cols)});
    }
    session.detail("data_sets", std::move(list));
    session.text(table.text());
}

void info(const std::string& path, Session& session) {
    if (path.empty()) return machine_info(session);
    if (!is_vector_path(path)) return container_info(path, session);
    vector_info(path, session);
}

}  // namespace

void add_info(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("info", "this build and machine, or what a file is");
    auto path = std::make_shared<std::string>();
    command.add_option("FILE", *path, "an index, a PCA or a vector file");
    session.add_command(command, [path, &session] { info(*path, session); });
}

}  // namespace nearcell::cli
