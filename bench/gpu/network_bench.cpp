#include <nearcell/extract/models.h>
#include "device_bench.h"
#include "extract/network_case.h"
#include "storage/scratch_dir.h"

namespace nearcell::bench {
namespace {

struct NamedNetwork {
    std::string name;
    std::vector<Layer> layers;
    MapShape input;
};

NamedNetwork network_of(const Size& size) {
    if (size.name != "tiny") {
        const Model model = model_by_name("resnet50");
        return {model.name,
                model.layers,
                {model.preprocess.size.height, model.preprocess.size.width, kImageChannels}};
    }
    std::vector<Layer> layers(2);  // what an emulation can bear
    layers[0].name = "convolution";
    layers[0].channels = 8;
    layers[0].kernel = 3;
    layers[0].activation = Activation::Relu;
    layers[1].name = "mean";
    layers[1].kind = LayerKind::GlobalMean;
    return {"a convolution", layers, {12, 12, kImageChannels}};
}

Network with_random_weights(const NamedNetwork& named) {
    Random random(1);
    const ScratchDir folder;
    const std::string path = folder.file("random.safetensors");
    write_safetensors(path, PlainNetwork(named.layers, named.input, random).tensors());
    return {named.layers, Weights::open(path), named.input, named.layers.back().name};
}

}  // namespace

void bench_network(const Setting& setting) {
    const NamedNetwork named = network_of(setting.size);
    Network network = with_random_weights(named);
    const size_t count = setting.size.pictures, few = std::min(count, kFewPictures);
    std::vector<float> planes(count * named.input.values());
    Random random(2);
    for (float& value : planes)
        value = static_cast<float>(random.uniform());
    std::vector<float> features(count * network.output_shape().values());
    const auto seconds = [&](size_t pictures, int threads) {
        const MatrixView<const float> in(planes.data(), pictures, named.input.values());
        const MatrixView<float> out(features.data(), pictures, network.output_shape().values());
        return repeat(setting.size.repetitions, setting.size.seconds,
                      [&](size_t) { network.forward(in, out, threads); })
            .median;
    };
    const double core = static_cast<double>(few) / seconds(few, 1);
    network.to("cuda:0");
    const double there = static_cast<double>(count) / seconds(count, 0);
    const auto flops = 2 * static_cast<double>(network.multiply_adds());
    setting.report.write(Line("extract")
                             .add("network", named.name)
                             .add("pictures", static_cast<double>(count))
                             .add("batch_pictures", static_cast<double>(network.batch_pictures()))
                             .add("pictures_per_second", there)
                             .add("TFLOPs", there * flops * 1e-12)
                             .add("of_one_core_per_second", core)
                             .add("times_one_core", there / core));
}

}  // namespace nearcell::bench
