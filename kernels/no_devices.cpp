// In the place of gpu/ where the library is built without CUDA: there are no devices.
#include <nearcell/kernels/device.h>

namespace nearcell {
namespace {

class NoDevices : public DeviceSource {
   public:
    std::vector<const Device*> list() const override { return {}; }
    std::string why() const override {
        return "this build of nearcell has no GPU part: configure it with -DNEARCELL_CUDA=on "
               "(./run gpu-toolkit gets a compiler), or use cpu";
    }
};

}  // namespace

const DeviceSource& built_in_devices() {
    static const NoDevices none;
    return none;
}

}  // namespace nearcell
