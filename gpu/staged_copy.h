// StagedCopy: many pieces of host memory to a device, gathered in pinned memory by all threads, so
// that what is neighbours there is one copy. For host code of the GPU backend. Cost: one reading
// and writing in host memory, then the bus. One thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include <nearcell/core/parallel.h>
#include <nearcell/gpu/session.h>

namespace nearcell::gpu {

class StagedCopy {
   public:
    StagedCopy(simt::Stream stream, int threads, size_t buffer_bytes = size_t{32} << 20)
        : stream_(stream), threads_(threads), buffer_bytes_(buffer_bytes) {}

    // What is at `from` must stay until finish().
    void add(void* to, const void* from, size_t bytes) {
        auto* target = static_cast<char*>(to);
        const auto* source = static_cast<const char*>(from);
        while (bytes > 0) {
            if (used_ == buffer_bytes_) finish();
            const size_t part = std::min(bytes, buffer_bytes_ - used_);
            pieces_.push_back({target, source, part, used_});
            used_ += part;
            target += part;
            source += part;
            bytes -= part;
        }
    }

    // Copies what was added, and waits for it.
    void finish() {
        if (pieces_.empty()) return;
        char* const staged = buffer_.get<char>(used_);
        constexpr size_t kPieces = 16;  // a task
        parallel_for((pieces_.size() + kPieces - 1) / kPieces, threads_, [&](size_t task, int) {
            for (size_t i = task * kPieces; i < std::min(pieces_.size(), (task + 1) * kPieces); ++i)
                std::memcpy(staged + pieces_[i].offset, pieces_[i].from, pieces_[i].bytes);
        });
        for (size_t i = 0; i < pieces_.size();) {
            const Piece& first = pieces_[i];
            size_t bytes = 0;
            while (i < pieces_.size() && pieces_[i].to == first.to + bytes)
                bytes += pieces_[i++].bytes;
            simt::copy_to_device(first.to, staged + first.offset, bytes, stream_);
        }
        simt::synchronize(stream_);
        pieces_.clear();
        used_ = 0;
    }

   private:
    struct Piece {
        char* to;
        const char* from;
        size_t bytes, offset;
    };
    simt::Stream stream_;
    int threads_;
    size_t buffer_bytes_, used_ = 0;
    PinnedBuffer buffer_;
    std::vector<Piece> pieces_;
};

}  // namespace nearcell::gpu
