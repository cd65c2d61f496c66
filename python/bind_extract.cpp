// nearcell.Network and nearcell.extract.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nearcell/extract/extractor.h>
#include <nearcell/extract/known_weights.h>
#include <nearcell/extract/picture_list.h>
#include <nearcell/kernels/device.h>

#include "arrays.h"
#include "bindings.h"
#include "calls.h"
#include "layer_argument.h"

namespace nearcell::python {
namespace {

// A file that is not there is a FileNotFoundError, a tensor or layer that is not a KeyError.
template <class Open>
auto opened(Open&& open) {
    try {
        return open();
    } catch (const Error& error) {
        throw_file_error(error);
    }
}

Weights weights_argument(const std::string& model, nb::handle weights) {
    std::optional<std::string> file;
    if (!weights.is_none()) file = path_argument(weights);
    Call call;
    return opened([&] { return call.run([&] { return open_weights(model, file); }); });
}

std::string tap_argument(nb::handle tap, const std::string& otherwise) {
    return tap.is_none() ? otherwise : nb::cast<std::string>(tap);
}

// What Python's Network is: a network, and what repr() calls it.
struct NamedNetwork {
    std::string name;
    Network network;

    size_t dim() const { return network.output_shape().values(); }
};

NamedNetwork listed_network(nb::handle model, nb::handle weights, nb::handle tap,
                            nb::handle input_shape) {
    const std::vector<Layer> layers = layers_argument(model);
    if (layers.empty()) value_error("model = [] must have at least one layer");
    if (weights.is_none())
        value_error("weights = None is for known models: name the file for this list of layers");
    if (input_shape.is_none())
        value_error(
            "input_shape = None is for known models: a list of layers needs (height, "
            "width, channels) of its pictures");
    const MapShape input = input_shape_argument(input_shape);
    const Weights tensors = weights_argument({}, weights);
    const std::string last = tap_argument(tap, layers.back().name);
    Call call;
    return {std::to_string(layers.size()) + " layers",
            call.run([&] { return Network(layers, tensors, input, last); })};
}

NamedNetwork make_network(nb::handle model, nb::handle weights, nb::handle tap,
                          nb::handle input_shape) {
    if (!nb::isinstance<nb::str>(model)) return listed_network(model, weights, tap, input_shape);
    if (!input_shape.is_none())
        value_error("input_shape = " + nb::cast<std::string>(nb::repr(input_shape)) +
                    " is for lists of layers: a known model has its own");
    const Model known = model_by_name(nb::cast<std::string>(model));
    const Weights tensors = weights_argument(known.name, weights);
    const MapShape input{known.preprocess.size.height, known.preprocess.size.width, kImageChannels};
    const std::string last = tap_argument(tap, known.tap);
    Call call;
    return {"'" + known.name + "'",
            call.run([&] { return Network(known.layers, tensors, input, last); })};
}

NamedNetwork& move_to(NamedNetwork& self, const std::string& device, nb::handle memory_bytes) {
    DeviceOptions options;
    options.memory_bytes = whole_number(memory_bytes, "memory_bytes", 0);
    Call call;
    call.run([&] { self.network.to(device, options); });
    return self;
}

nb::tuple shape_tuple(MapShape shape) {
    return nb::make_tuple(shape.height, shape.width, shape.channels);
}

nb::object forward(const NamedNetwork& self, nb::handle planes, nb::handle threads,
                   nb::handle progress) {
    const FloatRows rows(planes, "planes");
    const int count = thread_count(threads);
    std::vector<float> features(rows.view().rows * self.dim());
    Call call(progress);
    call.run([&] {
        check_finite(rows.view(), "planes", count);
        self.network.forward(rows.view(), {features.data(), rows.view().rows, self.dim()}, count,
                             call.progress());
    });
    return numpy_array(std::move(features), {rows.view().rows, self.dim()});
}

// Names of files are bytes, which os.fsencode gives back.
nb::object file_text(const std::string& text) {
    PyObject* const decoded =
        PyUnicode_DecodeFSDefaultAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
    if (decoded == nullptr) nb::raise_python_error();
    return nb::steal(decoded);
}

std::vector<std::string> pictures_argument(nb::handle pictures) {
    if (nb::isinstance<nb::str>(pictures) || nb::hasattr(pictures, "__fspath__"))
        return opened([&] { return list_pictures(path_argument(pictures)); });
    std::vector<std::string> paths;
    for (nb::handle one : pictures)
        paths.push_back(path_argument(one));
    return paths;
}

nb::tuple extract(nb::handle pictures, const std::string& model, nb::handle weights, nb::handle tap,
                  bool normalize, bool strict, nb::handle denoise, nb::handle sigma,
                  nb::handle threads, nb::handle progress, const std::string& device) {
    Call().run([&] { find_device(device); });  // before any work
    const std::vector<std::string> paths = pictures_argument(pictures);
    Model known = model_by_name(model);
    std::optional<double> blur;
    if (!sigma.is_none()) blur = real_number(sigma, "sigma");
    set_denoise(known.preprocess, denoise.is_none() ? "none" : nb::cast<std::string>(denoise),
                blur);
    const Weights tensors = weights_argument(known.name, weights);
    const std::string last = tap_argument(tap, known.tap);
    Call call(progress);
    const Extractor extractor = call.run([&] {
        Extractor made(known, tensors, last);
        made.to(device);
        return made;
    });
    ExtractOptions options;
    options.normalize = normalize;
    options.strict = strict;
    options.threads = thread_count(threads);
    options.progress = call.progress();
    std::vector<float> features;
    std::vector<size_t> found;
    const auto keep = [&](std::span<const size_t> numbers, MatrixView<const float> rows) {
        features.insert(features.end(), rows.data, rows.data + rows.rows * rows.cols);
        found.insert(found.end(), numbers.begin(), numbers.end());
    };
    const std::vector<SkippedPicture> skipped =
        opened([&] { return call.run([&] { return extractor.extract(paths, options, keep); }); });
    nb::list names, reasons;
    for (const size_t number : found)
        names.append(file_text(paths[number]));
    for (const SkippedPicture& one : skipped)
        reasons.append(file_text(one.reason));
    return nb::make_tuple(numpy_array(std::move(features), {found.size(), extractor.dim()}), names,
                          reasons);
}

constexpr const char* kNetworkText =
    "model: a known one, or a list of layers in the order of work.\n\n"
    "weights: a safetensors file; for ResNet and VGG with torchvision's names. None:\n"
    "MODEL.safetensors in the folder $NEARCELL_WEIGHTS, or else in nearcell/ of the user's\n"
    "cache; of efficientnet-lite0 its SHA-256 is checked, and `python -m nearcell.weights`\n"
    "makes it. tap: a layer, by its name; None: that before the classifier, of a list the last.\n\n"
    "Each layer of a list is a dict. All have `name` and `kind`, and may have `input` (a layer\n"
    "before it, or \"input\", the picture; else the layer before it) and `activation` (\"none\",\n"
    "\"relu\", \"relu6\", \"silu\"). Further keys by kind:\n\n"
    "- convolution: channels, kernel, stride, groups, padding (\"explicit\", or \"same\" as\n"
    "  TensorFlow's), pad (pixels on each side), added (a layer that is added before the\n"
    "  activation), weights (tensors weights.weight and weights.bias; else the layer's name),\n"
    "  batch_norm (tensors .weight, .bias, .running_mean, .running_var of that name), epsilon\n"
    "- linear: channels, added, weights, batch_norm, epsilon\n"
    "- max_pool, mean_pool: kernel, stride, padding, pad; padding is no part of a window\n"
    "- add: added, the layer that is added to the input\n"
    "- global_mean, softmax: none\n\n"
    "input_shape: (height, width, channels) of the pictures that a list of layers takes.";

}  // namespace

void bind_extract(nb::module_& module) {
    nb::class_<NamedNetwork>(module, "Network",
                             "A convolutional network up to the layer whose output is the feature.")
        .def(
            "__init__",
            [](NamedNetwork* self, nb::handle model, nb::handle weights, nb::handle tap,
               nb::handle input_shape) {
                new (self) NamedNetwork(make_network(model, weights, tap, input_shape));
            },
            nb::arg("model"), nb::arg("weights") = nb::none(), nb::arg("tap") = nb::none(),
            nb::arg("input_shape") = nb::none(),
            nb::sig("def __init__(self, model: typing.Literal['efficientnet-lite0', 'resnet18', "
                    "'resnet34', 'resnet50', 'vgg16'] | "
                    "collections.abc.Sequence[collections.abc.Mapping[str, object]], weights: str "
                    "| os.PathLike[str] | None = None, tap: str | None = None, input_shape: "
                    "tuple[int, int, int] | None = None) -> None"),
            kNetworkText)
        .def("forward", &forward, nb::arg("planes").none(), nb::arg("threads") = nb::none(),
             nb::arg("progress") = nb::none(),
             nb::sig("def forward(self, planes: numpy.typing.ArrayLike, threads: int | None = "
                     "None, progress: collections.abc.Callable[[str, float, float], object] | None "
                     "= None) -> numpy.typing.NDArray[numpy.float32]"),
             "Features (pictures x dim) of pictures that have the network's size and range "
             "already: a row is the planes of one, red, green and blue, each row by row. Of a tap "
             "that is a map a row is its planes.")
        .def(
            "to", &move_to, nb::arg("device"), nb::arg("memory_bytes").none() = 0,
            nb::rv_policy::none,
            nb::sig("def to(self, device: str, memory_bytes: int = 0) -> Network"),
            "Moves forward() to a GPU, \"cuda:0\" for example, which gets a copy of the weights, "
            "or "
            "back to the \"cpu\"; returns the network. Features there are the CPU's within 1e-4 of "
            "the largest. memory_bytes: what the network and its maps may take there, 0: nearly "
            "all. No other call may run meanwhile.")
        .def_prop_ro(
            "device", [](const NamedNetwork& self) { return self.network.device(); },
            "Where forward() runs: \"cpu\", \"cuda:0\".")
        .def_prop_ro("dim", &NamedNetwork::dim, "Values of a feature.")
        .def_prop_ro(
            "input_shape",
            [](const NamedNetwork& self) { return shape_tuple(self.network.input_shape()); },
            nb::sig("def input_shape(self) -> tuple[int, int, int]"),
            "Of a picture: (height, width, channels).")
        .def_prop_ro(
            "output_shape",
            [](const NamedNetwork& self) { return shape_tuple(self.network.output_shape()); },
            nb::sig("def output_shape(self) -> tuple[int, int, int]"), "The same of the tap.")
        .def_prop_ro(
            "layers", [](const NamedNetwork& self) { return self.network.layers(); },
            "Names of the layers that are computed; the last is the tap.")
        .def_prop_ro(
            "multiply_adds", [](const NamedNetwork& self) { return self.network.multiply_adds(); },
            "Of one picture.")
        .def("__repr__", [](const NamedNetwork& self) {
            return "Network(" + self.name + ", tap='" + self.network.layers().back() +
                   "', dim=" + std::to_string(self.dim()) + ")";
        });
    module.def(
        "extract", &extract, nb::arg("pictures"), nb::arg("model") = "efficientnet-lite0",
        nb::kw_only(), nb::arg("weights") = nb::none(), nb::arg("tap") = nb::none(),
        nb::arg("normalize") = false, nb::arg("strict") = false, nb::arg("denoise") = nb::none(),
        nb::arg("sigma") = nb::none(), nb::arg("threads") = nb::none(),
        nb::arg("progress") = nb::none(), nb::arg("device") = "cpu",
        nb::sig(
            "def extract(pictures: str | os.PathLike[str] | collections.abc.Iterable[str | "
            "os.PathLike[str]], model: typing.Literal['efficientnet-lite0', 'resnet18', "
            "'resnet34', 'resnet50', 'vgg16'] = 'efficientnet-lite0', *, weights: str | "
            "os.PathLike[str] | None = None, tap: str | None = None, normalize: bool = False, "
            "strict: bool = False, denoise: typing.Literal['median', 'gaussian'] | None = None, "
            "sigma: float | None = None, threads: int | None = None, progress: "
            "collections.abc.Callable[[str, float, float], object] | None = None, device: str = "
            "'cpu') -> tuple[numpy.typing.NDArray[numpy.float32], list[str], list[str]]"),
        "Features of pictures (JPEG, PNG, BMP): (features, names, skipped). pictures: a folder "
        "with all below it, a pattern with * and **, a list file, or paths. Row i is of names[i]; "
        "skipped says of each picture that could not be read what is wrong with it. strict: the "
        "first of these is an error. weights: as of Network. normalize: to length one. denoise: "
        "noise "
        "reduction before resizing, sigma (of gaussian, 1 if None) in pixels of the picture. "
        "device: "
        "where the network is computed, as of Network.to.");
    // For nearcell.weights, which writes there.
    module.def(
        "weights_path",
        [](const std::string& model) {
            return file_text(opened([&] { return weights_path(model); }));
        },
        nb::arg("model"), nb::sig("def weights_path(model: str) -> str"),
        "Where the weights of a known model are looked for.");
}

}  // namespace nearcell::python
