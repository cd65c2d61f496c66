// for_row_blocks: work on rows shared out to threads in blocks of fixed size, so that what is
// computed a block does not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstddef>

#include <nearcell/core/parallel.h>

namespace nearcell {

// Calls task(first, count) for consecutive blocks of at most `block` rows.
template <class Task>
void for_row_blocks(size_t rows, size_t block, int threads, const Task& task) {
    parallel_for((rows + block - 1) / block, threads,
                 [&](size_t i, int) { task(i * block, std::min(rows - i * block, block)); });
}

}  // namespace nearcell
