#include <nearcell/storage/container.h>

#include <algorithm>
#include <cstring>

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "storage/sample_container.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

constexpr OpenMode kModes[] = {OpenMode::Read, OpenMode::Map, OpenMode::MapUnchecked};

TEST(Container, GivesBackWhatWasSavedInEveryMode) {
    const ScratchDir dir;
    // Below, at and above the borders of pages (4 KiB) and checksum blocks (64 KiB).
    for (size_t rows : {size_t{0}, size_t{1}, size_t{511}, size_t{512}, size_t{513}, size_t{8192},
                        size_t{30000}}) {
        const SampleContainer sample(rows, rows + 10);
        sample.writer.save(dir.file("x.nc"));
        for (OpenMode mode : kModes) {
            const Container container = Container::open(dir.file("x.nc"), mode);
            container.verify();
            EXPECT_EQ(container.kind(), "sample");
            EXPECT_EQ(container.sections().size(), 7u);
            EXPECT_EQ(container.file_bytes(), std::filesystem::file_size(dir.file("x.nc")));
            EXPECT_EQ(container.text("options"),
                      "dim 7\nmetric l2\nseed " + std::to_string(rows + 10) + "\n");
            const auto same = [](const auto& span, const std::vector<uint8_t>& bytes) {
                EXPECT_EQ(reinterpret_cast<uintptr_t>(span.data()) % 4096, 0u);
                ASSERT_EQ(span.size_bytes(), bytes.size());
                EXPECT_TRUE(bytes.empty() ||
                            std::memcmp(span.data(), bytes.data(), bytes.size()) == 0);
            };
            same(container.get<uint8_t>("codes", rows, 7), sample.codes);
            same(container.get<float>("cells.floats", rows, 3), sample.floats);
            same(container.get<int64_t>("ids", rows), sample.ids);
            same(container.get<uint16_t>("halves_16", rows), sample.halves);
            same(container.get<uint32_t>("counts", 1, 5), sample.counts);
            EXPECT_TRUE(container.get<double>("empty", 0, 784).empty());
        }
    }
}

TEST(Container, SpansOutliveTheContainerTheyCameFromWhileACopyLives) {
    const SampleContainer sample(1000);
    std::vector<Container> kept;
    std::span<const uint8_t> codes;
    {
        const Container container = Container::from_bytes(sample.writer.to_bytes());
        codes = container.get<uint8_t>("codes", 1000, 7);
        kept.push_back(container);
    }
    EXPECT_TRUE(std::equal(codes.begin(), codes.end(), sample.codes.begin()));
}

TEST(Container, SameContentGivesSameBytes) {
    const ScratchDir dir;
    const SampleContainer sample(20000);
    sample.writer.save(dir.file("a.nc"));
    sample.writer.save(dir.file("b.nc"));
    EXPECT_EQ(file_bytes(dir.file("a.nc")), file_bytes(dir.file("b.nc")));
    EXPECT_EQ(file_bytes(dir.file("a.nc")), sample.writer.to_bytes());
    EXPECT_EQ(SampleContainer(20000).writer.to_bytes(), sample.writer.to_bytes());
}

TEST(Container, PiecesOfAnySizeGiveTheBytesOfTheWhole) {
    const std::vector<uint8_t> data = random_bytes(300000, 5);
    ContainerWriter whole("pieces");
    whole.add("data", SectionType::U8, data.size(), 1, data.data());
    Random random(3);
    for (size_t most : {size_t{1000}, size_t{65536}, size_t{65537}, size_t{200000}}) {
        ContainerWriter cut("pieces");
        cut.add_pieces(
            "data", SectionType::U8, data.size(), 1, [&](const ContainerWriter::Sink& sink) {
                for (size_t at = 0; at < data.size();) {
                    const size_t size = std::min<size_t>(data.size() - at, random.below(most + 1));
                    sink(data.data() + at, size);
                    at += size;
                }
            });
        EXPECT_EQ(cut.to_bytes(), whole.to_bytes()) << most;
    }
}

TEST(Container, WithoutSectionsIsAFile) {
    const Container container = Container::from_bytes(ContainerWriter("nothing").to_bytes());
    EXPECT_EQ(container.kind(), "nothing");
    EXPECT_TRUE(container.sections().empty());
}

TEST(Container, HoldsManySections) {
    ContainerWriter writer("many");
    std::vector<uint64_t> values(1000);
    for (size_t i = 0; i < values.size(); ++i) {
        values[i] = i * i;
        writer.add("part." + std::to_string(i), SectionType::U64, 1, 1, &values[i]);
    }
    const Container container = Container::from_bytes(writer.to_bytes());
    for (size_t i = 0; i < values.size(); ++i) {
        EXPECT_EQ(container.get<uint64_t>("part." + std::to_string(i), 1)[0], i * i);
    }
}

