// What the extension module has; the tests have a second one, with a device of their own.
#include "bindings.h"
#include "calls.h"

namespace nearcell::python {

void bind_all(nb::module_& module) {
    module.attr("version") = NEARCELL_VERSION;
    bind_errors(module);
    bind_filter(module);
    bind_index(module);
    bind_choose_spec(module);
    bind_extract(module);
    bind_kmeans(module);
    bind_pca(module);
    bind_io(module);
    bind_devices(module);
}

}  // namespace nearcell::python
