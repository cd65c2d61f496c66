// BitsCodec: 1 to 8 bits a dimension of a vector that was rotated at random, with factors that turn
// them into an unbiased estimate of a squared distance, and a bound on its error. One bit is RaBitQ
// (Gao, Long 2024), more are its extension (Gao et al. 2025): the grid of half-integers u is
// stretched over the vector x so that u points nearly where x does; then
//   scale = |x|^2 / <u, x>        so that scale u - x is perpendicular to x,
//   bias  = |x|^2 - scale^2 |u|^2 so that |q - scale u|^2 + bias = |q - x|^2 - 2 <q, scale u - x>,
//   error = a bound on 2 <q, x - scale u> / |q| that holds for 97 of 100 random rotations (that on
//           its magnitude, for 94), so that estimate - error |q| seldom exceeds the true distance.
// Of one bit the factors are bfloat16, the error rounded up; the bias is that of the rounded scale.
// Nothing to train. Cost: about 40 x dim operations a vector to encode, for 2 bits or more.
#pragma once

#include <nearcell/quantize/codec.h>

namespace nearcell {

class BitsCodec final : public Codec {
   public:
    BitsCodec(CodecOptions options, size_t dim) : Codec(options, dim) {}

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
