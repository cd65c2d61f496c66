// The extension module nearcell._nearcell: the package nearcell re-exports all of it.
#include "bindings.h"

NB_MODULE(_nearcell, module) { nearcell::python::bind_all(module); }
