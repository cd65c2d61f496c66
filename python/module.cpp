// The extension module nearcell._nearcell: the package nearcell re-exports all of it.
#include "bindings.h"
#include "calls.h"

NB_MODULE(_nearcell, module) {
    using namespace nearcell::python;
    module.attr("version") = NEARCELL_VERSION;
    bind_errors(module);
    bind_filter(module);
    bind_index(module);
    bind_choose_spec(module);
    bind_extract(module);
    bind_kmeans(module);
    bind_pca(module);
    bind_io(module);
}
