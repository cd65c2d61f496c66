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

#include "arrays.h"
#include "bindings.h"
#include "calls.h"

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

Extractor make_extractor(const std::string& model, nb::handle weights, nb::handle tap) {
    std::optional<std::string> file;
    if (!weights.is_none()) file = path_argument(weights);
    const std::string layer = tap.is_none() ? std::string() : nb::cast<std::string>(tap);
    const Model known = model_by_name(model);
    Call call;
    const Weights tensors =
        opened([&] { return call.run([&] { return open_weights(model, file); }); });
    return call.run([&] { return Extractor(known, tensors, layer); });
}

nb::object forward(const Extractor& self, nb::handle planes, nb::handle threads,
                   nb::handle progress) {
    const FloatRows rows(planes, "planes");
    const int count = thread_count(threads);
    std::vector<float> features(rows.view().rows * self.dim());
    Call call(progress);
    call.run([&] {
        self.network().forward(rows.view(), {features.data(), rows.view().rows, self.dim()}, count,
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
                  bool normalize, bool strict, nb::handle threads, nb::handle progress) {
    const std::vector<std::string> paths = pictures_argument(pictures);
    const Extractor extractor = make_extractor(model, weights, tap);
    Call call(progress);
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

}  // namespace

void bind_extract(nb::module_& module) {
    nb::class_<Extractor>(module, "Network",
                          "A convolutional network up to the layer whose output is the feature.")
        .def(
            "__init__",
            [](Extractor* self, const std::string& model, nb::handle weights, nb::handle tap) {
                new (self) Extractor(make_extractor(model, weights, tap));
            },
            nb::arg("model"), nb::arg("weights") = nb::none(), nb::arg("tap") = nb::none(),
            nb::sig("def __init__(self, model: typing.Literal['efficientnet-lite0', 'resnet18', "
                    "'resnet34', 'resnet50', 'vgg16'], weights: str | os.PathLike[str] | None = "
                    "None, tap: str | None = None) -> None"),
            "weights: a safetensors file; for ResNet and VGG with torchvision's names. None: "
            "MODEL.safetensors in the folder $NEARCELL_WEIGHTS, or else in nearcell/ of the "
            "user's cache; of efficientnet-lite0 its SHA-256 is checked, and `python -m "
            "nearcell.weights` makes it. tap: a layer, by its name in the weights; None: that "
            "before the classifier.")
        .def("forward", &forward, nb::arg("planes").none(), nb::arg("threads") = nb::none(),
             nb::arg("progress") = nb::none(),
             nb::sig("def forward(self, planes: numpy.typing.ArrayLike, threads: int | None = "
                     "None, progress: collections.abc.Callable[[str, float, float], object] | None "
                     "= None) -> numpy.typing.NDArray[numpy.float32]"),
             "Features (pictures x dim) of pictures that have the network's size and range "
             "already: a row is the planes of one, red, green and blue, each row by row. Of a tap "
             "that is a map a row is its planes.")
        .def_prop_ro("dim", &Extractor::dim, "Values of a feature.")
        .def_prop_ro(
            "layers", [](const Extractor& self) { return self.network().layers(); },
            "Names of the layers that are computed; the last is the tap.")
        .def_prop_ro(
            "multiply_adds", [](const Extractor& self) { return self.network().multiply_adds(); },
            "Of one picture.")
        .def("__repr__", [](const Extractor& self) {
            return "Network('" + self.model().name + "', tap='" + self.network().layers().back() +
                   "', dim=" + std::to_string(self.dim()) + ")";
        });
    module.def(
        "extract", &extract, nb::arg("pictures"), nb::arg("model") = "efficientnet-lite0",
        nb::kw_only(), nb::arg("weights") = nb::none(), nb::arg("tap") = nb::none(),
        nb::arg("normalize") = false, nb::arg("strict") = false, nb::arg("threads") = nb::none(),
        nb::arg("progress") = nb::none(),
        nb::sig("def extract(pictures: str | os.PathLike[str] | collections.abc.Iterable[str | "
                "os.PathLike[str]], model: typing.Literal['efficientnet-lite0', 'resnet18', "
                "'resnet34', 'resnet50', 'vgg16'] = 'efficientnet-lite0', *, weights: str | "
                "os.PathLike[str] | None = None, tap: str | None = None, normalize: bool = False, "
                "strict: bool = False, threads: int | None = None, progress: "
                "collections.abc.Callable[[str, float, float], object] | None = None) -> "
                "tuple[numpy.typing.NDArray[numpy.float32], list[str], list[str]]"),
        "Features of pictures (JPEG, PNG, BMP): (features, names, skipped). pictures: a folder "
        "with all below it, a pattern with * and **, a list file, or paths. Row i is of names[i]; "
        "skipped says of each picture that could not be read what is wrong with it. strict: the "
        "first of these is an error. weights: as of Network. normalize: to length one.");
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
