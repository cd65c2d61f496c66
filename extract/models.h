// Models: the networks that are known by name, as lists of blocks, and how a block becomes layers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nearcell/extract/layer.h>
#include <nearcell/extract/preprocess.h>

namespace nearcell {

struct Model {
    std::string name;
    std::vector<Layer> layers;
    Preprocess preprocess;
    std::string tap;  // the layer whose output is the feature, unless another one is asked for
};

// "efficientnet-lite0", "resnet18", "resnet34", "resnet50" or "vgg16"; throws InvalidArgument for
// another name. Names of weights are those of torchvision's state_dict for ResNet and VGG16.
Model model_by_name(std::string_view name);
std::vector<std::string> model_names();

}  // namespace nearcell
