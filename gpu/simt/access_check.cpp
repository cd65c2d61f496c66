// What is checked of each access of an instrumented kernel: that the address is inside a variable
// or a live allocation, that somebody has written there, and that no other thread's access to the
// same bytes is left unordered by barriers. So a missing barrier is found in any order of threads.
//
// Ordered are: accesses of one thread; of one block, when a barrier that both threads' warps took
// part in lies between; of two lanes of a warp, by __syncwarp between; of different blocks, as
// publication.cpp says. Shuffles order nothing, as on a GPU. Of each 4-byte word the last two
// writes and reads are remembered.
#include <algorithm>
#include <sstream>
#include <string>

#include <sys/mman.h>

#include <nearcell/core/error.h>
#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {
namespace {

constexpr uint8_t kAllBytes = 15;  // of a word, one bit each

struct Stamp {  // an access; block 0: none
    uint32_t block;
    uint16_t thread;
    uint8_t bytes;
    bool atomic;
    uint32_t tick, clock;
    uint32_t code;
};
struct History {
    Stamp writes[2], reads[2];
};

// Of each word of the arena; zeros mean that nothing has happened.
struct ShadowMemory {
    History* history = nullptr;
    uint8_t* written = nullptr;  // low four bits: these bytes are; high: a copy is writing them
};

ShadowMemory shadow;

template <class T>
T* reserve(size_t count) {
    void* const memory = ::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(memory != MAP_FAILED, StatusCode::OutOfMemory, "the emulation cannot reserve addresses");
    return static_cast<T*>(memory);
}

// Calls visit(word, its bytes of [address, address + bytes) as bits).
template <class Visit>
void for_each_word(const void* address, size_t bytes, const Visit& visit) {
    auto at = static_cast<size_t>(static_cast<const char*>(address) - arena().begin);
    while (bytes > 0) {
        const size_t first = at % kShadowWord, count = std::min(kShadowWord - first, bytes);
        visit(at / kShadowWord, static_cast<uint8_t>(((1u << count) - 1) << first));
        at += count;
        bytes -= count;
    }
}

bool is_shared(const char* address) { return address < arena().device; }

std::string place_text(const char* address) {
    std::ostringstream text;
    if (is_shared(address)) {
        const Block& block = *current->block;
        const SharedVariable* const found = find_shared(block, address, 1);
        text << "shared memory";
        if (found == nullptr) return text.str();
        text << " (" << found->name << ", byte "
             << static_cast<size_t>(address - block.shared) - found->offset << ')';
        return text.str();
    }
    text << "global memory";
    if (const Allocation* const found = find_allocation(address)) {
        text << " (allocation " << found->number << " of " << found->bytes << " bytes, byte "
             << address - found->address << ')';
    }
    return text.str();
}

const char* verb(bool write) { return write ? "write" : "read"; }

bool is_ordered(const Stamp& before, const Thread& now, bool shared) {
    if (before.block < launch_state.first_serial) return true;
    const Block& block = *now.block;
    if (before.block != block.serial) {  // in shared memory: a block that was here before
        return shared ||
               is_known(block.known, before.block, before.thread, before.tick, before.clock);
    }
    if (before.thread == now.number) return true;
    const unsigned warp = before.thread / kLanes;
    if (before.tick < block.heard[now.warp->number * block.warps.size() + warp]) return true;
    return warp == now.warp->number &&
           before.clock <= now.warp->clocks[now.lane][before.thread % kLanes];
}

const Stamp* find_conflict(const Stamp (&stamps)[2], const Stamp& now, bool shared) {
    for (const Stamp& before : stamps) {
        const bool both_atomic = before.atomic && now.atomic;
        if ((before.bytes & now.bytes) != 0 && !both_atomic &&
            !is_ordered(before, *current, shared))
            return &before;
    }
    return nullptr;
}

// Takes the place of the last one where that can tell no more than this one does.
void remember(Stamp (&stamps)[2], const Stamp& now, bool shared) {
    const Stamp& last = stamps[0];
    const bool covered = (last.bytes & ~now.bytes) == 0;
    if (!covered || !is_ordered(last, *current, shared)) stamps[1] = last;
    stamps[0] = now;
}

void record_race(const char* address, const Stamp& before, bool wrote, bool write,
                 const void* code) {
    std::ostringstream text;
    text << verb(write) << " of " << place_text(address) << " by thread " << current->number
         << " and " << verb(wrote) << " by thread " << before.thread << " of ";
    if (before.block == current->block->serial) {
        text << "the same block, with no barrier between";
    } else {
        text << "another block, which no fence and atomic between orders";
    }
    record_fault(Fault::Race, text.str(), code, before.code);
}

void record_unwritten(const char* address, bool in_copy, const void* code) {
    record_fault(Fault::UnwrittenRead,
                 "read of " + place_text(address) +
                     (in_copy ? ", which a cp_async that nobody has waited for is writing"
                              : ", which nothing has written"),
                 code);
}

void record_beside_allocation(const char* address, size_t bytes, bool write, const void* code) {
    std::ostringstream text;
    text << verb(write) << " of " << bytes << " bytes of global memory";
    const Allocation* found = find_allocation(address);
    const bool freed = found != nullptr && !found->live;
    // An address behind the end is in the gap that follows its allocation.
    if (found == nullptr) found = find_allocation(address - 256);
    if (found != nullptr) {
        text << " at byte " << address - found->address << " of allocation " << found->number
             << " of " << found->bytes << " bytes" << (freed ? ", which has been freed" : "");
    }
    record_fault(freed ? Fault::UseAfterFree : Fault::OutOfBounds, text.str(), code);
}

// A kernel may read the program's constants and its own arguments besides device memory and what
// the host has pinned.
bool is_known_host_memory(const char* address) {
    if (address >= &__executable_start && address < &_end) return true;
    const char* const closure = static_cast<const char*>(launch_state.closure);
    return address >= closure && address < closure + launch_state.closure_bytes;
}

bool is_within(const char* address, size_t bytes) {
    if (is_shared(address)) return find_shared(*current->block, address, bytes) != nullptr;
    const Allocation* const found = find_allocation(address);
    return found != nullptr && found->live &&
           static_cast<size_t>(address - found->address) + bytes <= found->bytes;
}

// Records what is wrong with the address, if anything is.
bool is_bad_address(const char* address, size_t bytes, bool write, const void* code) {
    const bool power = (bytes & (bytes - 1)) == 0;
    if (power && (reinterpret_cast<uintptr_t>(address) & (bytes - 1)) != 0) {
        record_fault(Fault::Misaligned,
                     std::string(verb(write)) + " of " + std::to_string(bytes) +
                         " bytes at an address that is no multiple of it",
                     code);
    } else if (is_within(address, bytes)) {
        return false;
    } else if (is_shared(address)) {
        record_fault(Fault::OutOfBounds,
                     std::string(verb(write)) + " of " + std::to_string(bytes) +
                         " bytes beside the block's shared variables",
                     code);
    } else {
        record_beside_allocation(address, bytes, write, code);
    }
    return true;
}

Stamp stamp_now(bool atomic, const void* code) {
    const Thread& me = *current;
    return {me.block->serial,
            static_cast<uint16_t>(me.number),
            0,
            atomic,
            me.warp->tick,
            me.warp->clocks[me.lane][me.lane],
            code_address(code)};
}

// False when there is a fault.
bool check_word(size_t word, bool write, const Stamp& now, const void* code) {
    History& history = shadow.history[word];
    const uint8_t written = shadow.written[word];
    const char* const address = arena().begin + word * kShadowWord;
    const bool shared = is_shared(address);
    if (const Stamp* const before = find_conflict(history.writes, now, shared)) {
        record_race(address, *before, true, write, code);
        return false;
    }
    if (write) {
        if (const Stamp* const before = find_conflict(history.reads, now, shared)) {
            record_race(address, *before, false, write, code);
            return false;
        }
    }
    const unsigned in_copy = written >> 4 & now.bytes, missing = now.bytes & ~written & kAllBytes;
    // An atomic reads, too; only a plain write may meet bytes that nothing has written.
    if ((!write || now.atomic) && missing != 0) {
        record_unwritten(address, in_copy != 0, code);
        return false;
    }
    if (write) {
        shadow.written[word] = static_cast<uint8_t>(written | now.bytes);
        remember(history.writes, now, shared);
    } else {
        remember(history.reads, now, shared);
    }
    return true;
}

}  // namespace

