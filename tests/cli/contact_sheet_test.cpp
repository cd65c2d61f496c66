// Pictures of a contact sheet that are there no more.
#include <nearcell/cli/contact_sheet.h>

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace nearcell::cli {
namespace {

TEST(ContactSheetTest, APictureThatIsGoneIsBlank) {
    const std::vector<std::string> paths = {"no/such/picture.png", "no/such/other.jpg"};
    const std::vector<SheetPicture> pictures = sheet_pictures(paths, 1, {});
    ASSERT_EQ(pictures.size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(pictures[i].path, paths[i]);
        EXPECT_EQ(pictures[i].reason.rfind(paths[i] + ": ", 0), 0u) << pictures[i].reason;
        EXPECT_EQ(pictures[i].thumbnail.width, 1u);
        EXPECT_FALSE(pictures[i].thumbnail.jpeg.empty());
    }
    EXPECT_EQ(pictures[0].name, "picture.png");
}

}  // namespace
}  // namespace nearcell::cli
