// Memory that runs out anywhere in a changing operation leaves an index as it was. Every allocation
// of this program goes through the functions below, which fail once their allowance is spent.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <limits>
#include <new>

#include <nearcell/ivf/cell_memory.h>

#include "ivf/model.h"
#include "storage/scratch_dir.h"

namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
std::atomic<int64_t> allowance{kNoLimit};

bool may_allocate() { return allowance.load() == kNoLimit || allowance.fetch_sub(1) > 0; }

}  // namespace

// Not inlined: the compiler would take the pair for a mismatch.
__attribute__((noinline)) void* operator new(size_t size) {
    void* memory = may_allocate() ? std::malloc(size == 0 ? 1 : size) : nullptr;
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
// The library's own calls the one above, but a sanitizer's would not: all must match the deletes.
__attribute__((noinline)) void* operator new(size_t size, const std::nothrow_t&) noexcept {
    return may_allocate() ? std::malloc(size == 0 ? 1 : size) : nullptr;
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { std::free(memory); }

extern "C" void* aligned_alloc(size_t alignment, size_t size) noexcept {
    void* memory = nullptr;
    if (!may_allocate() || posix_memalign(&memory, alignment, size) != 0) return nullptr;
    return memory;
}

namespace nearcell {
namespace {

constexpr size_t kDim = 12;

struct Snapshot {
    std::vector<int64_t> ids, found;
    std::vector<float> scores;
    std::map<int64_t, std::vector<float>> stored;
    size_t size;
    bool operator==(const Snapshot&) const = default;
};

Snapshot snapshot(const CellIndex& index) {
    const std::vector<float> queries = random_rows(5, kDim, 99);
    SearchOptions options;
    options.k = 400;
    options.probes = index.options().cells;
    const SearchResult result =
        index.search(MatrixView<const float>(queries.data(), 5, kDim), options);
    return {index.ids(), result.ids, result.scores, stored_vectors(index), index.size()};
}

using Operation = std::function<void(CellIndex&, const CallOptions&)>;

// Fails the first, the second, ... allocation of the operation, until it succeeds.
void expect_all_or_nothing(const std::string& spec, bool mapped, const Operation& operation) {
    const ScratchDir dir;
    const std::string path = dir.file("index.nc");
    {
        const auto index = trained_index(spec, kDim, Metric::L2);
        const std::vector<float> x = random_rows(300, kDim, 2);
        index->add(MatrixView<const float>(x.data(), 300, kDim));
        index->save(path);
    }
    CallOptions call;
    call.threads = 1;
    const Snapshot before = snapshot(*CellIndex::open(path));
    for (int64_t allowed = 0;; ++allowed) {
        const auto index = CellIndex::open(path, mapped);
        bool failed = false;
        allowance = allowed;
        try {
            operation(*index, call);
        } catch (const std::bad_alloc&) {
            failed = true;
        }
        allowance = kNoLimit;
        if (!failed) {
            EXPECT_GT(allowed, 0);
            EXPECT_NE(snapshot(*index), before);
            return;
        }
        ASSERT_EQ(snapshot(*index), before) << "after " << allowed << " allocations";
    }
}

class OutOfMemory : public testing::TestWithParam<std::tuple<const char*, bool>> {
   protected:
    void expect(const Operation& operation) {
        expect_all_or_nothing(std::get<0>(GetParam()), std::get<1>(GetParam()), operation);
    }
    std::vector<float> x = random_rows(40, kDim, 3);
    MatrixView<const float> rows{x.data(), 40, kDim};
};

TEST_P(OutOfMemory, AddIsAllOrNothing) {
    expect([&](CellIndex& index, const CallOptions& call) { index.add(rows, {}, call); });
}

TEST_P(OutOfMemory, RemoveIsAllOrNothing) {
    expect([&](CellIndex& index, const CallOptions&) {
        index.remove(std::vector<int64_t>{1, 2, 5, 77, 150, 299});
    });
}

TEST_P(OutOfMemory, UpdateIsAllOrNothing) {
    const std::vector<int64_t> ids = [] {
        std::vector<int64_t> all(40);
        for (size_t i = 0; i < all.size(); ++i)
            all[i] = static_cast<int64_t>(i * 7);
        return all;
    }();
    expect([&](CellIndex& index, const CallOptions& call) { index.update(ids, rows, call); });
}

// What is trained already, and holds nothing, stays as it was, and works.
void expect_trained_or_not(const std::string& spec, Metric metric, const Operation& operation) {
    const std::vector<uint8_t> bytes = trained_index(spec, kDim, metric)->to_bytes();
    const std::vector<float> x = random_rows(30, kDim, 2);
    const MatrixView<const float> rows(x.data(), 30, kDim);
    CallOptions call;
    call.threads = 1;
    const auto other = CellIndex::from_bytes(bytes);
    other->add(rows);
    const Snapshot filled = snapshot(*other);
    for (int64_t allowed = 0;; ++allowed) {
        const auto index = CellIndex::from_bytes(bytes);
        bool failed = false;
        allowance = allowed;
        try {
            operation(*index, call);
        } catch (const std::bad_alloc&) {
            failed = true;
        }
        allowance = kNoLimit;
        if (!failed) {
            EXPECT_GT(allowed, 0);
            EXPECT_NE(index->to_bytes(), bytes);
            index->add(rows);
            EXPECT_EQ(snapshot(*index).size, 30u);
            return;
        }
        ASSERT_EQ(index->to_bytes(), bytes) << spec << " after " << allowed << " allocations";
        index->add(rows);
        ASSERT_EQ(snapshot(*index), filled) << spec << " after " << allowed << " allocations";
    }
}

constexpr std::pair<const char*, Metric> kTrained[] = {
    {"IVF9,Flat", Metric::L2},
    {"IVF9,SQ8", Metric::InnerProduct},
    {"PCA8,IVF9,PQ4x4fs,Refine(SQ8)", Metric::L2},
    {"RaBitQ,RFlat", Metric::L2},
};

TEST(OutOfMemoryTraining, TrainIsAllOrNothing) {
    const std::vector<float> x = random_rows(40, kDim, 3);
    for (const auto& [spec, metric] : kTrained) {
        expect_trained_or_not(spec, metric, [&](CellIndex& index, const CallOptions& call) {
            index.train(MatrixView<const float>(x.data(), 40, kDim), call);
        });
    }
}

TEST(OutOfMemoryTraining, SetTrainedIsAllOrNothing) {
    for (const auto& [spec, metric] : {kTrained[0], kTrained[1]}) {
        const auto other = make_index(spec, {.dim = kDim, .metric = metric});
        const std::vector<float> x = random_rows(100, kDim, 3);
        other->train(MatrixView<const float>(x.data(), 100, kDim));
        const std::vector<float> centroids = other->centroids(),
                                 parameters = other->codec_parameters();
        expect_trained_or_not(spec, metric, [&](CellIndex& index, const CallOptions&) {
            index.set_trained({centroids.data(), 9, kDim}, parameters);
        });
    }
}

TEST(CellMemory, ThatRunsOutLeavesContents) {
    constexpr CellShape kShape{2, 0};
    constexpr GatherLimits kLimits{1, 2000};
    const std::vector<size_t> sizes(12, 40);
    for (int64_t allowed = 0;; ++allowed) {
        std::vector<Cell> cells(12);
        for (Cell& cell : cells) {
            const std::vector<int64_t> ids = {4, 9};
            const std::vector<uint32_t> which = {0, 1}, codes = {1, 2, 3, 4};
            cell.grow(2, kShape);
            cell.set(0, which, {ids.data()}, codes.data(), nullptr, kShape);
        }
        allowance = allowed;
        bool failed = false;
        try {
            CellMemory(kLimits).make_room(cells, sizes, kShape, 1);
        } catch (const std::bad_alloc&) {
            failed = true;
        }
        allowance = kNoLimit;
        for (const Cell& cell : cells) {
            ASSERT_EQ(cell.size(), 2u);
            ASSERT_EQ(cell.ids()[1], 9);
            uint32_t code[2];
            cell.copy_code(1, code, kShape);
            ASSERT_EQ(code[0], 3u);
            ASSERT_EQ(code[1], 4u);
        }
        if (failed) continue;
        EXPECT_GT(allowed, 4);
        EXPECT_TRUE(cells[11].is_shared());
        return;
    }
}

INSTANTIATE_TEST_SUITE_P(Specs, OutOfMemory,
                         testing::Combine(testing::Values("IVF9,Flat", "IVF9,PQ4x4fs,RFlat"),
                                          testing::Bool()),
                         [](const auto& test) {
                             std::string name = std::get<0>(test.param);
                             std::replace(name.begin(), name.end(), ',', '_');
                             return name + (std::get<1>(test.param) ? "_mapped" : "_read");
                         });

}  // namespace
}  // namespace nearcell
