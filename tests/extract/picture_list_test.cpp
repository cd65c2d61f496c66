// Folders, patterns and list files become the same list of pictures every time.
#include <gtest/gtest.h>

#include <filesystem>

#include <unistd.h>

#include <nearcell/extract/picture_list.h>

#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

class PictureList : public testing::Test {
   protected:
    PictureList() {
        for (const char* name : {"b.jpg", "a.PNG", "sub/c.jpeg", "sub/deep/d.BmP", "sub/e.txt",
                                 "sub/.hidden.jpg", ".git/f.jpg", "z[1].jpg", "noending"}) {
            fs::create_directories(fs::path(dir_.file(name)).parent_path());
            put_bytes(dir_.file(name), {1});
        }
        fs::create_directories(dir_.file("folder.jpg"));
    }
    // What is found, without the folder's own path.
    Names found(const std::string& source) const {
        Names names = list_pictures(source);
        for (std::string& name : names) {
            EXPECT_EQ(name.rfind(dir_.path().string() + "/", 0), 0u) << name;
            name = name.substr(dir_.path().string().size() + 1);
        }
        return names;
    }
    Error refused(const std::string& source) const {
        return error_of([&] { list_pictures(source); });
    }
    ScratchDir dir_;
    const Names all_{"a.PNG", "b.jpg", "sub/c.jpeg", "sub/deep/d.BmP", "z[1].jpg"};
};

TEST_F(PictureList, FoldersAreGoneThrough) {
    EXPECT_EQ(found(dir_.path().string()), all_);
    EXPECT_EQ(found(dir_.path().string() + "/"), all_);
    EXPECT_EQ(found(dir_.file("sub")), Names({"sub/c.jpeg", "sub/deep/d.BmP"}));
}

TEST_F(PictureList, FilesOfOtherSuffixesAreCounted) {
    const auto others = [&](const std::string& source) {
        size_t count = 9;
        list_pictures(source, &count);
        return count;
    };
    EXPECT_EQ(others(dir_.path().string()), 2u);
    put_bytes(dir_.file("more.gif"), {1});
    put_bytes(dir_.file("sub/more.txt"), {1});
    put_bytes(dir_.file(".hidden.txt"), {1});
    EXPECT_EQ(others(dir_.path().string()), 4u);
    EXPECT_EQ(others(dir_.file("**")), 4u);
    EXPECT_EQ(others(dir_.file("[bm]*")), 1u);
    EXPECT_EQ(others(dir_.file("*.jpg")), 0u);
    EXPECT_EQ(others(dir_.file("b.jpg")), 0u);
}

TEST_F(PictureList, SymbolicLinksDoNotTrap) {
    fs::create_directory_symlink(dir_.path(), dir_.file("sub/loop"));
    fs::create_symlink("nowhere", dir_.file("sub/gone.jpg"));
    fs::create_symlink(dir_.file("b.jpg"), dir_.file("sub/link.png"));
    Names expected = all_;
    expected.insert(expected.end() - 1, {"sub/gone.jpg", "sub/link.png"});
    EXPECT_EQ(found(dir_.path().string()), expected);
    EXPECT_EQ(found(dir_.file("**/*.jp*")).size(), 4u);
    EXPECT_EQ(found(dir_.file("sub/loop/b.*")), Names({"sub/loop/b.jpg"}));
    // A folder that is itself named by a link is gone through.
    EXPECT_EQ(list_pictures(dir_.file("sub/loop")).size(), expected.size());
}

TEST_F(PictureList, PatternsMatchAsInAShell) {
    EXPECT_EQ(found(dir_.file("*.jpg")), Names({"b.jpg", "z[1].jpg"}));
    EXPECT_EQ(found(dir_.file("[ab].*")), Names({"a.PNG", "b.jpg"}));
    EXPECT_EQ(found(dir_.file("s?b/*")), Names({"sub/c.jpeg"}));
    EXPECT_EQ(found(dir_.file("*/*/*")), Names({"sub/deep/d.BmP"}));
    EXPECT_EQ(found(dir_.file("**")), all_);
    EXPECT_EQ(found(dir_.file("**/**/*")), all_);
    EXPECT_EQ(found(dir_.file("**/?.jpeg")), Names({"sub/c.jpeg"}));
    EXPECT_EQ(found(dir_.file("z[1].jpg")), Names({"z[1].jpg"}));  // a file that is there
    EXPECT_EQ(refused(dir_.file("**/deep/**/*")).code(), StatusCode::InvalidArgument);
    EXPECT_EQ(refused(dir_.file("x*.jpg")).code(), StatusCode::NotFound);
    EXPECT_EQ(refused(dir_.file("no/*.jpg")).code(), StatusCode::NotFound);
}

