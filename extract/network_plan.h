// What a Network knows of its layers before any picture comes: shapes, borders, packed weights, and
// which memory each layer's output takes. Internal.
#pragma once

#include <vector>

#include <nearcell/core/aligned_buffer.h>
#include <nearcell/extract/network.h>
#include <nearcell/kernels/backend.h>
#include <nearcell/kernels/convolution.h>
#include <nearcell/kernels/device_network.h>

namespace nearcell {

struct Border {
    size_t top = 0, left = 0, bottom = 0, right = 0;
    bool empty() const { return top + left + bottom + right == 0; }
    void include(const Border& other);
};

// A map with room for a border, in memory that is used for others before and after.
struct MapPlace {
    MapShape shape;
    Border border;
    size_t slot = 0;

    size_t row_stride() const {
        return (border.left + shape.width + border.right) * shape.channels;
    }
    // Sixteen channels may be read from any one on.
    size_t floats() const {
        return (border.top + shape.height + border.bottom) * row_stride() + kBlock;
    }
    MapView view(float* memory) const;
    void clear_border(float* memory) const;
};

// A convolution's weights as kernels want them, one part for each group (depthwise: one for all).
struct PackedConvolution {
    bool depthwise = false;
    size_t groups = 1;
    std::vector<uint32_t> offsets;
    size_t length = 0;
    size_t group_channels = 0;  // of the output
    std::vector<AlignedBuffer<float>> weights, bias;
    float low = 0, high = 0;

    ConvView view(size_t group) const;
};

struct PlannedLayer {
    Layer layer;
    size_t input = 0, added = 0;  // maps; added: 0 is none, as nothing adds the picture
    size_t kernel_height = 1, kernel_width = 1, pad_top = 0, pad_left = 0;  // of windows
    PackedConvolution convolution;
    uint64_t multiply_adds = 0;
};

struct Network::Plan {
    Plan(const std::vector<Layer>& layers, const Weights& weights, MapShape input,
         std::string_view tap);

    // The same for a device. Pointers are to this plan's weights.
    NetworkSteps steps() const;

    std::vector<PlannedLayer> layers;  // layer i gives map i + 1
    std::vector<MapPlace> maps;        // the picture, then each layer's output
    std::vector<size_t> slot_floats;

   private:
    void choose_layers(const std::vector<Layer>& all, std::string_view tap);
    void infer_shapes(MapShape input);
    void place_maps();
    void pack_weights(const Weights& weights);
};

// The weights of one convolution, batch norm included. in: the map that is read.
PackedConvolution pack_convolution(const PlannedLayer& planned, const MapPlace& in,
                                   size_t out_channels, const Weights& weights);

}  // namespace nearcell
