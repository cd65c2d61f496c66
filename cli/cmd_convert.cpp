// nearcell convert IN OUT: vectors or ids from one file format to another.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include <nearcell/storage/vector_file.h>

#include "commands.h"
#include "elements.h"
#include "files.h"
#include "interrupt.h"
#include "number_text.h"
#include "session.h"

namespace nearcell::cli {
namespace {

struct ConvertOptions {
    std::string in, out, from, to, type;
    std::string raw_type = "float32";
    size_t raw_cols = 0;
    std::optional<size_t> limit;
};

ElementType element_from_name(const std::string& name) {
    for (ElementType type : {ElementType::Float32, ElementType::Float16, ElementType::BFloat16,
                             ElementType::Int8, ElementType::UInt8}) {
        if (element_name(type) == name) return type;
    }
    throw_error(StatusCode::InvalidArgument, "element type ", name, " is not known");
}

VectorFormat format_of(const std::string& name, const std::string& path) {
    if (name.empty()) return format_from_path(path);
    const auto format = format_from_name(name);
    check(format.has_value(), StatusCode::InvalidArgument, "format ", name,
          " is none of fvecs, bvecs, ivecs, fbin, u8bin, i8bin, ibin, npy, raw, hdf5");
    return *format;
}

bool holds_ids(VectorFormat format) {
    return format == VectorFormat::Ivecs || format == VectorFormat::Ibin;
}

// The one element type that a format can hold; none when it can hold several.
std::optional<ElementType> only_type(VectorFormat format) {
    switch (format) {
        case VectorFormat::Fvecs:
        case VectorFormat::Fbin: return ElementType::Float32;
        case VectorFormat::Bvecs:
        case VectorFormat::U8bin: return ElementType::UInt8;
        case VectorFormat::I8bin: return ElementType::Int8;
        case VectorFormat::Ivecs:
        case VectorFormat::Ibin:
        case VectorFormat::Npy:
        case VectorFormat::Raw:
        case VectorFormat::Hdf5: break;
    }
    return std::nullopt;
}

// What the output is to hold; none leaves the elements as they are.
std::optional<ElementType> wanted_type(const ConvertOptions& options, VectorFormat to) {
    std::optional<ElementType> wanted = only_type(to);
    if (options.type.empty()) return wanted;
    const ElementType type = element_from_name(options.type);
    check(!holds_ids(to) && (!wanted || *wanted == type), StatusCode::InvalidArgument, "--type ",
          options.type, " cannot be stored as ", format_name(to),
          "; leave --type out or choose npy, raw or hdf5");
    return type;
}

struct Shape {
    std::string element;
    size_t rows, cols;
};

Shape write_from_ids(const IdData& ids, const std::optional<ElementType>& type,
                     const std::string& path, const VectorFileOptions& out, Session& session) {
    if (!type) {
        check_interrupted();
        write_ids(path, ids.values.data(), ids.rows, ids.cols, out);
        return {"integer", ids.rows, ids.cols};
    }
    const VectorData vectors = vectors_from_ids(ids, *type, session.progress());
    check_interrupted();
    write_vectors(path, vectors.view(), out);
    return {std::string(element_name(*type)), ids.rows, ids.cols};
}

Shape write_from_vectors(VectorData vectors, const std::optional<ElementType>& type,
                         const std::string& path, const VectorFileOptions& out, Session& session) {
    if (holds_ids(*out.format)) {
        const IdData ids = ids_from_vectors(vectors.view(), session.progress());
        return write_from_ids(ids, std::nullopt, path, out, session);
    }
    if (type && *type != vectors.type) {
        vectors = convert_elements(vectors.view(), *type, session.progress());
    }
    check_interrupted();
    write_vectors(path, vectors.view(), out);
    return {std::string(element_name(vectors.type)), vectors.rows, vectors.cols};
}

void convert(const ConvertOptions& options, Session& session) {
    const Stopwatch watch;
    VectorFileOptions in, out;
    in.format = format_of(options.from, options.in);
    in.raw_type = element_from_name(options.raw_type);
    in.raw_cols = options.raw_cols;
    in.exact_whole = true;
    if (options.limit) in.max_rows = *options.limit;
    out.format = format_of(options.to, options.out);
    const std::optional<ElementType> type = wanted_type(options, *out.format);
    const std::string path = with_data_set(options.in, "train");
    const VectorFileInfo info = vector_file_info(path, in);
    const bool from_ids = info.element == "int32" || info.element == "int64";
    check_output(output_file(options.out));
    check_different({with_data_set(options.out, type || !from_ids ? "train" : "neighbors")},
                    {path});

    const Shape shape =
        from_ids ? write_from_ids(read_ids(path, in), type, options.out, out, session)
                 : write_from_vectors(read_vectors(path, in), type, options.out, out, session);
    session.fact("from", std::string(format_name(info.format)) + " " + info.element);
    session.fact("to", std::string(format_name(*out.format)) + " " + shape.element);
    session.fact("rows", shape.rows);
    session.fact("cols", shape.cols);
    session.fact("output", options.out);
    session.fact_seconds("seconds", watch.seconds());
}

}  // namespace

void add_convert(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("convert", "vectors or ids to another file format");
    auto options = std::make_shared<ConvertOptions>();
    command.add_option("IN", options->in, "file to read (file.hdf5:DATA_SET for HDF5)")->required();
    command.add_option("OUT", options->out, "file to write")->required();
    command.add_option("--from", options->from, "format of IN; else by suffix");
    command.add_option("--to", options->to, "format of OUT; else by suffix");
    const CLI::IsMember types({"float32", "float16", "bfloat16", "int8", "uint8"});
    command.add_option("--type", options->type, "elements of OUT (npy, raw, hdf5); else as in IN")
        ->check(types);
    command.add_option("--raw-type", options->raw_type, "elements of a raw IN")
        ->check(types)
        ->capture_default_str();
    command.add_option("--raw-cols", options->raw_cols, "columns of a raw IN");
    command.add_option("--limit", options->limit, "convert the first so many rows");
    session.add_command(command, [options, &session] { convert(*options, session); });
}

}  // namespace nearcell::cli
