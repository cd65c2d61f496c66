// The nearcell command on a machine whose one GPU is the emulation: what users of --device see, but
// for its speed.
#include <nearcell/cli/run_command.h>
#include <nearcell/gpu/cuda_device.h>

int main(int argc, char** argv) {
    nearcell::set_device_source(&nearcell::gpu::cuda_devices());
    return nearcell::cli::run_command(argc, argv);
}
