// ScaledInt8Codec: one signed byte a dimension and one scale a vector, x_j = scale c_j. Nothing to
// train; made for residuals, whose lengths differ more than their dimensions do. The scale keeps 16
// significant bits so that decoded values are exact products, and encoding them gives the same
// code.
#pragma once

#include <nearcell/quantize/codec.h>

namespace nearcell {

class ScaledInt8Codec final : public Codec {
   public:
    ScaledInt8Codec(CodecOptions options, size_t dim) : Codec(options, dim) {}

    void train(MatrixView<const float> x, const CodecTraining& training,
               const Backend& backend) override;
    bool is_trained() const override { return true; }
    CodeView view() const override;
    std::vector<float> parameters() const override { return {}; }
    void set_parameters(std::span<const float> parameters) override;

   private:
    void encode_on_host(MatrixView<const float> x, uint32_t* codes, int threads,
                        const Backend& backend) const override;
};

}  // namespace nearcell