void reserve_shadow(size_t words) { shadow = {reserve<History>(words), reserve<uint8_t>(words)}; }

// The history stays: what is of an earlier launch, or of an earlier block here, is known by its
// number.
void forget_memory(const void* address, size_t bytes) {
    for_each_word(address, bytes, [](size_t word, uint8_t mask) {
        uint8_t& written = shadow.written[word];
        written = static_cast<uint8_t>(written & ~(mask | mask << 4));
    });
}

void drop_history(const char* begin, const char* end) {
    const size_t first = static_cast<size_t>(begin - arena().begin) / kShadowWord;
    const size_t last = static_cast<size_t>(end - arena().begin) / kShadowWord;
    drop_pages(&shadow.history[first], &shadow.history[last]);
}

void host_wrote(const void* address, size_t bytes) {
    for_each_word(address, bytes, [](size_t word, uint8_t mask) { shadow.written[word] |= mask; });
}

void check_access(const void* address, size_t bytes, bool write, bool atomic, const void* code) {
    const char* const begin = static_cast<const char*>(address);
    if (static_cast<size_t>(begin - current->stack) < current->stack_bytes)
        return;  // a local variable
    ++counts.accesses;
    const bool pinned = !arena().contains(begin) && is_pinned(begin, bytes);
    if (!pinned && !arena().contains(begin)) {
        if (is_known_host_memory(begin)) return;
        record_fault(Fault::HostMemory,
                     std::string(verb(write)) + " of " + std::to_string(bytes) + " bytes", code);
        abandon();
    }
    if (!current->has_waited && (pinned || !is_shared(begin))) {
        record_fault(Fault::MissedWait,
                     std::string(verb(write)) + " of " +
                         (pinned ? "pinned memory" : place_text(begin)) +
                         ", launched early, before wait_for_previous()",
                     code);
        abandon();
    }
    if (pinned) return;  // which the host may have written
    if (is_bad_address(begin, bytes, write, code)) abandon();
    Stamp now = stamp_now(atomic, code);
    bool fine = true;
    for_each_word(begin, bytes, [&](size_t word, uint8_t mask) {
        now.bytes = mask;
        fine = fine && check_word(word, write, now, code);
    });
    if (!fine) abandon();
}

void async_copy_begins(const void* address, size_t bytes, const void* code) {
    check_access(address, bytes, true, false, code);
    for_each_word(address, bytes, [](size_t word, uint8_t mask) {
        uint8_t& written = shadow.written[word];
        written = static_cast<uint8_t>((written & ~mask) | mask << 4);
    });
}

// Now the bytes are there, for this thread; for others after the next barrier.
void async_copy_ends(const void* address, size_t bytes, const void* code) {
    Stamp now = stamp_now(false, code);
    for_each_word(address, bytes, [&](size_t word, uint8_t mask) {
        now.bytes = mask;
        remember(shadow.history[word].writes, now, true);
        uint8_t& written = shadow.written[word];
        written = static_cast<uint8_t>((written | mask) & ~(mask << 4));
    });
}

}  // namespace nearcell::simt
