// The known networks: how many layers of each kind, and the names of torchvision's weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include <nearcell/extract/models.h>

#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

size_t count(const Model& model, LayerKind kind) {
    return static_cast<size_t>(std::count_if(model.layers.begin(), model.layers.end(),
                                             [&](const Layer& l) { return l.kind == kind; }));
}

const Layer& layer(const Model& model, const std::string& name) {
    for (const Layer& one : model.layers)
        if (one.name == name) return one;
    throw std::runtime_error(name + " is no layer of " + model.name);
}

TEST(Models, HaveTheLayersOfTheirPapers) {
    struct Facts {
        const char* name;
        size_t convolutions, linear;
    };
    // ResNet-50: 49 in its blocks and the first, 4 shortcuts; the others 3.
    for (const Facts& facts :
         {Facts{"efficientnet-lite0", 49, 0}, Facts{"resnet18", 20, 1}, Facts{"resnet34", 36, 1},
          Facts{"resnet50", 53, 1}, Facts{"vgg16", 13, 3}}) {
        const Model model = model_by_name(facts.name);
        EXPECT_EQ(count(model, LayerKind::Convolution), facts.convolutions) << facts.name;
        EXPECT_EQ(count(model, LayerKind::Linear), facts.linear) << facts.name;
        std::set<std::string> names;
        for (const Layer& one : model.layers)
            EXPECT_TRUE(names.insert(one.name).second) << facts.name << " " << one.name;
        EXPECT_TRUE(names.contains(model.tap)) << facts.name;
    }
    EXPECT_EQ(model_names().size(), 5u);
}

TEST(Models, NameTheirWeightsAsTorchvision) {
    const Model resnet = model_by_name("resnet50");
    const Layer& second = layer(resnet, "layer2.0.conv2");
    EXPECT_EQ(second.stride, 2u);
    EXPECT_EQ(second.batch_norm, "layer2.0.bn2");
    EXPECT_EQ(layer(resnet, "layer2.0.downsample.0").batch_norm, "layer2.0.downsample.1");
    EXPECT_EQ(layer(resnet, "layer2.0.conv3").added, "layer2.0.downsample.0");
    EXPECT_EQ(layer(resnet, "layer2.1.conv3").added, "layer2.0.conv3");
    EXPECT_EQ(layer(resnet, "fc").channels, 1000u);
    const Model vgg = model_by_name("vgg16");
    for (const char* name : {"features.0", "features.2", "features.5", "features.28",
                             "classifier.0", "classifier.3", "classifier.6"})
        EXPECT_NO_THROW(layer(vgg, name));
    EXPECT_EQ(layer(vgg, "classifier.6").activation, Activation::None);
    const Error error = error_of([] { model_by_name("alexnet"); });
    EXPECT_EQ(error.code(), StatusCode::InvalidArgument);
    EXPECT_NE(std::string(error.what()).find("efficientnet-lite0"), std::string::npos);
}

}  // namespace
}  // namespace nearcell
