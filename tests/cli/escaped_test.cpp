#include <nearcell/cli/escaped.h>

#include <gtest/gtest.h>

namespace nearcell::cli {
namespace {

TEST(Escaped, LeavesTextAsItIs) {
    for (const char* text : {"", "a b\\c~", "h\u00e9llo", "\u00a0\u20ac\U0001f600",
                             "\u0800\ud7ff\ue000\U00010000\U0010ffff"})
        EXPECT_EQ(escaped(text), text);
}

TEST(Escaped, ShowsWhatATerminalWouldObey) {
    EXPECT_EQ(escaped("a\x1b[2J\r\n\t\x7f"), R"(a\x1b[2J\x0d\x0a\x09\x7f)");
    EXPECT_EQ(escaped("\u009b2J\u0080"), R"(\xc2\x9b2J\xc2\x80)");
    EXPECT_EQ(escaped(std::string_view("a\0b", 3)), R"(a\x00b)");
    EXPECT_EQ(escaped("a\n\r", '\n'), "a\n\\x0d");
}

TEST(Escaped, ShowsWhatTurnsTheDirectionOfText) {
    EXPECT_EQ(escaped("a\u202egpj.exe"), R"(a\xe2\x80\xaegpj.exe)");
    EXPECT_EQ(escaped("\u061c\u200e\u200f"), R"(\xd8\x9c\xe2\x80\x8e\xe2\x80\x8f)");
    EXPECT_EQ(escaped("\u202a\u202b\u202c\u202d"),
              R"(\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad)");
    EXPECT_EQ(escaped("\u2066\u2067\u2068\u2069"),
              R"(\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9)");
    // Their neighbours, text that goes from right to left by itself, and joined emoji.
    for (const char* text : {"\u061b\u061d\u200d\u2010\u2029\u202f\u2065\u206a",
                             "\u05e9\u05dc\u0627", "\U0001f469\u200d\U0001f680"})
        EXPECT_EQ(escaped(text), text);
}

TEST(Escaped, ShowsBytesThatAreNoText) {
    EXPECT_EQ(escaped("\x9b\xff"), R"(\x9b\xff)");
    EXPECT_EQ(escaped("\xc0\x9b"), R"(\xc0\x9b)");  // an overlong escape
    EXPECT_EQ(escaped("\xe0\x80\x9b"), R"(\xe0\x80\x9b)");
    EXPECT_EQ(escaped("\xf0\x80\x80\x9b"), R"(\xf0\x80\x80\x9b)");
    EXPECT_EQ(escaped("\xed\xa0\x80"), R"(\xed\xa0\x80)");          // a surrogate
    EXPECT_EQ(escaped("\xf4\x90\x80\x80"), R"(\xf4\x90\x80\x80)");  // past the last
    EXPECT_EQ(escaped("\xe2\x82"), R"(\xe2\x82)");                  // cut off
    EXPECT_EQ(escaped("\xe2\x82\x1b"), R"(\xe2\x82\x1b)");
    EXPECT_EQ(escaped("\xc3"
                      "a\xf5\x80\x80\x80"),
              R"(\xc3a\xf5\x80\x80\x80)");
}

}  // namespace
}  // namespace nearcell::cli
