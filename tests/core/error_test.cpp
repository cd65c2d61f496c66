// Error: every code has a name of its own and a category; messages are put together from parts.
#include <nearcell/core/error.h>

#include <gtest/gtest.h>

#include <cerrno>
#include <locale>
#include <set>
#include <string>

#include <nearcell/core/progress.h>

namespace nearcell {
namespace {

TEST(Error, EveryCodeHasItsOwnName) {
    std::set<std::string_view> names;
    constexpr int kCodes = static_cast<int>(StatusCode::Cancelled) + 1;
    for (int code = 0; code < kCodes; ++code) {
        names.insert(status_name(static_cast<StatusCode>(code)));
    }
    EXPECT_EQ(names.size(), static_cast<size_t>(kCodes));
    EXPECT_EQ(names.count("?"), 0u);
    EXPECT_EQ(category(StatusCode::NonFinite), StatusCategory::Input);
    EXPECT_EQ(category(StatusCode::TooNew), StatusCategory::Data);
    EXPECT_EQ(category(StatusCode::Cancelled), StatusCategory::System);
}

TEST(Error, CarriesCodeAndMessage) {
    try {
        throw_error(StatusCode::NotFound, "id ", 7, " of ", std::string("ids"), " is not stored");
    } catch (const std::exception& caught) {
        const Error& error = dynamic_cast<const Error&>(caught);
        EXPECT_EQ(error.code(), StatusCode::NotFound);
        EXPECT_STREQ(error.what(), "id 7 of ids is not stored");
        EXPECT_EQ(error.status().message, error.what());
    }
    EXPECT_NO_THROW(check(true, StatusCode::Io, "never"));
    EXPECT_THROW(check(false, StatusCode::Io, "always"), Error);
}

TEST(Error, OfAFileCarriesErrno) {
    try {
        throw_file_error(StatusCode::Io, "a.nc", ENOSPC, "cannot ", "write");
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::Io);
        EXPECT_STREQ(error.what(), "a.nc: cannot write");
        EXPECT_EQ(error.status().file, "a.nc");
        EXPECT_EQ(error.status().system_error, ENOSPC);
    }
    EXPECT_EQ(Error(StatusCode::Io, "").status().system_error, 0);
}

TEST(Error, WritesNumbersAlikeInAnyLocale) {
    struct Grouped : std::numpunct<char> {
        char do_decimal_point() const override { return ','; }
        char do_thousands_sep() const override { return '.'; }
        std::string do_grouping() const override { return "\3"; }
    };
    const std::locale before =
        std::locale::global(std::locale(std::locale::classic(), new Grouped));
    std::string message;
    try {
        throw_error(StatusCode::NotFound, 1234567, " and ", 0.5);
    } catch (const Error& error) {
        message = error.what();
    }
    std::locale::global(before);
    EXPECT_EQ(message, "1234567 and 0.5");
}

TEST(Progress, CancelsByReturningFalse) {
    EXPECT_NO_THROW(report({}, "phase", 0, 1));
    EXPECT_NO_THROW(report([](auto...) { return true; }, "phase", 0, 1));
    try {
        report([](auto...) { return false; }, "training", 1, 2);
        FAIL() << "not cancelled";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::Cancelled);
        EXPECT_NE(std::string(error.what()).find("training"), std::string::npos);
    }
}

}  // namespace
}  // namespace nearcell
