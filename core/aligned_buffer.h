// AlignedBuffer<T>: a growable array of plain values that starts on a 64-byte line, the alignment
// every kernel may assume of stored blocks. Growth doubles. May instead be a view of memory that
// somebody else owns (a mapped file): the first change then copies it; or lie in memory that many
// buffers share (move_to), until it outgrows its place there. Not thread safe.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <nearcell/core/large_pages.h>

namespace nearcell {

template <class T>
class AlignedBuffer {
    static_assert(std::is_trivially_copyable_v<T>);

   public:
    AlignedBuffer() = default;
    explicit AlignedBuffer(size_t size) { resize(size); }
    AlignedBuffer(const AlignedBuffer& other) { assign(other.data(), other.size()); }
    AlignedBuffer(AlignedBuffer&& other) noexcept { swap(other); }
    AlignedBuffer& operator=(AlignedBuffer other) noexcept {
        swap(other);
        return *this;
    }
    ~AlignedBuffer() = default;

    // A view of memory that outlives this buffer and all its copies' sources.
    static AlignedBuffer view(const T* data, size_t size) {
        AlignedBuffer buffer;
        buffer.data_ = const_cast<T*>(data);  // only written after own() has copied it
        buffer.size_ = size;
        return buffer;
    }

    const T* data() const { return data_; }
    T* mutable_data() {
        own(size_);
        return data_;
    }
    size_t size() const { return size_; }
    size_t capacity_bytes() const { return capacity_ * sizeof(T); }
    bool is_view() const { return size_ != 0 && capacity_ == 0; }
    bool is_shared() const { return owned_.get_deleter().keeper != nullptr; }
    const T& operator[](size_t i) const { return data_[i]; }

    // New elements are zero.
    void resize(size_t size) {
        own(size > size_ ? size : size_);
        if (size > size_)
            std::memset(static_cast<void*>(data_ + size_), 0, (size - size_) * sizeof(T));
        size_ = size;
    }
    // New elements may have any value: the caller writes them before any are read, and so the
    // threads that do have the system give the memory, not the calling one.
    void resize_for_overwrite(size_t size) {
        own(size > size_ ? size : size_);
        size_ = size;
    }
    void reserve(size_t capacity) { own(capacity > size_ ? capacity : size_, true); }
    void assign(const T* data, size_t size) {
        AlignedBuffer fresh{};  // nvcc warns without the braces
        fresh.own(size, true);
        if (size != 0) std::memcpy(static_cast<void*>(fresh.data_), data, size * sizeof(T));
        fresh.size_ = size;
        swap(fresh);
    }
    // Copies the elements to a line of memory with room for `capacity` of them, at least size().
    // Others may use the rest of that memory; it stays as long as any of them holds the keeper,
    // which a buffer without room does not.
    void move_to(T* memory, size_t capacity, std::shared_ptr<const void> keeper) noexcept {
        if (capacity == 0) {
            AlignedBuffer().swap(*this);
            return;
        }
        if (size_ != 0) std::memcpy(static_cast<void*>(memory), data_, size_ * sizeof(T));
        owned_ = Memory(memory, Free{std::move(keeper)});
        data_ = memory;
        capacity_ = capacity;
    }
    void swap(AlignedBuffer& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
        std::swap(owned_, other.owned_);
    }

   private:
    struct Free {
        std::shared_ptr<const void> keeper;  // of memory that others use, too; null: it is ours
        void operator()(T* pointer) const {
            if (keeper == nullptr) std::free(pointer);
        }
    };
    using Memory = std::unique_ptr<T, Free>;

    // Makes the memory ours with room for `needed` elements.
    void own(size_t needed, bool exact = false) {
        if (needed <= capacity_) return;
        size_t capacity = needed;
        if (!exact && capacity < 2 * capacity_) capacity = 2 * capacity_;
        if (capacity > (static_cast<size_t>(-1) - 64) / sizeof(T)) throw std::bad_alloc();
        const size_t bytes = (capacity * sizeof(T) + 63) / 64 * 64;
        T* fresh = static_cast<T*>(allocate_aligned(64, bytes));
        if (fresh == nullptr) throw std::bad_alloc();
        if (size_ != 0) std::memcpy(static_cast<void*>(fresh), data_, size_ * sizeof(T));
        owned_ = Memory(fresh, Free{});
        data_ = fresh;
        capacity_ = bytes / sizeof(T);
    }

    T* data_ = nullptr;
    size_t size_ = 0;
    size_t capacity_ = 0;  // 0 while this is a view
    Memory owned_;
};

}  // namespace nearcell
