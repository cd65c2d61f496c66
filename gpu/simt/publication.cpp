// How one block may read what another has written: the writer fences and then touches a word by an
// atomic; the reader touches the same word later, by an atomic or a relaxed read. What was ordered
// before the writer's fence is ordered before what the reader's block does from then on. So a
// thread that speaks for its block fences behind the barrier, not before it: as PTX's memory model
// has it.
#include <algorithm>
#include <unordered_map>

#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {
namespace {

std::unordered_map<const void*, Known> publications;  // by the word that was touched

// The block as the current thread knows it now: itself, its warp by __syncwarp, others by barriers.
BlockHistory own_history() {
    const Thread& me = *current;
    const Block& block = *me.block;
    const size_t warps = block.warps.size(), mine = me.warp->number;
    BlockHistory history{{}, std::vector<std::array<uint32_t, kLanes>>(warps)};
    const auto heard = block.heard.begin() + static_cast<std::ptrdiff_t>(mine * warps);
    history.ticks.assign(heard, heard + static_cast<std::ptrdiff_t>(warps));
    std::copy_n(me.warp->clocks[me.lane], kLanes, history.clocks[mine].begin());
    return history;
}

BlockHistory joined(const BlockHistory& a, const BlockHistory& b) {
    const auto later = [](uint32_t x, uint32_t y) { return std::max(x, y); };
    BlockHistory both = a;
    std::transform(b.ticks.begin(), b.ticks.end(), both.ticks.begin(), both.ticks.begin(), later);
    for (size_t w = 0; w < b.clocks.size(); ++w) {
        std::transform(b.clocks[w].begin(), b.clocks[w].end(), both.clocks[w].begin(),
                       both.clocks[w].begin(), later);
    }
    return both;
}

void learn(Known& known, const Known& more) {
    for (const auto& [block, history] : more) {
        std::shared_ptr<const BlockHistory>& mine = known[block];
        if (mine == nullptr) {
            mine = history;
        } else if (mine != history) {
            mine = std::make_shared<const BlockHistory>(joined(*mine, *history));
        }
    }
}

}  // namespace

void prepare_publication() {
    Thread& me = *current;
    auto ready = std::make_shared<Known>(me.block->known);
    (*ready)[me.block->serial] = std::make_shared<const BlockHistory>(own_history());
    me.fenced = std::move(ready);
    ++me.warp->clocks[me.lane][me.lane];  // what comes now is not behind the fence
}

void publish_at(const void* address) {
    if (current->fenced != nullptr) learn(publications[address], *current->fenced);
}

void hear_at(const void* address) {
    if (publications.empty()) return;
    const auto found = publications.find(address);
    if (found != publications.end()) learn(current->block->known, found->second);
}

bool is_known(const Known& known, uint32_t block, unsigned thread, uint32_t tick, uint32_t clock) {
    const auto found = known.find(block);
    if (found == known.end()) return false;
    const BlockHistory& history = *found->second;
    const unsigned warp = thread / kLanes;
    return tick < history.ticks[warp] || clock <= history.clocks[warp][thread % kLanes];
}

void forget_publications() { publications.clear(); }

}  // namespace nearcell::simt
