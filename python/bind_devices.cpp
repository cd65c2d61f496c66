// nearcell.devices.
#include <nanobind/stl/string.h>

#include <nearcell/kernels/device.h>

#include "bindings.h"
#include "calls.h"

namespace nearcell::python {
namespace {

nb::list list_devices() {
    Call call;
    nb::list all;
    for (const Device* device : call.run([] { return devices(); })) {
        const DeviceMemory memory = call.run([&] { return device->memory(); });
        nb::dict one;
        one["name"] = device->name();
        one["description"] = device->describe();
        one["memory_bytes"] = memory.total;
        one["free_bytes"] = memory.free;
        all.append(one);
    }
    return all;
}

}  // namespace

void bind_devices(nb::module_& module) {
    module.def("devices", &list_devices, nb::sig("def devices() -> list[dict[str, typing.Any]]"),
               "The GPUs that Index.to() can name: name, description, memory_bytes and free_bytes "
               "of each. Empty where there are none; Index.to('cuda') then says why.");
}

}  // namespace nearcell::python
