// RangeInt8Codec: one byte a dimension, over the range that the dimension had in training: the
// cells of 255 equal steps, decoded to their middles. What Faiss calls SQ8. A dimension whose
// training values are all integers, at most 255 apart, is coded exactly instead. Values outside the
// range go to its ends. Cost: one pass over the training rows; encoding is bound by one division a
// value.
#pragma once

#include <nearcell/quantize/codec.h>

namespace nearcell {

class RangeInt8Codec final : public Codec {
   public:
    RangeInt8Codec(CodecOptions options, size_t dim) : Codec(options, dim) {}

    void train(MatrixView<const float> x, const CodecTraining& training,
               const Backend& backend) override;
    bool is_trained() const override { return !offset_.empty(); }
    CodeView view() const override;
    std::vector<float> parameters() const override;  // offsets, then steps
    void set_parameters(std::span<const float> parameters) override;

   private:
    void encode_on_host(MatrixView<const float> x, uint32_t* codes, int threads,
                        const Backend& backend) const override;
    void use(std::vector<float> offset, std::vector<float> step);

    std::vector<float> offset_;
    std::vector<float> step_;
    std::vector<float> divisor_;  // the step; infinity where it is 0, so that the code is 0
};

}  // namespace nearcell
