#include <nearcell/quantize/codec.h>

#include <nearcell/core/error.h>
#include <nearcell/quantize/bits_codec.h>
#include <nearcell/quantize/float_codec.h>
#include <nearcell/quantize/product_codec.h>
#include <nearcell/quantize/range_int8_codec.h>
#include <nearcell/quantize/scaled_int8_codec.h>

namespace nearcell {

void Codec::encode(MatrixView<const float> x, uint32_t* codes, int threads,
                   const Backend& backend) const {
    if (backend.encode_rows({view(), x, nullptr, {}, codes, threads})) return;
    encode_on_host(x, codes, threads, backend);
}

bool Codec::encode_residuals(MatrixView<const float> x, const uint32_t* labels,
                             MatrixView<const float> centroids, uint32_t* codes, int threads,
                             const Backend& backend) const {
    return backend.encode_rows({view(), x, labels, centroids, codes, threads});
}

void Codec::decode(const uint32_t* codes, MatrixView<float> out, const Backend& backend) const {
    backend.decode_rows(view(), codes, out.rows, out);
}

std::unique_ptr<Codec> make_codec(const CodecOptions& options, size_t dim) {
    check(dim >= 1 && dim <= UINT32_MAX, StatusCode::InvalidArgument, "dim = ", dim,
          ", but a codec needs a dimension of 1 to 4294967295");
    switch (options.kind) {
        case CodeKind::Float32:
        case CodeKind::Float16:
        case CodeKind::BFloat16: return std::make_unique<FloatCodec>(options, dim);
        case CodeKind::RangeInt8: return std::make_unique<RangeInt8Codec>(options, dim);
        case CodeKind::ScaledInt8: return std::make_unique<ScaledInt8Codec>(options, dim);
        case CodeKind::Product8:
        case CodeKind::Product4:
            check(options.subquantizers >= 1 && options.subquantizers <= dim,
                  StatusCode::InvalidArgument, "subquantizers = ", options.subquantizers,
                  ", but it must be 1 to the dimension, ", dim);
            return std::make_unique<ProductCodec>(options, dim);
        case CodeKind::Bits:
            check(options.bits >= 1 && options.bits <= 8, StatusCode::InvalidArgument,
                  "bits = ", options.bits, ", but a binary code has 1 to 8 bits a dimension");
            return std::make_unique<BitsCodec>(options, dim);
    }
    throw_error(StatusCode::InvalidArgument, "code kind ", static_cast<uint32_t>(options.kind),
                " is not one of 0 to 7");
}

}  // namespace nearcell
