// ProductCodec: product quantization (Jegou, Douze, Schmid 2011): the dimensions are cut into
// subspaces, each with a codebook of 256 (8 bits) or 16 (4 bits) centroids found by k-means, and a
// vector is the numbers of its nearest ones. Any number of subspaces: where it does not divide the
// dimension, the first ones are one dimension wider. Cost: iterations x 65,536 x 256 x dim
// multiply-adds to train (8 bits), 256 x dim a vector to encode.
#pragma once

#include <nearcell/quantize/codec.h>

namespace nearcell {

class ProductCodec final : public Codec {
   public:
    ProductCodec(CodecOptions options, size_t dim);

    // Throws InvalidArgument for fewer rows than a codebook has centroids.
    void train(MatrixView<const float> x, const CodecTraining& training,
               const Backend& backend) override;
    bool is_trained() const override { return !codebooks_.empty(); }
    CodeView view() const override;
    std::vector<float> parameters() const override { return codebooks_; }
    void set_parameters(std::span<const float> parameters) override;

   private:
    void encode_on_host(MatrixView<const float> x, uint32_t* codes, int threads,
                        const Backend& backend) const override;
    size_t centroids() const { return options_.kind == CodeKind::Product8 ? 256 : 16; }
    size_t width(size_t m) const { return sub_begin_[m + 1] - sub_begin_[m]; }
    // Writes codebook m of `codebooks`; an empty sample is all rows.
    void train_codebook(size_t m, MatrixView<const float> x, const std::vector<size_t>& sample,
                        const CodecTraining& training, const Backend& backend,
                        float* codebooks) const;
    void encode_rows(MatrixView<const float> x, uint32_t* codes, const Backend& backend) const;

    std::vector<uint32_t> sub_begin_;  // first dimension of each subspace, and the dimension
    std::vector<float> codebooks_;     // of all subspaces, as CodeView has them
};

}  // namespace nearcell
