// CellIndex::save and open: which sections of a container hold what (docs/format.md, "index").
#include <bit>
#include <limits>

#include <nearcell/ivf/index_state.h>
#include <nearcell/ivf/spec.h>

namespace nearcell {
namespace {

constexpr const char* kKind = "index";
// Where from: a path, or what else holds it.
void check_kind(const Container& file, const std::string& from) {
    check(file.kind() == kKind, StatusCode::InvalidArgument, from, " is of kind ", file.kind(),
          ", not an index: open it with what wrote it");
}

constexpr uint64_t kAny = std::numeric_limits<uint64_t>::max();

void put_codec(std::vector<uint64_t>& numbers, const CodecOptions& codec) {
    numbers.insert(numbers.end(),
                   {static_cast<uint64_t>(codec.kind), codec.subquantizers, codec.bits});
}

// Everything but arrays, as 64-bit numbers; read_options reads them in the same order.
std::vector<uint64_t> write_options(const CellIndexOptions& options) {
    std::vector<uint64_t> numbers{options.dim,
                                  static_cast<uint64_t>(options.metric),
                                  options.cells,
                                  options.residual,
                                  options.seed,
                                  options.cell_iterations,
                                  options.max_points_per_cell};
    put_codec(numbers, options.codec);
    numbers.push_back(options.rerank.has_value());
    if (options.rerank) put_codec(numbers, *options.rerank);
    numbers.push_back(options.transforms.size());
    for (const TransformOptions& transform : options.transforms) {
        numbers.insert(numbers.end(), {static_cast<uint64_t>(transform.kind), transform.out_dim,
                                       transform.subquantizers});
    }
    return numbers;
}

// Numbers in order; throws Corrupt past the end or above a limit.
class NumberReader {
   public:
    explicit NumberReader(std::span<const uint64_t> numbers) : numbers_(numbers) {}
    uint64_t next(uint64_t limit = kAny) {
        check(position_ < numbers_.size(), StatusCode::Corrupt, "section options ends early");
        const uint64_t value = numbers_[position_++];
        check(value <= limit, StatusCode::Corrupt, "section options holds ", value, " at place ",
              position_ - 1, ", where at most ", limit, " is possible");
        return value;
    }
    CodecOptions codec() {
        CodecOptions options;
        options.kind = static_cast<CodeKind>(next(static_cast<uint64_t>(CodeKind::Bits)));
        options.subquantizers = next();
        options.bits = next(8);
        return options;
    }
    void end() const {
        check(position_ == numbers_.size(), StatusCode::Corrupt, "section options is too long");
    }

