#include "layer_argument.h"

#include <cmath>
#include <string>
#include <string_view>

#include "arrays.h"

namespace nearcell::python {
namespace {

template <class T>
struct Word {
    const char* text;
    T value;
};

constexpr Word<LayerKind> kKinds[] = {
    {"convolution", LayerKind::Convolution}, {"linear", LayerKind::Linear},
    {"max_pool", LayerKind::MaxPool},        {"mean_pool", LayerKind::MeanPool},
    {"global_mean", LayerKind::GlobalMean},  {"add", LayerKind::Add},
    {"softmax", LayerKind::Softmax},
};
constexpr Word<Activation> kActivations[] = {{"none", Activation::None},
                                             {"relu", Activation::Relu},
                                             {"relu6", Activation::Relu6},
                                             {"silu", Activation::Silu}};
constexpr Word<Padding> kPaddings[] = {{"explicit", Padding::Explicit}, {"same", Padding::Same}};

void list(std::string& before, std::string_view word) {
    before.append(before.empty() ? "" : ", ").append(word);
}

std::string text_argument(nb::handle x, const std::string& what) {
    if (!nb::isinstance<nb::str>(x))
        type_error(what + " = " + nb::cast<std::string>(nb::repr(x)) + " must be a text");
    return nb::cast<std::string>(x);
}

template <class T, size_t count>
T word_argument(nb::handle x, const std::string& what, const Word<T> (&words)[count]) {
    const std::string text = text_argument(x, what);
    std::string known;
    for (const Word<T>& word : words) {
        if (text == word.text) return word.value;
        list(known, word.text);
    }
    value_error(what + " = '" + text + "' is not known: use one of " + known);
}

// Which kinds of layers have a key: bits of LayerKind.
constexpr unsigned bit(LayerKind kind) { return 1u << static_cast<unsigned>(kind); }
constexpr unsigned kEvery = ~0u, kWeighted = bit(LayerKind::Convolution) | bit(LayerKind::Linear),
                   kWindow = bit(LayerKind::Convolution) | bit(LayerKind::MaxPool) |
                             bit(LayerKind::MeanPool);

struct Key {
    const char* name;
    unsigned kinds;
    void (*set)(Layer& layer, nb::handle value, const std::string& what);
};

template <std::string Layer::*field>
void set_text(Layer& layer, nb::handle value, const std::string& what) {
    layer.*field = text_argument(value, what);
}
template <size_t Layer::*field, size_t least>
void set_number(Layer& layer, nb::handle value, const std::string& what) {
    layer.*field = whole_number(value, what.c_str(), least);
}

constexpr Key kKeys[] = {
    {"name", kEvery, set_text<&Layer::name>},
    {"kind", kEvery, [](Layer&, nb::handle, const std::string&) {}},  // read before the others
    {"input", kEvery, set_text<&Layer::input>},
    {"added", kWeighted | bit(LayerKind::Add), set_text<&Layer::added>},
    {"channels", kWeighted, set_number<&Layer::channels, 1>},
    {"kernel", kWindow, set_number<&Layer::kernel, 1>},
    {"stride", kWindow, set_number<&Layer::stride, 1>},
    {"groups", bit(LayerKind::Convolution), set_number<&Layer::groups, 1>},
    {"padding", kWindow,
     [](Layer& layer, nb::handle value, const std::string& what) {
         layer.padding = word_argument(value, what, kPaddings);
     }},
    {"pad", kWindow, set_number<&Layer::pad, 0>},
    {"activation", kEvery,
     [](Layer& layer, nb::handle value, const std::string& what) {
         layer.activation = word_argument(value, what, kActivations);
     }},
    {"weights", kWeighted, set_text<&Layer::weights>},
    {"batch_norm", kWeighted, set_text<&Layer::batch_norm>},
    {"epsilon", kWeighted,
     [](Layer& layer, nb::handle value, const std::string& what) {
         layer.epsilon = real_number(value, what.c_str());
         if (!(layer.epsilon >= 0 && std::isfinite(layer.epsilon)))
             value_error(what + " = " + std::to_string(layer.epsilon) +
                         " must be finite and at least 0");
     }},
};

void set_key(Layer& layer, const std::string& key, nb::handle value, const std::string& where,
             const std::string& kind) {
    std::string known, what = where;
    what.append("['").append(key).append("']");
    for (const Key& one : kKeys) {
        if ((one.kinds & bit(layer.kind)) == 0) continue;
        if (key == one.name) return one.set(layer, value, what);
        list(known, one.name);
    }
    value_error(where + " has the key '" + key + "', which a layer of kind " + kind +
                " does not know: use " + known);
}

Layer layer_argument(nb::handle description, const std::string& where) {
    if (PyMapping_Check(description.ptr()) == 0 || !nb::hasattr(description, "items"))
        type_error(where + " = " + nb::cast<std::string>(nb::repr(description)) +
                   " must be a dict of a layer's parts");
    Layer layer;
    const nb::dict parts = nb::steal<nb::dict>(PyDict_New());
    if (PyDict_Update(parts.ptr(), description.ptr()) != 0) nb::raise_python_error();
    for (const char* needed : {"name", "kind"}) {
        if (!parts.contains(needed))
            value_error(where + " has no '" + needed + "': every layer needs a name and a kind");
    }
    layer.kind = word_argument(parts["kind"], where + "['kind']", kKinds);
    const std::string kind = nb::cast<std::string>(parts["kind"]);
    for (const auto [key, value] : parts) {
        set_key(layer, text_argument(key, "a key of " + where), value, where, kind);
    }
    if (layer.padding == Padding::Same && layer.pad != 0)
        value_error(where + "['pad'] = " + std::to_string(layer.pad) +
                    " is for padding 'explicit': leave it out, as 'same' pads by itself");
    return layer;
}

}  // namespace

std::vector<Layer> layers_argument(nb::handle layers) {
    if (PySequence_Check(layers.ptr()) == 0)
        type_error("model = " + nb::cast<std::string>(nb::repr(layers)) +
                   " must be the name of a known model or a list of layers");
    std::vector<Layer> found;
    for (nb::handle one : layers) {
        found.push_back(layer_argument(one, "model[" + std::to_string(found.size()) + "]"));
    }
    return found;
}

MapShape input_shape_argument(nb::handle shape) {
    std::vector<size_t> sides;
    if (PySequence_Check(shape.ptr()) != 0 && !nb::isinstance<nb::str>(shape)) {
        for (nb::handle one : shape)
            sides.push_back(whole_number(one, "a side of input_shape", 1));
    }
    if (sides.size() != 3)
        value_error("input_shape = " + nb::cast<std::string>(nb::repr(shape)) +
                    " must be (height, width, channels) of the pictures");
    return {sides[0], sides[1], sides[2]};
}

}  // namespace nearcell::python
