// Saving: whatever goes wrong, the file that was there is there, and nothing is left beside it.
#include <nearcell/storage/atomic_file.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <thread>

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "storage/sample_container.h"
#include "storage/scratch_dir.h"

namespace nearcell {
namespace {

using Bytes = std::vector<uint8_t>;

void save(const std::string& path, const Bytes& bytes) {
    AtomicFile file(path);
    file.append(bytes.data(), bytes.size());
    file.commit();
}

mode_t mode_of(const std::string& path) {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0 ? status.st_mode & 07777u : 0;
}

// What `body` returns in a process of its own; 255 when it ends in another way.
int in_child(const std::function<int()>& body) {
    const pid_t child = ::fork();
    if (child == 0) {
        int result = 254;
        try {
            result = body();
        } catch (...) {
        }
        ::_exit(result);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

TEST(AtomicFile, WritesAndReplaces) {
    const ScratchDir dir;
    for (size_t size : {size_t{0}, size_t{1}, size_t{100000}, size_t{10}}) {
        const Bytes bytes = random_bytes(size, size);
        save(dir.file("x"), bytes);
        EXPECT_EQ(file_bytes(dir.file("x")), bytes);
        EXPECT_EQ(dir.entries(), 1u);
    }
}

TEST(AtomicFile, OverwritesEarlierBytesAndGivesBackWhatItReserved) {
    const ScratchDir dir;
    AtomicFile file(dir.file("x"));
    file.reserve(1 << 20);
    file.append("abcdef", 6);
    file.write_at(2, "XY", 2);
    file.append("g", 1);
    EXPECT_EQ(file.bytes(), 7u);
    file.commit();
    EXPECT_EQ(file_bytes(dir.file("x")), (Bytes{'a', 'b', 'X', 'Y', 'e', 'f', 'g'}));
}

TEST(AtomicFile, WithoutCommitLeavesNothing) {
    const ScratchDir dir;
    save(dir.file("x"), {1, 2, 3});
    {
        AtomicFile file(dir.file("x"));
        file.append("other", 5);
        EXPECT_EQ(dir.entries(), 2u);
        EXPECT_EQ(file_bytes(dir.file("x")), (Bytes{1, 2, 3}));
    }
    EXPECT_EQ(dir.entries(), 1u);
    EXPECT_EQ(file_bytes(dir.file("x")), (Bytes{1, 2, 3}));
}

TEST(AtomicFile, KeepsThePermissionsOfTheFileItReplaces) {
    const ScratchDir dir;
    const mode_t mask = ::umask(027);
    save(dir.file("new"), {1});
    EXPECT_EQ(mode_of(dir.file("new")), 0640u);
    for (mode_t mode : {0600u, 0644u, 0666u, 0755u}) {
        ASSERT_EQ(::chmod(dir.file("new").c_str(), mode), 0);
        save(dir.file("new"), {2});
        EXPECT_EQ(mode_of(dir.file("new")), mode);
    }
    ::umask(mask);
}

TEST(AtomicFile, RefusesLinksDirectoriesAndPipes) {
    const ScratchDir dir;
    save(dir.file("target"), {1});
    std::filesystem::create_symlink(dir.file("target"), dir.file("link"));
    std::filesystem::create_symlink(dir.file("nowhere"), dir.file("dangling"));
    std::filesystem::create_directory(dir.file("directory"));
    ASSERT_EQ(::mkfifo(dir.file("pipe").c_str(), 0600), 0);
    const size_t entries = dir.entries();
    for (const char* name : {"link", "dangling", "directory", "pipe", "", "missing/x"}) {
        const Error error = error_of([&] { save(dir.file(name), {2}); });
        EXPECT_EQ(error.code(), StatusCode::Io) << name;
        const bool link = std::string(name) == "link" || std::string(name) == "dangling";
        EXPECT_EQ(std::string(error.what()).find("symbolic link") != std::string::npos, link)
            << error.what();
        EXPECT_EQ(dir.entries(), entries) << name;
    }
    EXPECT_EQ(error_of([&] { save("", {2}); }).code(), StatusCode::Io);
    EXPECT_EQ(file_bytes(dir.file("target")), Bytes{1});
}

TEST(AtomicFile, TakesNamesAsLongAsTheFileSystemDoes) {
    const ScratchDir dir;
    const std::string name(255, 'n');
    save(dir.file(name), {1});
    EXPECT_EQ(file_bytes(dir.file(name)), Bytes{1});
    EXPECT_EQ(error_of([&] { save(dir.file(name + "n"), {1}); }).code(), StatusCode::Io);
    EXPECT_EQ(dir.entries(), 1u);
}

TEST(AtomicFile, FindsItsDirectoryAgainWhenTheProcessMoves) {
    const ScratchDir dir;
    const std::filesystem::path before = std::filesystem::current_path();
    std::filesystem::current_path(dir.path());
    AtomicFile file("x");
    std::filesystem::current_path(before);
    file.append("a", 1);
    file.commit();
    EXPECT_EQ(file_bytes(dir.file("x")), Bytes{'a'});
}

TEST(AtomicFile, AtAFileSizeLimitLeavesTheOldFile) {
    const ScratchDir dir;
    const std::string path = dir.file("x.nc");
    SampleContainer(100).writer.save(path);
    const Bytes old = file_bytes(path);
    const SampleContainer larger(20000, 5);
    const uint64_t needed = larger.writer.to_bytes().size();
    for (uint64_t limit = 0; limit < needed; limit += needed / 13) {
        for (bool reserve : {true, false}) {
            const int result = in_child([&] {
                std::signal(SIGXFSZ, SIG_IGN);
                const rlimit size{limit, limit};
                if (::setrlimit(RLIMIT_FSIZE, &size) != 0) return 2;
                const Error error = error_of([&] {
                    if (reserve) return larger.writer.save(path);
                    save(path, larger.writer.to_bytes());
                });
                const std::string text = error.what();
                const bool told = text.find(path) != std::string::npos &&
                                  text.find(std::strerror(EFBIG)) != std::string::npos;
                return error.code() == StatusCode::Io && told ? 0 : 1;
            });
            ASSERT_EQ(result, 0) << limit;
            ASSERT_EQ(file_bytes(path), old) << limit;
            ASSERT_EQ(dir.entries(), 1u) << limit;
        }
    }
    larger.writer.save(path);
    EXPECT_EQ(file_bytes(path).size(), needed);
}

TEST(AtomicFile, OnAFullDiskLeavesTheOldFile) {
    const ScratchDir dir;
    constexpr int kNoMount = 77;
    const int result = in_child([&] {
        if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            return kNoMount;
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
        if (::mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=128k") != 0) return kNoMount;
        const std::string path = dir.file("x.nc");
        SampleContainer(100).writer.save(path);
        const Bytes old = file_bytes(path);
        const SampleContainer larger(20000, 5);
        for (bool reserve : {true, false}) {
            const Error error = error_of([&] {
                if (reserve) return larger.writer.save(path);
                save(path, larger.writer.to_bytes());
            });
            if (error.code() != StatusCode::Io) return 1;
            if (std::string(error.what()).find(std::strerror(ENOSPC)) == std::string::npos)
                return 2;
            if (file_bytes(path) != old) return 3;
            if (dir.entries() != 1) return 4;
        }
        return 0;
    });
    if (result == kNoMount) GTEST_SKIP() << "this process may not mount a small file system";
    EXPECT_EQ(result, 0);
}

TEST(AtomicFile, KilledWhileSavingLeavesTheOldOrTheNewFile) {
    const ScratchDir dir;
    const std::string path = dir.file("x.nc");
    const SampleContainer samples[2] = {SampleContainer(20000, 1), SampleContainer(30000, 100)};
    const Bytes contents[2] = {samples[0].writer.to_bytes(), samples[1].writer.to_bytes()};
    samples[0].writer.save(path);
    Random random(11);
    size_t interrupted = 0;
    for (int trial = 0; trial < 200; ++trial) {
        const pid_t child = ::fork();
        if (child == 0) {
            try {
                for (size_t i = 1;; ++i)
                    samples[i % 2].writer.save(path);
            } catch (...) {
            }
            ::_exit(1);
        }
        std::this_thread::sleep_for(std::chrono::microseconds(500 + random.below(8000)));
        ::kill(child, SIGKILL);
        int status = 0;
        ::waitpid(child, &status, 0);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the child could not save";
        Container::open(path).verify();
        const Bytes found = file_bytes(path);
        ASSERT_TRUE(found == contents[0] || found == contents[1]) << trial;
        for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
            if (entry.path() == path) continue;
            ++interrupted;
            std::filesystem::remove(entry.path());
        }
    }
    EXPECT_GT(interrupted, 20u) << "too few kills hit a save in progress to show anything";
}

TEST(AtomicFile, IsResumedByTheNextProcess) {
    const ScratchDir dir;
    const std::string path = dir.file("x"), part = AtomicFile::partial_path(path);
    {
        AtomicFile file(path, 0);
        file.append("abcdef", 6);
        file.sync();
        file.append("gh", 2);
    }
    EXPECT_EQ(dir.entries(), 1u);
    {
        AtomicFile file(path, 6);
        EXPECT_EQ(file.bytes(), 6u);
        EXPECT_EQ(file_bytes(part).size(), 6u);
        file.append("xy", 2);
        file.write_at(0, "A", 1);
        file.commit();
    }
    EXPECT_EQ(dir.entries(), 1u);
    EXPECT_EQ(file_bytes(path), (Bytes{'A', 'b', 'c', 'd', 'e', 'f', 'x', 'y'}));
    AtomicFile file(path, 0);
    file.append("1", 1);
    EXPECT_EQ(file_bytes(path).size(), 8u);
    file.discard();
    EXPECT_EQ(dir.entries(), 1u);
}

TEST(AtomicFile, KeepsApartWhatItsOwnersWrote) {
    const ScratchDir dir;
    const std::string path = dir.file("x");
    AtomicFile one(path, 0, "one"), two(path, 0, "two"), nobody(path, 0);
    one.append("1", 1);
    two.append("22", 2);
    EXPECT_EQ(file_bytes(AtomicFile::partial_path(path, "one")), (Bytes{'1'}));
    EXPECT_EQ(file_bytes(path + ".two.part"), (Bytes{'2', '2'}));
    EXPECT_EQ(error_of([&] { AtomicFile(path, 0, "two"); }).code(), StatusCode::Io);
    nobody.discard();
    two.commit();
    one.commit();
    EXPECT_EQ(file_bytes(path), (Bytes{'1'}));
    EXPECT_EQ(dir.entries(), 1u);
}

TEST(AtomicFile, IsResumedByOneAtATime) {
    const ScratchDir dir;
    const std::string path = dir.file("x");
    {
        const AtomicFile file(path, 0);
        const Error error = error_of([&] { AtomicFile(path, 0); });
        EXPECT_EQ(error.code(), StatusCode::Io);
        EXPECT_NE(std::string(error.what()).find("another process"), std::string::npos);
    }
    save(AtomicFile::partial_path(path), {1, 2, 3});
    EXPECT_EQ(error_of([&] { AtomicFile(path, 4); }).code(), StatusCode::Corrupt);
    EXPECT_EQ(file_bytes(AtomicFile::partial_path(path)), (Bytes{1, 2, 3}));
    AtomicFile(path, 3).commit();
    EXPECT_EQ(file_bytes(path), (Bytes{1, 2, 3}));
    ASSERT_EQ(::mkfifo(AtomicFile::partial_path(path).c_str(), 0600), 0);
    EXPECT_EQ(error_of([&] { AtomicFile(path, 0); }).code(), StatusCode::Io);
}

TEST(AtomicFile, AProcessThatWasKilledDoesNotKeepItsLock) {
    const ScratchDir dir;
    const std::string path = dir.file("x");
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        AtomicFile file(path, 0);
        file.append("abc", 3);
        if (::write(ready[1], "r", 1) == 1) ::pause();
        ::_exit(1);
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    EXPECT_EQ(error_of([&] { AtomicFile(path, 0); }).code(), StatusCode::Io);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    AtomicFile(path, 3).commit();
    EXPECT_EQ(file_bytes(path), (Bytes{'a', 'b', 'c'}));
    ::close(ready[0]);
    ::close(ready[1]);
}

TEST(AtomicFile, ThreadsSavingToOnePathDoNotMix) {
    const ScratchDir dir;
    const std::string path = dir.file("x.nc");
    std::vector<std::thread> threads;
    for (size_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            const SampleContainer sample(1000 + t, t);
            for (int i = 0; i < 10; ++i)
                sample.writer.save(path);
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    Container::open(path).verify();
    EXPECT_EQ(dir.entries(), 1u);
}

}  // namespace
}  // namespace nearcell
