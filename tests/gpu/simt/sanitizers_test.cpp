// In builds with ASan or TSan: what they find in host code beside kernels, and that fibers do not
// confuse them.
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <thread>

#include <nearcell/gpu/simt/simt.h>

#include "support.h"

namespace nearcell::simt {
namespace {

#if defined(SIMT_WITH_ASAN)
__global__ void throw_kernel() { throw std::runtime_error("thrown"); }

TEST(SanitizersTest, ASanFindsHostCodeBehindAnArray) {
    const auto values = std::make_unique<int[]>(8);
    int* volatile const end = &values[7] + 1;
    EXPECT_DEATH(++*end, "heap-buffer-overflow");
}

TEST(SanitizersTest, ASanKnowsOnWhichStackAnExceptionIsThrown) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");  // it would warn once in a process
    const auto launch_throwing = [] {
        const auto report = fault_of([] { launch({"throw", 1, 32}, throw_kernel); });
        std::exit(report ? 0 : 1);
    };
    EXPECT_EXIT(launch_throwing(), testing::ExitedWithCode(0), "^$");
}
#endif

#if defined(SIMT_WITH_TSAN)
TEST(SanitizersTest, TSanFindsARaceOfHostCode) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    constexpr int kReported = 66;
    const auto race = [] {
        int value = 0;
        std::thread other([&] { value = 1; });
        value = 2;
        other.join();
        std::exit(0);  // not reached when the first report ends the program
    };
    EXPECT_EXIT(race(), testing::ExitedWithCode(kReported), "data race");
}
#endif

}  // namespace
}  // namespace nearcell::simt