   private:
    std::span<const uint64_t> numbers_;
    size_t position_ = 0;
};

// What is wrong with an argument is damage where the argument came from a file.
template <class Check>
void as_corrupt(const char* what, Check&& run) {
    try {
        run();
    } catch (const Error& error) {
        throw_error(StatusCode::Corrupt, what, error.what());
    }
}

CellIndexOptions read_options(std::span<const uint64_t> numbers) {
    NumberReader reader(numbers);
    CellIndexOptions options;
    options.dim = reader.next();
    options.metric = static_cast<Metric>(reader.next(static_cast<uint64_t>(Metric::L1)));
    options.cells = reader.next();
    options.residual = reader.next(1) == 1;
    options.seed = reader.next();
    options.cell_iterations = reader.next();
    options.max_points_per_cell = reader.next();
    options.codec = reader.codec();
    if (reader.next(1) == 1) options.rerank = reader.codec();
    const uint64_t transforms = reader.next(16);
    for (uint64_t i = 0; i < transforms; ++i) {
        TransformOptions transform;
        transform.kind = static_cast<TransformKind>(
            reader.next(static_cast<uint64_t>(TransformKind::RandomRotation)));
        transform.out_dim = reader.next();
        transform.subquantizers = reader.next();
        options.transforms.push_back(transform);
    }
    reader.end();
    as_corrupt("section options is impossible: ", [&] { check_options(options); });
    return options;
}

std::string transform_section(size_t i) { return "transform." + std::to_string(i); }

void add_floats(ContainerWriter& file, const std::string& name, std::vector<float> values) {
    const auto kept = std::make_shared<std::vector<float>>(std::move(values));
    file.add_pieces(name, SectionType::F32, kept->size(), 1,
                    [kept](const ContainerWriter::Sink& sink) {
                        sink(kept->data(), kept->size() * sizeof(float));
                    });
}

std::span<const float> floats(const Container& file, const std::string& name) {
    return file.get<float>(name, file.info(name).rows);
}

}  // namespace

ContainerWriter CellIndex::State::to_container() const {
    require_trained("saving, by save(), to_bytes() or pickle,");
    ContainerWriter writer(kKind);
    writer.add_text("spec", format_spec(options));
    const auto numbers = std::make_shared<std::vector<uint64_t>>(write_options(options));
    const auto sizes = std::make_shared<std::vector<uint64_t>>();
    for (const Cell& cell : cells)
        sizes->push_back(cell.size());
    // The counters that are no options: vectors, next id, defaults.
    const auto counters = std::make_shared<std::vector<uint64_t>>(
        std::vector<uint64_t>{size, static_cast<uint64_t>(next_id), default_probes, default_rerank,
                              std::bit_cast<uint32_t>(default_cutoff)});
    for (const auto& [name, values] :
         {std::pair{"options", numbers}, std::pair{"counters", counters},
          std::pair{"cell_sizes", sizes}}) {
        writer.add_pieces(name, SectionType::U64, values->size(), 1,
                          [values = values](const ContainerWriter::Sink& sink) {
                              sink(values->data(), values->size() * sizeof(uint64_t));
                          });
    }
    for (size_t i = 0; i < transforms.size(); ++i) {
        add_floats(writer, transform_section(i), transforms[i].parameters());
    }
    add_floats(writer, "centroids", centroids);
    add_floats(writer, "codec", codec->parameters());
    if (rerank_codec) add_floats(writer, "rerank_codec", rerank_codec->parameters());

    const CellShape shape = this->shape();
    uint64_t code_words = 0;
    for (const Cell& cell : cells)
        code_words += cell_code_words(cell.size(), shape);
    writer.add_pieces("codes", SectionType::U32, code_words, 1, [this, shape](const auto& sink) {
        for (const Cell& cell : cells) {
            sink(cell.blocks(), cell_code_words(cell.size(), shape) * sizeof(uint32_t));
        }
    });
    writer.add_pieces("ids", SectionType::I64, size, 1, [this](const auto& sink) {
        for (const Cell& cell : cells)
            sink(cell.ids(), cell.size() * sizeof(int64_t));
    });
    if (rerank_codec) {
        writer.add_pieces(
            "rerank", SectionType::U32, size, shape.rerank_words, [this, shape](const auto& sink) {
                for (const Cell& cell : cells) {
                    sink(cell.rerank_rows(), cell.size() * shape.rerank_words * sizeof(uint32_t));
                }
            });
    }
    return writer;
}

std::unique_ptr<CellIndex::State> CellIndex::State::from_container(Container opened) {
    check_kind(opened, "these bytes");
    const CellIndexOptions options =
        read_options(opened.get<uint64_t>("options", opened.info("options").rows));
    // Before anything is allocated by these numbers: the file must be as large as they say.
    const auto sizes = opened.get<uint64_t>("cell_sizes", options.cells);
    const auto counters = opened.get<uint64_t>("counters", 5);
    const uint64_t size = counters[0];
    uint64_t sum = 0;
    for (const uint64_t cell : sizes) {
        check(cell <= size && sum + cell <= size, StatusCode::Corrupt,
              "section cell_sizes adds up to more than the ", size, " vectors of the index");
        sum += cell;
    }
    check(sum == size, StatusCode::Corrupt, "section cell_sizes adds up to ", sum, ", not to the ",
          size, " vectors of the index");
    const auto ids = opened.get<int64_t>("ids", size);

    auto state = std::make_unique<State>(options, true);
    for (size_t i = 0; i < state->transforms.size(); ++i) {
        state->transforms[i].set_parameters(floats(opened, transform_section(i)));
    }
    const auto centroids = floats(opened, "centroids");
    const size_t rows = options.cells > 1 || options.residual ? options.cells : 0;
    check(centroids.size() == rows * state->coded_dim, StatusCode::Corrupt,
          "section centroids has ", centroids.size(), " values; it should have ", rows, " x ",
          state->coded_dim);
    as_corrupt("section centroids is impossible: ", [&] {
        check_finite(MatrixView<const float>(centroids.data(), rows, state->coded_dim), "value", 1);
    });
    state->set_centroids({centroids.begin(), centroids.end()});
    state->codec->set_parameters(floats(opened, "codec"));
    if (state->rerank_codec) state->rerank_codec->set_parameters(floats(opened, "rerank_codec"));

    const CellShape shape = state->shape();
    uint64_t code_words = 0;
    for (const uint64_t cell : sizes)
        code_words += cell_code_words(cell, shape);
    const uint32_t* codes = opened.get<uint32_t>("codes", code_words).data();
    const uint32_t* rerank = state->rerank_codec
                                 ? opened.get<uint32_t>("rerank", size, shape.rerank_words).data()
                                 : nullptr;
    int64_t largest = -1;
    for (const int64_t id : ids) {
        check(id >= 0, StatusCode::Corrupt, "section ids holds the negative id ", id);
        largest = std::max(largest, id);
    }
    check(counters[1] <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) &&
              static_cast<int64_t>(counters[1]) > largest,
          StatusCode::Corrupt, "the next id, ", counters[1], ", is not above the largest one, ",
          largest);
    check(counters[2] <= options.cells, StatusCode::Corrupt, "the default of ", counters[2],
          " probes is more than the ", options.cells, " cells");
    const int64_t* next_ids = ids.data();
    for (size_t c = 0; c < options.cells; ++c) {
        state->cells[c] = Cell(codes, next_ids, rerank, sizes[c], shape);
        codes += cell_code_words(sizes[c], shape);
        next_ids += sizes[c];
        if (rerank != nullptr) rerank += sizes[c] * shape.rerank_words;
    }
    state->size = size;
    state->next_id = static_cast<int64_t>(counters[1]);
    state->default_probes = counters[2];
    state->default_rerank = counters[3];
    check(counters[4] <= std::numeric_limits<uint32_t>::max(), StatusCode::Corrupt,
          "the default cutoff is no number of 32 bits: ", counters[4]);
    state->default_cutoff = std::bit_cast<float>(static_cast<uint32_t>(counters[4]));
    const bool distances = options.metric == Metric::L2 || options.metric == Metric::Cosine;
    check(state->default_cutoff > 0 &&
              (distances || state->default_cutoff == std::numeric_limits<float>::infinity()),
          StatusCode::Corrupt, "the default cutoff, ", state->default_cutoff,
          ", is not above 0, or the metric has none");
    state->set_trained();
    state->file.emplace(std::move(opened));
    state->refresh_views();
    return state;
}

void CellIndex::save(const std::string& path) const {
    const std::shared_lock lock(state_->mutex);
    state_->to_container().save(path);
}

std::vector<uint8_t> CellIndex::to_bytes() const {
    const std::shared_lock lock(state_->mutex);
    return state_->to_container().to_bytes();
}

std::unique_ptr<CellIndex> CellIndex::open(const std::string& path, bool mmap) {
    Container file = Container::open(path, mmap ? OpenMode::Map : OpenMode::Read);
    check_kind(file, path);
    return std::unique_ptr<CellIndex>(new CellIndex(State::from_container(std::move(file))));
}

std::unique_ptr<CellIndex> CellIndex::from_bytes(std::vector<uint8_t> bytes) {
    Container file = Container::from_bytes(std::move(bytes));
    return std::unique_ptr<CellIndex>(new CellIndex(State::from_container(std::move(file))));
}

}  // namespace nearcell
