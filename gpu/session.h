// Session: what one call uses of a device for itself: a stream, and scratch memory that the next
// call finds again. So calls of many threads run side by side, and after the first few nothing is
// allocated any more. A SessionPool keeps the sessions that nobody uses, until another one finds no
// memory. Thread safety: of a pool, all calls may run at once; of a session, one call at a time.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include <nearcell/gpu/device_array.h>

namespace nearcell::gpu {

// A stream that goes when its owner does.
class OwnStream {
   public:
    OwnStream() : stream_(simt::create_stream()) {}
    ~OwnStream() {
        try {
            simt::destroy_stream(stream_);
        } catch (...) {  // after a failure that was thrown already
        }
    }
    OwnStream(const OwnStream&) = delete;
    OwnStream& operator=(const OwnStream&) = delete;
    simt::Stream get() const { return stream_; }

   private:
    simt::Stream stream_;
};

// An event that goes when its owner does.
class OwnEvent {
   public:
    OwnEvent() : event_(simt::create_event()) {}
    ~OwnEvent() {
        try {
            simt::destroy_event(event_);
        } catch (...) {  // after a failure that was thrown already
        }
    }
    OwnEvent(const OwnEvent&) = delete;
    OwnEvent& operator=(const OwnEvent&) = delete;
    // What `later` is given from now on runs after what `earlier` has been given.
    void order(simt::Stream earlier, simt::Stream later) {
        simt::record_event(event_, earlier);
        simt::wait_for_event(later, event_);
    }

   private:
    simt::Event event_;
};

// Waits for a stream at its end, also when that comes by an exception: what the stream still reads
// and writes may go then.
class WaitAtEnd {
   public:
    explicit WaitAtEnd(simt::Stream stream) : stream_(stream) {}
    ~WaitAtEnd() {
        try {
            simt::synchronize(stream_);
        } catch (...) {  // after a failure that was thrown already
        }
    }
    WaitAtEnd(const WaitAtEnd&) = delete;
    WaitAtEnd& operator=(const WaitAtEnd&) = delete;

   private:
    simt::Stream stream_;
};

// Selects a device, and at its end the one that was selected before: it is the calling thread's
// choice, which other libraries go by.
class DeviceScope {
   public:
    explicit DeviceScope(int device) : device_(device), before_(simt::selected_device()) {
        simt::select_device(device);
    }
    ~DeviceScope() {
        if (before_ == device_) return;
        try {
            simt::select_device(before_);
        } catch (...) {  // after a failure that was thrown already
        }
    }
    DeviceScope(const DeviceScope&) = delete;
    DeviceScope& operator=(const DeviceScope&) = delete;

   private:
    int device_, before_;
};

class SessionPool;
void free_idle(SessionPool& pool);  // sessions

// make(), and where there is no memory for it, again(), when idle sessions have given theirs back.
template <class Make, class Again>
auto made_with_room(SessionPool* pool, const Make& make, const Again& again) {
    try {
        return make();
    } catch (const Error& error) {
        if (error.code() != StatusCode::OutOfMemory) throw;
    }
    if (pool != nullptr) free_idle(*pool);
    return again();
}
template <class Make>
auto made_with_room(SessionPool* pool, const Make& make) {
    return made_with_room(pool, make, make);
}

// Host memory that copies reach without a detour; grows as wanted, to powers of two where there is
// so much: all of a process wait while memory is pinned.
class PinnedBuffer {
   public:
    explicit PinnedBuffer(SessionPool* pool = nullptr) : pool_(pool) {}
    ~PinnedBuffer() { release(); }
    PinnedBuffer(const PinnedBuffer&) = delete;
    PinnedBuffer& operator=(const PinnedBuffer&) = delete;

    template <class T>
    T* get(size_t count) {
        if (count * sizeof(T) > bytes_) grow(count * sizeof(T));
        return static_cast<T*>(data_);
    }

   private:
    static constexpr size_t kLeastBytes = size_t{1} << 18;

