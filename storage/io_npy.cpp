// npy: magic, version, header length, then a Python dict with descr, fortran_order and shape,
// padded so that the values start at a multiple of 64. Only that dict is parsed, never evaluated.
#include <array>
#include <cctype>
#include <cstring>
#include <vector>

#include <nearcell/core/printable.h>
#include <nearcell/storage/checked_size.h>
#include <nearcell/storage/row_file.h>

namespace nearcell {
namespace {

constexpr char kNpyMagic[] = "\x93NUMPY";
constexpr size_t kNpyMagicBytes = 6;
constexpr uint64_t kLongestNpyHeader = 65536;  // a header of two dimensions has 128 bytes

struct NpyType {
    std::string_view descr;
    FileElement element;
};
constexpr NpyType kNpyTypes[] = {
    {"<f4", FileElement::Float32}, {"<f2", FileElement::Float16}, {"|i1", FileElement::Int8},
    {"|u1", FileElement::UInt8},   {"<f8", FileElement::Float64}, {"<i4", FileElement::Int32},
    {"<i8", FileElement::Int64},
};

// The header's dict, in the little of Python's syntax that numpy writes.
class NpyDict {
   public:
    NpyDict(std::string_view text, const std::string& path) : text_(text), path_(path) { parse(); }

    std::string descr;
    bool fortran_order = false;
    std::vector<uint64_t> shape;

   private:
    void parse() {
        bool has_descr = false, has_order = false, has_shape = false;
        expect('{');
        while (!accept('}')) {
            const std::string key = quoted();
            expect(':');
            if (key == "descr" && !has_descr) {
                check(peek() != '[', StatusCode::Unsupported, path_,
                      ": has a structured element type; save one plain array of numbers");
                descr = quoted();
                has_descr = true;
            } else if (key == "fortran_order" && !has_order) {
                fortran_order = boolean();
                has_order = true;
            } else if (key == "shape" && !has_shape) {
                shape = integers();
                has_shape = true;
            } else {
                fail("a key that is unknown or there twice");
            }
            if (!accept(',')) {
                expect('}');
                break;
            }
        }
        if (peek() != '\0') fail("text after the dict");
        if (!has_descr || !has_order || !has_shape) fail("no descr, fortran_order or shape");
    }

    [[noreturn]] void fail(const char* what) const {
        throw_error(StatusCode::Corrupt, path_, ": its npy header has ", what, " at character ",
                    at_, "; it is damaged");
    }
    // The next character that is no white space; zero at the end.
    char peek() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n'))
            ++at_;
        return at_ < text_.size() ? text_[at_] : '\0';
    }
    bool accept(char c) {
        if (peek() != c) return false;
        ++at_;
        return true;
    }
    void expect(char c) {
        if (!accept(c)) fail("another character than the format has");
    }
    std::string quoted() {
        const char quote = peek();
        if (quote != '\'' && quote != '"') fail("no quoted text");
        const size_t end = text_.find(quote, ++at_);
        if (end == std::string_view::npos) fail("a text without end");
        const std::string result(text_.substr(at_, end - at_));
        at_ = end + 1;
        return result;
    }
    bool boolean() {
        for (const std::string_view word : {"True", "False"}) {
            if (peek() == word[0] && text_.substr(at_, word.size()) == word) {
                at_ += word.size();
                return word == "True";
            }
        }
        fail("no True or False");
    }
    uint64_t integer() {
        if (std::isdigit(static_cast<unsigned char>(peek())) == 0) fail("no integer");
        uint64_t value = 0;
        while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0) {
            const auto tens = checked_product(value, 10);
            const auto next =
                tens ? checked_sum(*tens, static_cast<uint64_t>(text_[at_] - '0')) : std::nullopt;
            if (!next) fail("an integer of more than 64 bits");
            value = *next;
            ++at_;
        }
        return value;
    }
    std::vector<uint64_t> integers() {
        std::vector<uint64_t> result;
        expect('(');
        while (!accept(')')) {
            result.push_back(integer());
            if (!accept(',')) {
                expect(')');
                break;
            }
        }
        return result;
    }

    std::string_view text_;
    const std::string& path_;
    size_t at_ = 0;
};

