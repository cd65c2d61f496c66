// XXH3-64, the checksum of containers: finds damage, not malice (whoever can write the file can
// write its checksums). The only place that includes xxHash. Cost: about 10 GB/s. Thread safe.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nearcell {

uint64_t checksum(const void* data, size_t bytes);

}  // namespace nearcell
