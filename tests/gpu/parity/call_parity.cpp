// How calls to a device go: the same bits every time, from several threads, in little memory, and
// between arrays that lie on the device.
#include <algorithm>
#include <limits>
#include <thread>

#include <nearcell/core/error.h>
#include <nearcell/gpu/device_array.h>
#include "parity_case.h"

namespace nearcell::parity {
namespace {

using gpu::DeviceArray;
using CallParity = ParityTest;

TEST_F(CallParity, TheSameBitsEveryTime) {
    for (const char* pattern : {"IVF%,Flat", "IVF%,SQ8", "IVF%,PQ#x4", "IVF%,RaBitQ,RFlat"}) {
        const auto index = make(spec_of(pattern), Metric::L2);
        SearchOptions options;
        options.k = 10;
        options.probes = 5;
        index->to("cuda:0", device_options());
        SearchResult first = search(*index, options);
        const bool is_proven = std::string(pattern).find("RaBitQ") == std::string::npos;
        for (size_t i = 1; i < size().repetitions; ++i) {
            if (i % 5 == 0) {  // these change what a search costs, never what it returns
                DeviceOptions other;
                other.chunk_blocks = i / 5;
                other.scratch_bytes = size_t{1} << (17 + i / 5);
                index->to("cuda:0", other);
                // But where bounds of codes may fail, which depends on the order of the search.
                if (!is_proven) first = search(*index, options);
            }
            expect_equal(search(*index, options), first,
                         std::string(pattern) + ", search " + std::to_string(i));
        }
    }
}

TEST_F(CallParity, TwoThreadsSearchOneIndex) {
    const auto index = make(spec_of("IVF%,PQ#,RFlat"), Metric::L2);
    index->to("cuda:0", device_options());
    constexpr size_t kThreads = 2;
    std::vector<SearchOptions> options(kThreads);
    std::vector<SearchResult> alone;
    for (size_t t = 0; t < kThreads; ++t) {
        options[t].k = 3 + 9 * t;
        options[t].probes = 2 + 4 * t;
        alone.push_back(search(*index, options[t]));
    }
    std::vector<std::vector<SearchResult>> found(kThreads);
    std::vector<std::string> failures(kThreads);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            try {
                for (int i = 0; i < 5; ++i)
                    found[t].push_back(search(*index, options[t]));
            } catch (const std::exception& error) {
                failures[t] = error.what();
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    for (size_t t = 0; t < kThreads; ++t) {
        ASSERT_EQ(failures[t], "");
        ASSERT_EQ(found[t].size(), 5u);
        for (const SearchResult& result : found[t])
            expect_equal(result, alone[t], "thread " + std::to_string(t));
    }
}

TEST_F(CallParity, LittleMemoryIsSaidAndChangesNothing) {
    // Of few vectors: memory for little more than the centroids makes a part of every sixteen.
    const auto index = make_index(spec_of("IVF%,Flat"), {size().dim, Metric::L2, 5});
    const MatrixView<const float> rows = base_.view().slice(0, std::min<size_t>(2000, size().rows));
    index->train(rows);
    index->add(rows);
    const std::vector<uint8_t> before = index->to_bytes();
    const SearchResult truth = search(*index, {});
    DeviceOptions options = device_options();
    options.memory_bytes = 1000;  // less than the centroids take; then the codes come in parts
    size_t refusals = 0;
    for (bool done = false; !done; options.memory_bytes *= 2) {
        ASSERT_LE(options.memory_bytes, size_t{1} << 30);
        index->to("cuda:0", options);
        try {
            expect_close(search(*index, {}), truth, "in little memory");
            done = true;
        } catch (const Error& error) {
            ++refusals;
            ASSERT_EQ(error.code(), StatusCode::OutOfMemory) << error.what();
            EXPECT_NE(std::string(error.what()).find(std::to_string(options.memory_bytes)),
                      std::string::npos)
                << error.what();
        }
    }
    EXPECT_GE(refusals, 2u);
    EXPECT_EQ(index->to_bytes(), before);
    index->to("cpu");
    expect_equal(search(*index, {}), truth, "on the CPU again");
}

TEST_F(CallParity, ArraysOnTheDevice) {
    const auto index = make(spec_of("IVF%,SQ8"), Metric::L2);
    SearchOptions options;
    options.k = 7;
    options.probes = 4;
    index->to("cuda:0", device_options());
    const SearchResult truth = search(*index, options);
    const simt::Stream stream = simt::create_stream();
    {
        const size_t places = size().queries * options.k;
        DeviceArray<float> queries(queries_.values.size(), stream), scores(places, stream);
        DeviceArray<int64_t> ids(places, stream);
        DeviceBatch batch;
        batch.queries = Vectors(queries.data(), ElementType::Float32, size().queries, size().dim);
        batch.scores = scores.data();
        batch.ids = ids.data();
        batch.on_device = true;
        batch.stream = stream;
        // The copy may not be done when the search is asked for.
        queries.copy_from(queries_.values.data(), queries_.values.size());
        EXPECT_EQ(index->search_into(batch, options).probes, options.probes);
        SearchResult found = truth;
        std::fill(found.scores.begin(), found.scores.end(), 0.0f);
        std::fill(found.ids.begin(), found.ids.end(), -1);
        scores.copy_to(found.scores.data(), places);
        ids.copy_to(found.ids.data(), places);
        simt::synchronize(stream);
        expect_equal(found, truth, "arrays on the device");

        std::vector<float> bad = queries_.values;
        bad[3 * size().dim + 5] = std::numeric_limits<float>::quiet_NaN();
        queries.copy_from(bad.data(), bad.size());
        try {
            index->search_into(batch, options);
            ADD_FAILURE() << "no error";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), StatusCode::NonFinite);
            EXPECT_NE(std::string(error.what()).find("queries[3, 5]"), std::string::npos);
        }
        simt::synchronize(stream);
    }
    simt::destroy_stream(stream);
}

}  // namespace
}  // namespace nearcell::parity