FileElement npy_element(const std::string& descr, const std::string& path) {
    for (const NpyType& type : kNpyTypes) {
        if (type.descr == descr) return type.element;
    }
    check(descr.empty() || descr[0] != '>', StatusCode::Unsupported, path, ": is big endian ('",
          printable(descr), "'); save x.astype(x.dtype.newbyteorder('<'))");
    throw_error(StatusCode::Unsupported, path, ": element type '", printable(descr),
                "' is not one of f4 f2 i1 u1 i4 i8 f8; convert it, as by x.astype('float32')");
}

// The dict as text, and where the values start.
std::string npy_dict(const InputFile& file, uint64_t& data_offset) {
    std::array<uint8_t, 12> start{};
    file.read_at(0, start.data(), 10, "the npy header");
    check(std::memcmp(start.data(), kNpyMagic, kNpyMagicBytes) == 0, StatusCode::Corrupt,
          file.path(), ": does not start as an npy file does; it is of another format or damaged");
    const unsigned version = start[6];
    check(version >= 1 && version <= 3 && start[7] == 0, StatusCode::Unsupported, file.path(),
          ": is npy version ", version, ".", unsigned{start[7]}, ", and 1.0 to 3.0 are known");
    uint64_t length = start[8] + 256u * start[9];
    data_offset = 10;
    if (version > 1) {
        data_offset = 12;
        file.read_at(0, start.data(), 12, "the npy header");
        uint32_t wide = 0;
        std::memcpy(&wide, start.data() + 8, sizeof wide);
        length = wide;
    }
    check(length <= kLongestNpyHeader, StatusCode::Corrupt, file.path(), ": its npy header has ",
          length, " bytes, and ", kLongestNpyHeader, " is the limit");
    std::string dict(length, '\0');
    file.read_at(data_offset, dict.data(), length, "the npy header");
    data_offset += length;
    return dict;
}

}  // namespace

RowFile parse_npy(const InputFile& file) {
    RowFile rows;
    rows.format = VectorFormat::Npy;
    const std::string text = npy_dict(file, rows.data_offset);
    const NpyDict dict(text, file.path());
    rows.element = npy_element(dict.descr, file.path());
    check(!dict.fortran_order, StatusCode::Unsupported, file.path(),
          ": is in Fortran order, column after column; save numpy.ascontiguousarray(x)");
    check(dict.shape.size() == 1 || dict.shape.size() == 2, StatusCode::Unsupported, file.path(),
          ": has ", dict.shape.size(),
          " dimensions; save rows x columns, as by x.reshape(len(x), -1)");
    rows.rows = dict.shape[0];
    rows.one_dimensional = dict.shape.size() == 1;
    rows.cols = rows.one_dimensional ? 1 : dict.shape[1];
    const uint64_t bytes = checked_row_bytes(rows, file.path());
    const uint64_t found = file.bytes() - rows.data_offset;
    check(found == bytes, StatusCode::Corrupt, file.path(), ": has ", found,
          " bytes after its header, but ", rows.rows, " x ", rows.cols, " ",
          file_element_name(rows.element), " values take ", bytes,
          ": it is truncated or holds more than one array");
    return rows;
}

RowHeader npy_header(FileElement element, uint64_t rows, uint64_t cols) {
    std::string_view descr;
    for (const NpyType& type : kNpyTypes) {
        if (type.element == element) descr = type.descr;
    }
    check(!descr.empty(), StatusCode::InvalidArgument, "npy cannot hold ",
          file_element_name(element), " values; convert them to float32 or float16, or write raw");
    std::string dict = "{'descr': '" + std::string(descr) +
                       "', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
                       std::to_string(cols) + "), }";
    constexpr size_t kStart = 10, kAlignment = 64;
    const size_t used = kStart + dict.size() + 1;
    dict.append((kAlignment - used % kAlignment) % kAlignment, ' ');
    dict += '\n';
    std::string header(kNpyMagic, kNpyMagicBytes);
    header +=
        {'\1', '\0', static_cast<char>(dict.size() % 256), static_cast<char>(dict.size() / 256)};
    return {header + dict, ""};
}

}  // namespace nearcell
