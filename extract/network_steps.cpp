// A plan as devices take it.
#include <nearcell/extract/network_plan.h>

namespace nearcell {
namespace {

StepKind kind_of(const PlannedLayer& planned) {
    switch (planned.layer.kind) {
        case LayerKind::Convolution:
        case LayerKind::Linear:
            return planned.convolution.depthwise ? StepKind::Depthwise : StepKind::Convolution;
        case LayerKind::MaxPool: return StepKind::MaxPool;
        case LayerKind::MeanPool:
        case LayerKind::GlobalMean: return StepKind::MeanPool;
        case LayerKind::Add: return StepKind::Add;
        case LayerKind::Softmax: return StepKind::Softmax;
    }
    return StepKind::Add;
}

NetworkStep step_of(const PlannedLayer& planned) {
    NetworkStep step;
    step.kind = kind_of(planned);
    step.input = planned.input;
    step.added = planned.added;
    step.kernel_height = planned.kernel_height;
    step.kernel_width = planned.kernel_width;
    step.stride = planned.layer.stride;
    step.pad_top = planned.pad_top;
    step.pad_left = planned.pad_left;
    for (size_t group = 0; group < planned.convolution.weights.size(); ++group)
        step.groups.push_back(planned.convolution.view(group));
    const Activation activation = planned.layer.activation;
    if (activation == Activation::Relu || activation == Activation::Relu6) step.low = 0;
    if (activation == Activation::Relu6) step.high = 6;
    step.silu = activation == Activation::Silu;
    return step;
}

}  // namespace

NetworkSteps Network::Plan::steps() const {
    NetworkSteps steps;
    for (const MapPlace& map : maps)
        steps.maps.push_back({map.shape.height, map.shape.width, map.shape.channels, map.slot});
    for (const PlannedLayer& planned : layers)
        steps.steps.push_back(step_of(planned));
    return steps;
}

}  // namespace nearcell
