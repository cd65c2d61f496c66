// KeptRows: host rows that are on the device, too, for as long as somebody holds their copy
// (Backend::keep). Cost: a look at every copy there is, which are few. Thread safety: all calls may
// run at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <nearcell/core/matrix_view.h>
#include <nearcell/core/metric.h>
#include <nearcell/gpu/exact_search.h>
#include <nearcell/gpu/session.h>

namespace nearcell::gpu {

struct KeptCopy {
    explicit KeptCopy(MatrixView<const float> rows)
        : host(rows), values(rows.rows * rows.cols, stream.get()) {
        simt::synchronize(stream.get());  // other streams may use it
    }
    MatrixView<const float> host;
    OwnStream stream;
    DeviceArray<float> values;  // the rows, one behind the other

    // The rows as an exact search has them, made when first asked for.
    std::shared_ptr<const DeviceFlat> flat(Metric metric) const {
        const std::lock_guard lock(mutex_);
        std::shared_ptr<const DeviceFlat>& made = flats_[is_similarity(metric) ? 1 : 0];
        if (!made) made = std::make_shared<const DeviceFlat>(host, metric);
        return made;
    }

   private:
    mutable std::mutex mutex_;
    mutable std::shared_ptr<const DeviceFlat> flats_[2];
};

// Rows within a copy, or no copy.
struct KeptPart {
    std::shared_ptr<const KeptCopy> copy;
    size_t offset = 0;  // of the first value

    explicit operator bool() const { return copy != nullptr; }
    const float* data() const { return copy->values.data() + offset; }
    size_t stride() const { return copy->host.cols; }
};

class KeptRows {
   public:
    // A copy that has these rows, or rows of which these are some columns.
    KeptPart find(MatrixView<const float> rows) const {
        const std::lock_guard lock(mutex_);
        for (const std::weak_ptr<const KeptCopy>& held : copies_) {
            KeptPart part{held.lock(), 0};
            if (part && lies_in(part.copy->host, rows, part.offset)) return part;
        }
        return {};
    }
    void add(const std::shared_ptr<const KeptCopy>& copy) {
        const std::lock_guard lock(mutex_);
        std::erase_if(copies_, [](const auto& held) { return held.expired(); });
        copies_.push_back(copy);
    }

   private:
    static bool lies_in(MatrixView<const float> all, MatrixView<const float> rows, size_t& offset) {
        const auto begin = reinterpret_cast<uintptr_t>(all.data);
        const auto at = reinterpret_cast<uintptr_t>(rows.data);
        if (rows.rows == 0 || at < begin) return false;
        if (rows.rows > 1 && rows.stride != all.stride) return false;
        const size_t apart = (at - begin) / sizeof(float);
        const size_t row = apart / all.stride, column = apart % all.stride;
        offset = row * all.cols + column;
        return row < all.rows && rows.rows <= all.rows - row && column + rows.cols <= all.cols;
    }

    mutable std::mutex mutex_;
    std::vector<std::weak_ptr<const KeptCopy>> copies_;
};

}  // namespace nearcell::gpu
