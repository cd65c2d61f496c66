#include <nearcell/extract/safetensors_header.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include <nearcell/core/error.h>
#include <nearcell/core/printable.h>
#include <nearcell/extract/safetensors.h>
#include <nearcell/storage/checked_size.h>

namespace nearcell {
namespace {

std::optional<uint64_t> type_bytes(std::string_view type) {
    constexpr std::pair<std::string_view, uint64_t> kTypes[] = {
        {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8},     {"I64", 8},
        {"I32", 4}, {"I16", 2}, {"I8", 1},   {"U64", 8},     {"U32", 4},
        {"U16", 2}, {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
    for (const auto& [name, bytes] : kTypes)
        if (type == name) return bytes;
    return std::nullopt;
}

// Takes the JSON as it is read, so that it is never a tree in memory, which for a header of 100 MB
// would be gigabytes. What is allowed: {"name": {"dtype": text, "shape": [n...], "data_offsets":
// [n, n]}, "__metadata__": {text: text}}.
class HeaderEvents final : public nlohmann::json_sax<nlohmann::json> {
   public:
    explicit HeaderEvents(const std::string& path) : path_(path) {}

    SafetensorsHeader header;

    bool null() override { return unexpected("null"); }
    bool boolean(bool) override { return unexpected("a truth value"); }
    bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
    bool number_float(number_float_t, const string_t&) override {
        return unexpected("a number that is not whole or too large");
    }
    bool binary(binary_t&) override { return unexpected("binary data"); }
    bool number_unsigned(number_unsigned_t value) override {
        if (level_ != Level::Numbers) return unexpected("a number");
        const size_t most = field_ == "shape" ? kMaxTensorRank : 2;
        check(numbers_.size() < most,
              field_ == "shape" ? StatusCode::Unsupported : StatusCode::Corrupt, path_, ": tensor ",
              shown_name(name_), ": more than ", most, " numbers in ", field_,
              "; save it in another shape, or get the file again");
        numbers_.push_back(value);
        return true;
    }
    bool string(string_t& text) override {
        if (level_ == Level::Metadata) {
            const bool fresh = header.metadata.emplace(name_, text).second;
            corrupt_unless(fresh, "metadata ", shown_name(name_), " is there twice");
            return true;
        }
        if (level_ != Level::Tensor || field_ != "dtype") return unexpected("a text");
        entry_.type = text;
        return true;
    }
    bool start_object(size_t) override {
        if (level_ == Level::Outside) {
            level_ = Level::Top;
        } else if (level_ == Level::Top && name_ == "__metadata__") {
            corrupt_unless(!metadata_seen_, "__metadata__ is there twice");
            metadata_seen_ = true;
            level_ = Level::Metadata;
        } else if (level_ == Level::Top) {
            level_ = Level::Tensor;
            entry_ = {};
            entry_.name = name_;
            seen_.clear();
        } else {
            return unexpected("an object");
        }
        return true;
    }
    bool key(string_t& text) override {
        if (level_ == Level::Tensor) {
            field_ = text;
            corrupt_unless(text == "dtype" || text == "shape" || text == "data_offsets", "tensor ",
                           shown_name(entry_.name), " has an unknown field ", shown_name(text));
            corrupt_unless(seen_.insert(text).second, "tensor ", shown_name(entry_.name), " has ",
                           text, " twice");
        } else {
            name_ = text;
        }
        return true;
    }
    bool end_object() override {
        if (level_ == Level::Tensor) {
            corrupt_unless(seen_.size() == 3, "tensor ", shown_name(entry_.name),
                           " must have dtype, shape and data_offsets");
            header.tensors.push_back(std::move(entry_));
            level_ = Level::Top;
        } else {
            level_ = level_ == Level::Metadata ? Level::Top : Level::Done;
        }
        return true;
    }
    bool start_array(size_t) override {
        if (level_ != Level::Tensor || field_ == "dtype") return unexpected("a list");
        level_ = Level::Numbers;
        numbers_.clear();
        return true;
    }
    bool end_array() override {
        level_ = Level::Tensor;
        if (field_ == "shape") {
            entry_.shape = numbers_;
            return true;
        }
        corrupt_unless(numbers_.size() == 2, "tensor ", shown_name(entry_.name),
                       ": data_offsets must be two numbers");
        entry_.begin = numbers_[0];
        entry_.end = numbers_[1];
        return true;
    }
    bool parse_error(size_t position, const std::string&,
                     const nlohmann::detail::exception&) override {
        throw_error(StatusCode::Corrupt, path_, ": the header is no valid JSON at its byte ",
                    position, "; get the file again");
    }

   private:
    enum class Level { Outside, Top, Metadata, Tensor, Numbers, Done };

    template <class... Parts>
    void corrupt_unless(bool holds, const Parts&... parts) const {
        check(holds, StatusCode::Corrupt, path_, ": ", parts..., "; get the file again");
    }
    bool unexpected(const char* what) const {
        throw_error(StatusCode::Corrupt, path_, ": the header has ", what, " where none may be, ",
                    "after the name ", shown_name(name_), "; get the file again");
    }

    const std::string& path_;
    Level level_ = Level::Outside;
    bool metadata_seen_ = false;
    std::string name_, field_;
    TensorEntry entry_;
    std::set<std::string> seen_;  // fields of the entry
    std::vector<uint64_t> numbers_;
};

// Each tensor has the bytes that its shape needs, and all together have every byte once.
void check_entries(std::vector<TensorEntry>& tensors, uint64_t data_bytes,
                   const std::string& path) {
    std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
        return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    uint64_t next = 0;
    for (TensorEntry& tensor : tensors) {
        const std::string name = shown_name(tensor.name);
        const std::optional<uint64_t> size = type_bytes(tensor.type);
        check(size.has_value(), StatusCode::Unsupported, path, ": tensor ", name, " is of type ",
              shown_name(tensor.type), ", which is not known; save it as F32, F16 or BF16");
        std::optional<uint64_t> elements = 1;
        for (const uint64_t side : tensor.shape)
            elements = elements ? checked_product(*elements, side) : std::nullopt;
        const std::optional<uint64_t> bytes =
            elements ? checked_product(*elements, *size) : std::nullopt;
        check(
            tensor.begin == next && tensor.end >= tensor.begin && tensor.end <= data_bytes,
            StatusCode::Corrupt, path, ": tensor ", name, " has bytes ", tensor.begin, " to ",
            tensor.end, " of ", data_bytes, ", must begin at ", next,
            ", where the one before it ends, and be inside; the file is truncated or damaged: get "
            "it again");
        check(bytes == tensor.end - tensor.begin, StatusCode::Corrupt, path, ": tensor ", name,
              " of shape ", shown_shape(tensor.shape), " and type ", tensor.type, " has ",
              tensor.end - tensor.begin, " bytes, which do not fit its shape; get the file again");
        tensor.elements = *elements;
        next = tensor.end;
    }
    check(next == data_bytes, StatusCode::Corrupt, path, ": ", data_bytes - next,
          " bytes after the last tensor belong to none; get the file again");
}

void check_names(const std::vector<TensorEntry>& tensors, const std::string& path) {
    std::set<std::string_view> names;
    for (const TensorEntry& tensor : tensors) {
        check(names.insert(tensor.name).second, StatusCode::Corrupt, path, ": tensor ",
              shown_name(tensor.name), " is there twice; get the file again");
    }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes,
                                           const std::string& path) {
    check(!json.empty() && json.front() == '{', StatusCode::Corrupt, path,
          ": is not a safetensors file, whose header begins with {; convert the weights to one");
    HeaderEvents events(path);
    nlohmann::json::sax_parse(json, &events);
    check_names(events.header.tensors, path);
    check_entries(events.header.tensors, data_bytes, path);
    return std::move(events.header);
}

std::string shown_name(std::string_view name) { return '"' + printable(name) + '"'; }

std::string shown_shape(const std::vector<uint64_t>& shape) {
    std::string shown = "[";
    for (const uint64_t side : shape)
        shown += (shown.size() > 1 ? ", " : "") + std::to_string(side);
    return shown + "]";
}

}  // namespace nearcell
