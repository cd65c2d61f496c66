// The sub-commands: each function declares one on the application, in the file cmd_NAME.cpp.
#pragma once

namespace CLI {
class App;
}

namespace nearcell::cli {

class Session;

void add_info(CLI::App& app, Session& session);
void add_devices(CLI::App& app, Session& session);
void add_convert(CLI::App& app, Session& session);
void add_extract(CLI::App& app, Session& session);
void add_images(CLI::App& app, Session& session);
void add_truth(CLI::App& app, Session& session);
void add_reduce(CLI::App& app, Session& session);
void add_build(CLI::App& app, Session& session);
void add_search(CLI::App& app, Session& session);
void add_eval(CLI::App& app, Session& session);
void add_tune(CLI::App& app, Session& session);
void add_verify(CLI::App& app, Session& session);
void add_bench(CLI::App& app, Session& session);
void add_bench_network(CLI::App& group, Session& session);

}  // namespace nearcell::cli
