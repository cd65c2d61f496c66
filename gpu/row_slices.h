// run_in_slices: takes rows through the device some at a time, by turns in two sessions, so that
// one slice's rows are copied while another's are computed. With it the copies, by way of memory
// that the device reaches without a detour. For host code of the GPU backend; one thread a call.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/parallel.h>
#include <nearcell/gpu/session.h>

namespace nearcell::gpu {

// How many rows a slice of so many bytes has.
inline size_t rows_of_slice(size_t bytes, size_t bytes_a_row) {
    return std::max<size_t>(1, bytes / std::max<size_t>(1, bytes_a_row));
}

constexpr size_t kTaskValues = size_t{1} << 16;  // that a task copies

// Copies values by all threads.
template <class T>
void copy_values(const T* from, T* to, size_t count, int threads) {
    parallel_for((count + kTaskValues - 1) / kTaskValues, threads, [&](size_t task, int) {
        const size_t first = task * kTaskValues;
        std::copy_n(from + first, std::min(kTaskValues, count - first), to + first);
    });
}

// Copies rows whose strides may differ, by all threads.
inline void copy_rows(MatrixView<const float> from, MatrixView<float> to, int threads) {
    const size_t each = rows_of_slice(kTaskValues, from.cols);
    parallel_for((from.rows + each - 1) / each, threads, [&](size_t task, int) {
        const size_t first = task * each, count = std::min(each, from.rows - first);
        if (from.stride == from.cols && to.stride == to.cols) {
            std::memcpy(to.row(first), from.row(first), count * from.cols * sizeof(float));
            return;
        }
        for (size_t i = first; i < first + count; ++i)
            std::memcpy(to.row(i), from.row(i), from.cols * sizeof(float));
    });
}

// Rows one behind the other in `to`, which is the device's. The session's stream must not be at
// work: its memory for copies is used.
inline void upload_rows(Session& session, MatrixView<const float> rows, float* to, int threads) {
    auto* const between = session.upload.get<float>(rows.rows * rows.cols);
    copy_rows(rows, {between, rows.rows, rows.cols}, threads);
    simt::copy_to_device(to, between, rows.rows * rows.cols * sizeof(float), session.stream.get());
}

// The way back: download_rows() starts it, and take_rows() has the rows once the stream is done.
inline void download_rows(Session& session, const float* from, size_t count) {
    auto* const between = session.download.get<float>(count);
    simt::copy_to_host(between, from, count * sizeof(float), session.stream.get());
}
inline void take_rows(Session& session, MatrixView<float> out, int threads) {
    const auto* const between = session.download.get<float>(out.rows * out.cols);
    copy_rows({between, out.rows, out.cols}, out, threads);
}

// Work has start(session, first, count), which gives the stream its work, and finish(session,
// first, count), which is called when that is done. Slices finish in order.
template <class Work>
void run_in_slices(SessionPool& pool, size_t rows, size_t slice, Work& work) {
    struct Part {
        std::optional<SessionPool::Lease> session;  // the second only if there is a second slice
        size_t first = 0, count = 0;
    };
    Part parts[2];
    const auto finish = [&](Part& part) {
        if (part.count == 0) return;
        Session& session = **part.session;
        simt::synchronize(session.stream.get());
        work.finish(session, part.first, part.count);
        part.count = 0;
        session.scratch.start();
    };
    size_t turn = 0;
    for (size_t first = 0; first < rows; first += slice, turn = 1 - turn) {
        Part& part = parts[turn];
        finish(part);
        if (!part.session) part.session.emplace(pool.lease());
        part.first = first;
        part.count = std::min(slice, rows - first);
        work.start(**part.session, first, part.count);
    }
    finish(parts[turn]);
    finish(parts[1 - turn]);
    for (Part& part : parts) {
        if (part.session) part.session->done();
    }
}

}  // namespace nearcell::gpu
