// check_file, where a file made by hand is needed; else: tests/python/test_cli.py.
#include <nearcell/cli/file_check.h>

#include <gtest/gtest.h>

#include <vector>

#include <nearcell/index/factory.h>
#include <nearcell/storage/container.h>

#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

TEST(FileCheck, FindsAnIdThatAnIndexHasTwice) {
    const auto index = make_index("Flat", {.dim = 4});
    const std::vector<float> x(40, 0.5f);
    index->add(MatrixView<const float>(x.data(), 10, 4));
    const ScratchDir folder;
    const std::string path = folder.file("x.nc");
    index->save(path);
    EXPECT_EQ(cli::check_file(path, {}), "index Flat, 10 vectors");
    const std::vector<uint8_t> bytes = index->to_bytes();
    const int64_t ids[10] = {0, 1, 2, 3, 4, 5, 6, 2, 8, 9};
    const Container file = Container::from_bytes(bytes);
    ContainerWriter writer("index");
    for (const SectionInfo& info : file.sections()) {
        writer.add(info.name, info.type, info.rows, info.cols,
                   info.name == "ids" ? static_cast<const void*>(ids) : bytes.data() + info.offset);
    }
    writer.save(path);
    try {
        cli::check_file(path, {});
        FAIL() << "was accepted";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::Corrupt);
        EXPECT_NE(std::string(error.what())
                      .find("the id 2 twice, at place 2 of cell 0 and at place "
                            "7 of cell 0; ids must be distinct: get"),
                  std::string::npos)
            << error.what();
    }
}

}  // namespace
}  // namespace nearcell
