// KeptRows: host rows that are on the device, too, for as long as somebody holds their copy
// (Backend::keep). Cost: a look at every copy there is, which are few. Thread safety: all calls may
// run at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/metric.h>
#include <nearcell/gpu/exact_search.h>
#include <nearcell/gpu/session.h>

namespace nearcell::gpu {

// Values on the device, which any stream may use. Of a stream that all share: to make one takes
// longer than to copy the rows.
struct KeptValues {
    KeptValues(size_t size, std::shared_ptr<OwnStream> shared)
        : stream(std::move(shared)), values(size, stream->get()) {
        simt::synchronize(stream->get());
    }
    std::shared_ptr<OwnStream> stream;
    DeviceArray<float> values;
};

// Rows that somebody holds, and where they are. Those that lie within others have the values of
// these, but a copy of their own: what the others' holder does with his rows afterwards is his.
struct KeptCopy {
    MatrixView<const float> host;
    std::shared_ptr<const KeptValues> there;
    size_t offset, stride;  // of the rows in the values

    float* data() const { return there->values.data() + offset; }

    // The rows as an exact search has them, made when first asked for, in some sessions.
    std::shared_ptr<const DeviceFlat> flat(Metric metric, SessionPool& sessions,
                                           int threads) const {
        const std::lock_guard lock(mutex_);
        std::shared_ptr<const DeviceFlat>& made = flats_[is_similarity(metric) ? 1 : 0];
        if (!made) {
            const DeviceFlatOptions options{.threads = threads};
            made = std::make_shared<const DeviceFlat>(host, metric, options, &sessions);
        }
        return made;
    }

    KeptCopy(MatrixView<const float> rows, std::shared_ptr<const KeptValues> values, size_t offset_,
             size_t stride_)
        : host(rows), there(std::move(values)), offset(offset_), stride(stride_) {}

   private:
    mutable std::mutex mutex_;
    mutable std::shared_ptr<const DeviceFlat> flats_[2];
};

// Rows within a copy, or no copy.
struct KeptPart {
    std::shared_ptr<const KeptCopy> copy;
    size_t offset = 0;  // of the first value, from the copy's

    explicit operator bool() const { return copy != nullptr; }
    const float* data() const { return copy->data() + offset; }
    size_t stride() const { return copy->stride; }
};

class KeptRows {
   public:
    // A copy that has these rows, or rows of which these are some columns.
    KeptPart find(MatrixView<const float> rows) const {
        const std::lock_guard lock(mutex_);
        for (const std::weak_ptr<const KeptCopy>& held : copies_) {
            KeptPart part{held.lock(), 0};
            if (part && lies_in(*part.copy, rows, part.offset)) return part;
        }
        return {};
    }
    void add(const std::shared_ptr<const KeptCopy>& copy) {
        const std::lock_guard lock(mutex_);
        std::erase_if(copies_, [](const auto& held) { return held.expired(); });
        copies_.push_back(copy);
    }

   private:
    static bool lies_in(const KeptCopy& copy, MatrixView<const float> rows, size_t& offset) {
        const MatrixView<const float>& all = copy.host;
        const auto begin = reinterpret_cast<uintptr_t>(all.data);
        const auto at = reinterpret_cast<uintptr_t>(rows.data);
        if (rows.rows == 0 || at < begin) return false;
        if (rows.rows > 1 && rows.stride != all.stride) return false;
        const size_t apart = (at - begin) / sizeof(float);
        const size_t row = apart / all.stride, column = apart % all.stride;
        offset = row * copy.stride + column;
        return row < all.rows && rows.rows <= all.rows - row && column + rows.cols <= all.cols;
    }

    mutable std::mutex mutex_;
    std::vector<std::weak_ptr<const KeptCopy>> copies_;
};

}  // namespace nearcell::gpu