TEST_F(PictureList, PatternsMayBeRelative) {
    const fs::path before = fs::current_path();
    fs::current_path(dir_.path());
    const Names here = list_pictures("*.jpg"), below = list_pictures("./s*/c.jpeg");
    fs::current_path(before);
    EXPECT_EQ(here, Names({"b.jpg", "z[1].jpg"}));
    EXPECT_EQ(below, Names({"./sub/c.jpeg"}));
}

TEST_F(PictureList, ListFilesKeepTheirOrder) {
    const auto list = [&](const std::string& text) {
        put_bytes(dir_.file("list.txt"), {text.begin(), text.end()});
        return dir_.file("list.txt");
    };
    EXPECT_EQ(found(list("z.jpg\r\n\nsub/a b.png\nz.jpg")),
              Names({"z.jpg", "sub/a b.png", "z.jpg"}));
    EXPECT_EQ(list_pictures(list("/abs/x.JPG\n")), Names({"/abs/x.JPG"}));
    for (const std::string& text : {std::string("a.jpg\nb.gif\n"), std::string("a\0.jpg", 6),
                                    std::string(5000, 'a') + ".jpg"}) {
        const Error error = refused(list(text));
        EXPECT_EQ(error.code(), StatusCode::Corrupt);
        EXPECT_NE(std::string(error.what()).find("line "), std::string::npos) << error.what();
    }
    EXPECT_EQ(refused(list("\n\n")).code(), StatusCode::NotFound);
    EXPECT_EQ(list_pictures(list("\xEF\xBB\xBF"
                                 "b.jpg")),
              Names({dir_.file("b.jpg")}));
}

TEST_F(PictureList, WhatIsNotThereIsTold) {
    EXPECT_EQ(list_pictures(dir_.file("b.jpg")), Names({dir_.file("b.jpg")}));
    for (const std::string& source : {dir_.file("no"), dir_.file("no.jpg"), dir_.file(".git/x")}) {
        const Error error = refused(source);
        EXPECT_EQ(error.code(), StatusCode::NotFound) << source;
        EXPECT_NE(std::string(error.what()).find("; "), std::string::npos) << error.what();
    }
    fs::create_symlink("loop", dir_.file("loop"));
    for (const std::string& source : {dir_.file("loop"), dir_.file(std::string(300, 'a'))})
        EXPECT_EQ(refused(source).code(), StatusCode::Io) << source;
    const Error none = refused(dir_.file("folder.jpg"));
    EXPECT_EQ(none.code(), StatusCode::NotFound);
    EXPECT_NE(std::string(none.what()).find("check the path"), std::string::npos) << none.what();
    EXPECT_EQ(refused("").code(), StatusCode::InvalidArgument);
    EXPECT_EQ(refused(std::string("a\0b", 3)).code(), StatusCode::InvalidArgument);
}

TEST_F(PictureList, AFolderThatCannotBeReadIsTold) {
    fs::permissions(dir_.path(), fs::perms(0755));
    fs::permissions(dir_.file("sub/deep"), fs::perms::none);
    // The superuser reads every folder: be somebody else for a moment.
    const bool super = ::geteuid() == 0 && ::seteuid(65534) == 0;
    const Error error = refused(dir_.path().string());
    ASSERT_TRUE(!super || ::seteuid(0) == 0);
    fs::permissions(dir_.file("sub/deep"), fs::perms::owner_all);
    EXPECT_EQ(error.code(), StatusCode::Io);
    EXPECT_NE(std::string(error.what()).find("deep"), std::string::npos) << error.what();
}

TEST_F(PictureList, ManyPicturesNeedTheirListOnly) {
    fs::create_directories(dir_.file("many"));
    for (int i = 0; i < 3000; ++i)
        put_bytes(dir_.file("many/" + std::to_string(i) + ".jpg"), {});
    const Names names = found(dir_.file("many"));
    ASSERT_EQ(names.size(), 3000u);
    EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
}

}  // namespace
}  // namespace nearcell
