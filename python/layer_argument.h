// Networks that Python describes: a list of dicts becomes layers (extract/layer.h), key by key. A
// key that the layer's kind does not know is an error. Throw Python errors that name the layer and
// the key; need the GIL.
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

#include <nearcell/extract/layer.h>
#include <nearcell/extract/network.h>

namespace nearcell::python {

std::vector<Layer> layers_argument(nanobind::handle layers);
// (height, width, channels)
MapShape input_shape_argument(nanobind::handle shape);

}  // namespace nearcell::python
