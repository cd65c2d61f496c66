// Codec: turns vectors into compact codes and back. What the codes look like is CodeView's table
// (kernels/code_view.h); scanning them is the backend's work. A codec is its options plus one flat
// array of trained parameters, which is all that a file keeps of it. After train() a codec is
// immutable and may be shared by threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/core/error.h>
#include <nearcell/core/matrix_view.h>
#include <nearcell/core/metric.h>
#include <nearcell/core/progress.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/kernels/code_view.h>

namespace nearcell {

struct CodecOptions {
    CodeKind kind = CodeKind::Float32;
    size_t subquantizers = 0;  // Product8, Product4: any number in [1, dim]
    size_t bits = 1;           // Bits: 1 to 8
    bool factors = false;      // RangeInt8: with room for what scans by integers need
};

struct CodecTraining {
    uint64_t seed = 1234;
    int threads = 0;
    size_t iterations = 25;  // Lloyd iterations of product codebooks
    Progress progress = {};
};

// x[row, column] is a value that the code cannot hold; `rest` is the message behind the row.
class UnfitValue : public Error {
   public:
    UnfitValue(size_t row, std::string rest, std::string name = "x")
        : Error(StatusCode::InvalidArgument, name + "[" + std::to_string(row) + rest),
          row_(row),
          rest_(std::move(rest)),
          name_(std::move(name)) {}
    // For callers who know the rows otherwise: these were their rows from `first` on.
    UnfitValue of_rows_from(size_t first, const std::string& name) const {
        return {first + row_, rest_, name};
    }
    UnfitValue of_rows_from(size_t first) const { return of_rows_from(first, name_); }

   private:
    size_t row_;
    std::string rest_, name_;
};

class Codec {
   public:
    virtual ~Codec() = default;
    const CodecOptions& options() const { return options_; }
    size_t dim() const { return dim_; }
    size_t code_words() const { return view().words; }
    size_t code_size() const { return code_words() * 4; }  // bytes a vector

    // Learns parameters from x (rows x dim). Codecs without parameters accept any x.
    virtual void train(MatrixView<const float> x, const CodecTraining& training,
                       const Backend& backend) = 0;
    virtual bool is_trained() const = 0;
    // Writes rows(x) codes of code_words() words each, row after row: by the backend where it does
    // that, else by this thread and others; the bytes are the same.
    void encode(MatrixView<const float> x, uint32_t* codes, int threads,
                const Backend& backend) const;
    // The same of x[i] - centroids[labels[i]], where the backend does that. False: it does not, and
    // the codes are to be written by encode().
    bool encode_residuals(MatrixView<const float> x, const uint32_t* labels,
                          MatrixView<const float> centroids, uint32_t* codes, int threads,
                          const Backend& backend) const;
    // Vectors from codes; encode(decode(c)) == c (Bits: the bits, not the three factors).
    void decode(const uint32_t* codes, MatrixView<float> out, const Backend& backend) const;

    virtual CodeView view() const = 0;
    virtual std::vector<float> parameters() const = 0;
    // Restores a trained codec; throws Corrupt when the count or a value is impossible.
    virtual void set_parameters(std::span<const float> parameters) = 0;

   protected:
    Codec(CodecOptions options, size_t dim) : options_(options), dim_(dim) {}
    // encode() where the backend leaves it to the codec. Refuses values that the code cannot hold
    // by UnfitValue.
    virtual void encode_on_host(MatrixView<const float> x, uint32_t* codes, int threads,
                                const Backend& backend) const = 0;
    CodecOptions options_;
    size_t dim_;
};

// Throws InvalidArgument for options that name no codec for this dimension.
std::unique_ptr<Codec> make_codec(const CodecOptions& options, size_t dim);

}  // namespace nearcell
