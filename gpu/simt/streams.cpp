// Streams, events and copies of the emulated device, one call at a time. Work runs at once, or,
// with deferred streams, when the host waits: then in a seeded order that only each stream's own
// order and events restrict, so that a missing event can show.
#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <utility>

#include <nearcell/core/error.h>
#include <nearcell/gpu/simt/host.h>
#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {

struct EventState {
    uint64_t recorded = 0, reached = 0;
};

struct StreamQueue {
    struct Item {
        std::function<void()> work;  // empty: an event is reached or waited for
        EventState* event = nullptr;
        uint64_t number = 0;
        bool waits = false;
    };
    std::deque<Item> items;

    bool can_go_on() const {
        if (items.empty()) return false;
        const Item& next = items.front();
        return !next.waits || next.event->reached >= next.number;
    }
};

namespace {

StreamQueue default_stream;
std::vector<StreamQueue*> streams{&default_stream};
std::map<const char*, size_t> pinned;
Random stream_random(1);
uint64_t stream_seed = 1;

StreamQueue& queue_of(Stream stream) { return stream == nullptr ? default_stream : *stream; }

void run_next(StreamQueue& queue) {
    const StreamQueue::Item item = std::move(queue.items.front());
    queue.items.pop_front();
    if (item.work) {
        item.work();
    } else if (!item.waits) {
        item.event->reached = std::max(item.event->reached, item.number);
    }
}

void drain(StreamQueue& queue) {
    if (stream_seed != config().seed) {
        stream_seed = config().seed;
        stream_random = Random(stream_seed);
    }
    while (!queue.items.empty()) {
        std::vector<StreamQueue*> able;
        std::copy_if(streams.begin(), streams.end(), std::back_inserter(able),
                     [](const StreamQueue* other) { return other->can_go_on(); });
        if (able.empty()) {
            throw_fault(Fault::Deadlock,
                        "every stream with work waits for an event that nobody records");
        }
        run_next(*able[stream_random.below(able.size())]);
    }
}

}  // namespace

bool is_pinned(const void* host, size_t bytes) {
    const auto* const address = static_cast<const char*>(host);
    const auto after = pinned.upper_bound(address);
    if (after == pinned.begin()) return false;
    const auto& [begin, size] = *std::prev(after);
    return static_cast<size_t>(address - begin) + bytes <= size;
}

void empty_streams() {
    for (StreamQueue* const queue : streams)
        queue->items.clear();
}

void submit(Stream stream, std::function<void()> work) {
    const DeviceLock lock(device_mutex());
    if (config().deferred_streams) {
        queue_of(stream).items.push_back({std::move(work)});
    } else {
        work();
    }
}

Stream create_stream() {
    const DeviceLock lock(device_mutex());
    streams.push_back(new StreamQueue);
    ++counts.streams;
    return streams.back();
}

void destroy_stream(Stream stream) {
    const DeviceLock lock(device_mutex());
    drain(*stream);
    std::erase(streams, stream);
    delete stream;
}

void synchronize(Stream stream) {
    const DeviceLock lock(device_mutex());
    drain(queue_of(stream));
}

void synchronize_device() {
    const DeviceLock lock(device_mutex());
    for (size_t i = 0; i < streams.size(); ++i)
        drain(*streams[i]);
    drain(queue_of(Stream{}));
}

Event create_event() { return new EventState; }

void destroy_event(Event event) {
    const DeviceLock lock(device_mutex());
    for (size_t i = 0; i < streams.size(); ++i)
        drain(*streams[i]);
    delete event;
}

void record_event(Event event, Stream stream) {
    const DeviceLock lock(device_mutex());
    ++event->recorded;
    if (config().deferred_streams) {
        queue_of(stream).items.push_back({{}, event, event->recorded, false});
    } else {
        event->reached = event->recorded;
    }
}

