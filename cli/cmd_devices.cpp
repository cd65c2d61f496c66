// nearcell devices: the GPUs that --device can name, or why there are none.
#include <CLI/CLI.hpp>

#include <nearcell/kernels/device.h>

#include "commands.h"
#include "number_text.h"
#include "session.h"

namespace nearcell::cli {
namespace {

void list_devices(Session& session) {
    const std::vector<const Device*> found = devices();
    Json list = Json::array();
    Table table({{"device", Table::Align::Left}, {"memory"}, {"free"}});
    for (const Device* device : found) {
        const DeviceMemory memory = device->memory();
        list.push_back({{"name", device->name()},
                        {"description", device->describe()},
                        {"memory_bytes", memory.total},
                        {"free_bytes", memory.free}});
        table.add_row({device->describe(), bytes_text(static_cast<double>(memory.total)),
                       bytes_text(static_cast<double>(memory.free))});
    }
    session.detail("devices", std::move(list));
    if (!found.empty()) return session.text(table.text());
    session.detail("why", why_no_devices());
    session.text("no GPU: " + why_no_devices() + "\n");
}

}  // namespace

void add_devices(CLI::App& app, Session& session) {
    CLI::App& command = *app.add_subcommand("devices", "the GPUs that --device can name");
    session.add_command(command, [&session] { list_devices(session); });
}

}  // namespace nearcell::cli