    void grow(size_t wanted) {
        release();
        const auto allocate = [](size_t bytes) {
            return std::pair(simt::pinned_allocate(bytes), bytes);
        };
        std::tie(data_, bytes_) = made_with_room(
            pool_, [&] { return allocate(std::bit_ceil(std::max(wanted, kLeastBytes))); },
            [&] { return allocate(wanted); });
    }
    void release() noexcept {
        try {
            if (data_ != nullptr) simt::pinned_free(data_);
        } catch (...) {  // after a failure that was thrown already
        }
        data_ = nullptr;
        bytes_ = 0;
    }
    SessionPool* pool_;
    void* data_ = nullptr;
    size_t bytes_ = 0;
};

// Arrays of one call: the i-th that it takes is the i-th buffer, which is replaced when it is too
// small. Calls take theirs in the same order, so soon all are large enough.
class Scratch {
   public:
    Scratch(MemoryBudget& budget, simt::Stream stream, SessionPool& pool)
        : budget_(budget), stream_(stream), pool_(pool) {}

    void start() {
        next_ = 0;
        if (simt::kChecksMemory) buffers_.clear();  // so that each array has bounds of its own
    }
    // Unwritten. Valid until the next start() or rewind() before it.
    template <class T>
    T* take(size_t count) {
        const size_t bytes = count * sizeof(T);
        if (next_ == buffers_.size()) buffers_.emplace_back();
        DeviceArray<std::byte>& buffer = buffers_[next_++];
        if (buffer.data() == nullptr || buffer.size() < bytes) {
            buffer = DeviceArray<std::byte>();
            buffer = made_with_room(&pool_, [&] {
                return DeviceArray<std::byte>(bytes, stream_, budget_, budget_.words().call);
            });
        }
        return reinterpret_cast<T*>(buffer.data());
    }
    // What was taken since mark() is given back.
    size_t mark() const { return next_; }
    void rewind(size_t mark) {
        next_ = mark;
        if (simt::kChecksMemory) buffers_.resize(mark);
    }
    // The same, and gives its memory back to the device.
    void shrink(size_t mark) {
        next_ = mark;
        buffers_.resize(mark);
    }
    // Gives all memory back to the device.
    void clear() { buffers_.clear(); }
    // That all arrays have.
    size_t bytes() const {
        size_t sum = 0;
        for (const DeviceArray<std::byte>& buffer : buffers_)
            sum += buffer.bytes();
        return sum;
    }

   private:
    MemoryBudget& budget_;
    simt::Stream stream_;
    SessionPool& pool_;
    std::vector<DeviceArray<std::byte>> buffers_;
    size_t next_ = 0;
};

struct Session {
    Session(MemoryBudget& budget, SessionPool& pool)
        : scratch(budget, stream.get(), pool), upload(&pool), download(&pool) {}
    OwnStream stream;
    Scratch scratch;
    PinnedBuffer upload, download;
};

class SessionPool {
   public:
    explicit SessionPool(MemoryBudget& budget) : budget_(budget) {}

    // A session of the caller's own, which returns to the pool; not after a failure.
    class Lease {
       public:
        Lease(SessionPool& pool, std::unique_ptr<Session> session)
            : pool_(pool), session_(std::move(session)) {}
        ~Lease() {
            if (!session_) return;
            if (done_)
                pool_.give_back(std::move(session_));
            else
                const WaitAtEnd wait(session_->stream.get());
        }
        Lease(Lease&&) = default;
        Lease(const Lease&) = delete;
        Lease& operator=(const Lease&) = delete;
        Session& operator*() const { return *session_; }
        Session* operator->() const { return session_.get(); }
        void done() { done_ = true; }

       private:
        SessionPool& pool_;
        std::unique_ptr<Session> session_;
        bool done_ = false;
    };

    Lease lease() {
        std::unique_ptr<Session> session;
        {
            const std::lock_guard lock(mutex_);
            if (!idle_.empty()) {
                session = std::move(idle_.back());
                idle_.pop_back();
            }
        }
        if (!session) session = std::make_unique<Session>(budget_, *this);
        session->scratch.start();
        return {*this, std::move(session)};
    }
    // Gives the memory of idle sessions back.
    void clear() {
        std::vector<std::unique_ptr<Session>> idle;
        const std::lock_guard lock(mutex_);
        idle.swap(idle_);
    }

   private:
    void give_back(std::unique_ptr<Session> session) {
        const std::lock_guard lock(mutex_);
        idle_.push_back(std::move(session));
    }

    MemoryBudget& budget_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Session>> idle_;
};

inline void free_idle(SessionPool& pool) { pool.clear(); }

}  // namespace nearcell::gpu