void wait_for_event(Stream stream, Event event) {
    const DeviceLock lock(device_mutex());
    if (!config().deferred_streams || event->recorded == 0) return;
    queue_of(stream).items.push_back({{}, event, event->recorded, true});
}

void* device_allocate(size_t bytes, Stream) {
    const DeviceLock lock(device_mutex());
    return allocate_bytes(bytes);
}

void device_free(void* memory, Stream stream) {
    submit(stream, [=] { free_bytes(memory); });
}

size_t pinned_bytes() {
    const DeviceLock lock(device_mutex());
    size_t sum = 0;
    for (const auto& [begin, bytes] : pinned)
        sum += bytes;
    return sum;
}

void* pinned_allocate(size_t bytes) {
    const DeviceLock lock(device_mutex());
    const size_t used = pinned_bytes();
    check(bytes <= config().pinned_bytes && used <= config().pinned_bytes - bytes,
          StatusCode::OutOfMemory, "no pinned memory for ", bytes, " bytes: ", used, " of ",
          config().pinned_bytes, " are in use");
    char* const memory = new char[std::max<size_t>(bytes, 1)];
    pinned[memory] = bytes;
    ++counts.pinned_arrays;
    return memory;
}

void pinned_free(void* memory) {
    const DeviceLock lock(device_mutex());
    auto* const begin = static_cast<char*>(memory);
    if (pinned.erase(begin) == 0)
        throw_fault(Fault::InvalidCopy, "pinned_free: not a pinned allocation");
    delete[] begin;
}

void copy_to_device(void* device, const void* host, size_t bytes, Stream stream) {
    if (bytes == 0) return;
    const DeviceLock lock(device_mutex());
    const auto copy = [=](const void* from) {
        check_device_range(device, bytes, "copy_to_device");
        std::memcpy(device, from, bytes);
        host_wrote(device, bytes);
    };
    if (!config().deferred_streams || is_pinned(host, bytes)) {
        submit(stream, [=] { copy(host); });
        return;
    }
    // CUDA takes what is not pinned before it returns.
    const auto* const begin = static_cast<const char*>(host);
    submit(stream, [copy, taken = std::vector<char>(begin, begin + bytes)] { copy(taken.data()); });
}

void copy_to_host(void* host, const void* device, size_t bytes, Stream stream) {
    if (bytes == 0) return;
    submit(stream, [=] {
        check_device_range(device, bytes, "copy_to_host");
        std::memcpy(host, device, bytes);
    });
}

void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) {
    if (bytes == 0) return;
    submit(stream, [=] {
        check_device_range(to, bytes, "copy_on_device");
        check_device_range(from, bytes, "copy_on_device");
        std::memmove(to, from, bytes);
        host_wrote(to, bytes);
    });
}

void fill_bytes(void* device, unsigned char value, size_t bytes, Stream stream) {
    if (bytes == 0) return;
    submit(stream, [=] {
        check_device_range(device, bytes, "fill_bytes");
        std::memset(device, value, bytes);
        host_wrote(device, bytes);
    });
}

DeviceCount count_devices() { return {1, {}}; }
void select_device(int device) {
    if (device != 0) throw_fault(Fault::InvalidCopy, "select_device: the emulation has one");
}
int selected_device() { return 0; }
std::string device_model(int) { return "emulation"; }
DeviceProperties device_properties(int) { return device_properties(); }
MemoryState memory_state() {
    return {config().device_bytes, config().device_bytes - counters().device_bytes};
}
void keep_freed_memory() {}

DeviceProperties device_properties() {
    DeviceProperties properties;
    properties.architecture = config().architecture;
    properties.processors = 4;
    properties.memory_bytes = config().device_bytes;
    properties.shared_bytes_per_block = size_t{48} << 10;
    properties.most_shared_bytes_per_block = shared_memory_limit(config().architecture);
    properties.shared_bytes_per_processor = properties.most_shared_bytes_per_block + 1024;
    return properties;
}

}  // namespace nearcell::simt
