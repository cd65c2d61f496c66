// FloatCodec: vectors kept as float32, float16 or bfloat16. Nothing to train. Halves round to
// nearest; a value too large for a half is refused, not turned into infinity.
#pragma once

#include <nearcell/quantize/codec.h>

namespace nearcell {

class FloatCodec final : public Codec {
   public:
    FloatCodec(CodecOptions options, size_t dim) : Codec(options, dim) {}

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