TEST(ContainerWriter, RefusesBadNamesShapesAndPieces) {
    const auto refused = [](auto&& call) {
        return error_of(call).code() == StatusCode::InvalidArgument;
    };
    for (const std::string kind : {"", "Index", "a b", "sixteen_letters_", "dotted.kind"}) {
        EXPECT_TRUE(refused([&] { ContainerWriter writer(kind); })) << kind;
    }
    ContainerWriter writer("test");
    const uint64_t value = 1;
    for (const std::string& name : {std::string(), std::string("A"), std::string("a/b"),
                                    std::string(32, 'a'), std::string("a\0b", 3)}) {
        EXPECT_TRUE(refused([&] { writer.add(name, SectionType::U64, 1, 1, &value); })) << name;
    }
    const uint64_t huge = uint64_t{1} << 62;
    EXPECT_TRUE(refused([&] { writer.add("x", SectionType::U64, huge, 1, &value); }));
    EXPECT_TRUE(refused([&] { writer.add("x", SectionType::U64, huge, 0, &value); }));
    EXPECT_TRUE(refused([&] { writer.add("x", SectionType::U64, 1, 1, nullptr); }));
    writer.add(std::string(31, 'a'), SectionType::U64, 1, 1, &value);
    EXPECT_TRUE(refused([&] { writer.add(std::string(31, 'a'), SectionType::U64, 1, 1, &value); }));

    for (size_t bytes : {size_t{0}, size_t{7}, size_t{9}}) {
        const uint8_t zeros[16] = {};
        ContainerWriter wrong("test");
        wrong.add_pieces("x", SectionType::U64, 1, 1,
                         [&](const ContainerWriter::Sink& sink) { sink(zeros, bytes); });
        EXPECT_TRUE(refused([&] { wrong.to_bytes(); })) << bytes;
        const ScratchDir dir;
        EXPECT_TRUE(refused([&] { wrong.save(dir.file("x.nc")); })) << bytes;
        EXPECT_EQ(dir.entries(), 0u);
    }
    writer.add("too_large", SectionType::U8, uint64_t{1} << 60, 1, &value);
    EXPECT_TRUE(refused([&] { writer.to_bytes(); }));
}

TEST(Container, RefusesOtherTypesShapesAndNames) {
    const Container container = Container::from_bytes(SampleContainer(10).writer.to_bytes());
    const auto corrupt = [](auto&& call) { return error_of(call).code() == StatusCode::Corrupt; };
    EXPECT_TRUE(corrupt([&] { container.get<uint8_t>("missing", 1); }));
    EXPECT_TRUE(corrupt([&] { container.info("missing"); }));
    EXPECT_TRUE(corrupt([&] { container.get<float>("codes", 10, 7); }));
    EXPECT_TRUE(corrupt([&] { container.get<uint8_t>("codes", 7, 10); }));
    EXPECT_TRUE(corrupt([&] { container.get<uint8_t>("codes", 70); }));
    EXPECT_TRUE(
        corrupt([&] { container.get<uint8_t>("options", container.info("options").rows); }));
    EXPECT_TRUE(corrupt([&] { container.text("codes"); }));
    EXPECT_TRUE(container.has("codes"));
    EXPECT_FALSE(container.has("code"));
}

TEST(Container, ThatIsNoContainerSaysWhy) {
    const ScratchDir dir;
    for (OpenMode mode : kModes) {
        EXPECT_EQ(error_of([&] { Container::open(dir.file("none.nc"), mode); }).code(),
                  StatusCode::NotFound);
        EXPECT_EQ(error_of([&] { Container::open(dir.path().string(), mode); }).code(),
                  StatusCode::Io);
        for (size_t size : {size_t{0}, size_t{63}, size_t{64}, size_t{10000}}) {
            put_bytes(dir.file("noise.nc"), random_bytes(size, size));
            const Error error = error_of([&] { Container::open(dir.file("noise.nc"), mode); });
            EXPECT_EQ(error.code(), StatusCode::Corrupt);
            EXPECT_NE(std::string(error.what()).find("noise.nc"), std::string::npos)
                << error.what();
        }
    }
    SampleContainer(10).writer.save(dir.file("whole.nc"));
    const std::string zero = dir.file("whole.nc") + std::string(1, '\0');
    EXPECT_EQ(error_of([&] { Container::open(zero); }).code(), StatusCode::Io);
    ASSERT_EQ(::mkfifo(dir.file("pipe").c_str(), 0600), 0);
    EXPECT_EQ(error_of([&] { Container::open(dir.file("pipe")); }).code(), StatusCode::Io);
}

}  // namespace
}  // namespace nearcell
