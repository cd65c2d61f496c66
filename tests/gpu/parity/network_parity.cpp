// Networks on a device against the same networks on the CPU, and the same bits every time.
#include <nearcell/extract/models.h>

#include <nearcell/core/random.h>
#include <nearcell/kernels/device.h>
#include "../../extract/network_case.h"
#include "../../storage/scratch_dir.h"
#include "parity_case.h"

namespace nearcell::parity {
namespace {

struct NetworkSize {
    std::vector<Layer> layers;
    MapShape input;
    size_t pictures;
};

Layer convolution(const char* name, size_t channels, size_t kernel, size_t stride, size_t groups) {
    Layer layer;
    layer.name = name;
    layer.channels = channels;
    layer.kernel = kernel;
    layer.stride = stride;
    layer.pad = kernel / 2;
    layer.groups = groups;
    layer.activation = Activation::Relu6;
    return layer;
}

// What of a known model the emulation can do, or all of it.
NetworkSize network_of(const std::string& model) {
    if (size().name == "tiny") {
        std::vector<Layer> layers = {convolution("a", 8, 3, 2, 1), convolution("b", 24, 1, 1, 1),
                                     convolution("c", 24, 3, 1, 24), convolution("d", 8, 1, 1, 1)};
        layers.back().added = "a";
        return {layers, {11, 9, 3}, 3};
    }
    const Model known = model_by_name(model);
    std::vector<Layer> layers = known.layers;
    while (layers.back().name != known.tap)
        layers.pop_back();
    return {layers, {known.preprocess.size.height, known.preprocess.size.width, 3}, 20};
}

class NetworkParity : public testing::TestWithParam<const char*> {};

TEST_P(NetworkParity, IsTheCpus) {
    const NetworkSize sized = network_of(GetParam());
    Random random(7);
    const PlainNetwork plain(sized.layers, sized.input, random);
    const ScratchDir dir;
    write_safetensors(dir.file("w.safetensors"), plain.tensors());
    Network network(plain.layers(), Weights::open(dir.file("w.safetensors")), sized.input,
                    plain.layers().back().name);
    const size_t values = sized.input.values(), dim = network.output_shape().values();
    std::vector<float> pictures(sized.pictures * values);
    for (float& value : pictures)
        value = static_cast<float>(random.normal());
    const auto features = [&] {
        std::vector<float> out(sized.pictures * dim);
        network.forward({pictures.data(), sized.pictures, values},
                        {out.data(), sized.pictures, dim}, 0);
        return out;
    };
    const std::vector<float> wanted = features();
    network.to("cuda:0");
    const std::vector<float> found = features();
    float most = 0;
    for (const float value : wanted)
        most = std::max(most, std::fabs(value));
    for (size_t i = 0; i < wanted.size(); ++i)
        ASSERT_NEAR(found[i], wanted[i], 1e-4f * most) << "picture " << i / dim;
    for (size_t i = 1; i < size().repetitions / 4; ++i)
        ASSERT_EQ(features(), found);
}

INSTANTIATE_TEST_SUITE_P(Models, NetworkParity,
                         testing::Values("efficientnet-lite0", "resnet18", "resnet50"));

}  // namespace
}  // namespace nearcell::parity
