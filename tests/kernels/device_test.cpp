// Names of devices, and what is said where there are none.
#include <nearcell/kernels/device.h>

#include <gtest/gtest.h>

#include <string>

#include <nearcell/core/error.h>

#include "kernels/fake_device.h"

namespace nearcell {
namespace {

class FakeSource : public DeviceSource {
   public:
    std::vector<const Device*> list() const override { return devices; }
    std::string why() const override { return "the driver is asleep: wake it"; }
    std::vector<const Device*> devices;
};

class DeviceTest : public testing::Test {
   protected:
    ~DeviceTest() override { set_device_source(nullptr); }
    checks::FakeDevice first_{"cuda:0"}, second_{"cuda:1"};
    FakeSource source_;
};

StatusCode code_of(std::string_view name, std::string* message = nullptr) {
    try {
        find_device(name);
    } catch (const Error& error) {
        if (message != nullptr) *message = error.what();
        return error.code();
    }
    ADD_FAILURE() << name << " was found";
    return StatusCode::Io;
}

TEST_F(DeviceTest, FindsDevicesByTheirNumber) {
    source_.devices = {&first_, &second_};
    set_device_source(&source_);
    EXPECT_EQ(find_device("cpu"), nullptr);
    EXPECT_EQ(find_device("cuda"), &first_);
    EXPECT_EQ(find_device("cuda:0"), &first_);
    EXPECT_EQ(find_device("cuda:1"), &second_);
    EXPECT_EQ(devices(), source_.devices);
    std::string message;
    EXPECT_EQ(code_of("cuda:2", &message), StatusCode::NoDevice);
    EXPECT_EQ(message, "device = cuda:2, but this machine has 2: pass cuda:0 to cuda:1, or cpu");
}

TEST_F(DeviceTest, SeveralAreOne) {
    source_.devices = {&first_, &second_};
    set_device_source(&source_);
    const Device* const both = find_device("cuda:all");
    EXPECT_EQ(both->name(), "cuda:0,1");
    EXPECT_EQ(find_device("cuda:0,1"), both);
    EXPECT_EQ(find_device("cuda:1,0")->name(), "cuda:1,0");
    EXPECT_EQ(both->describe(), "cuda:0 fake; cuda:1 fake");
    EXPECT_EQ(code_of("cuda:0,2"), StatusCode::NoDevice);
    std::string message;
    EXPECT_EQ(code_of("cuda:0,0", &message), StatusCode::InvalidArgument);
    EXPECT_EQ(message, "device = cuda:0,0 names one twice");
}

TEST_F(DeviceTest, SaysWhatIsMissing) {
    set_device_source(&source_);
    std::string message;
    EXPECT_EQ(code_of("cuda:0", &message), StatusCode::NoDevice);
    EXPECT_EQ(message, "device = cuda:0: the driver is asleep: wake it");
    EXPECT_EQ(why_no_devices(), "the driver is asleep: wake it");
    EXPECT_EQ(find_device("cpu"), nullptr);
}

TEST_F(DeviceTest, RefusesOtherNames) {
    set_device_source(&source_);
    for (const char* name : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0x", "cuda:1 ",
                             "CUDA:0", "cuda:99999999999999999999999"}) {
        std::string message;
        EXPECT_EQ(code_of(name, &message), StatusCode::InvalidArgument) << name;
        EXPECT_NE(message.find("pass cpu, cuda, cuda:N"), std::string::npos) << message;
    }
}

TEST_F(DeviceTest, WithoutADeviceTheBuiltInSourceSaysWhatToDo) {
    if (!devices().empty()) GTEST_SKIP() << "this machine has " << devices().front()->describe();
    EXPECT_GT(built_in_devices().why().size(), 20u);
    EXPECT_EQ(code_of("cuda:0"), StatusCode::NoDevice);
}

}  // namespace
}  // namespace nearcell
