// Operations of a warp: lanes wait until all that their mask names are there, then values are
// exchanged. Nothing orders memory but __syncwarp, as on a GPU.
#include <algorithm>
#include <cstring>
#include <string>

#include <nearcell/gpu/simt/cuda_warp.h>
#include <nearcell/gpu/simt/runtime.h>

namespace nearcell::simt {
namespace {

std::string hex(uint32_t mask) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text = "0x";
    for (int shift = 28; shift >= 0; shift -= 4)
        text += kDigits[(mask >> shift) & 15u];
    return text;
}

bool has(uint32_t lanes, unsigned lane) { return ((lanes >> lane) & 1u) != 0; }

// The lanes hear of each other's accesses so far.
void order_lanes(Warp& warp, uint32_t lanes) {
    uint32_t joined[kLanes] = {};
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        if (!has(lanes, lane)) continue;
        for (unsigned of = 0; of < kLanes; ++of)
            joined[of] = std::max(joined[of], warp.clocks[lane][of]);
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        if (!has(lanes, lane)) continue;
        std::memcpy(warp.clocks[lane], joined, sizeof joined);
        ++warp.clocks[lane][lane];
    }
}

void complete(Warp& warp, size_t at) {
    const Meeting meeting = warp.meetings[at];
    warp.meetings.erase(warp.meetings.begin() + static_cast<std::ptrdiff_t>(at));
    if (meeting.operation != nullptr) {
        meeting.operation(meeting.data, meeting.arrived);
    } else {
        order_lanes(warp, meeting.arrived);
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        if (has(meeting.arrived, lane)) make_ready(warp.lanes[lane]);
    }
}

bool bad_meeting(uint32_t mask, SiteKind kind, const Meeting* meeting, CodeLine where) {
    if (!has(mask, current->lane)) {
        record_fault(
            Fault::BadMask,
            "lane " + std::to_string(current->lane) + " is not in its own mask " + hex(mask),
            where);
        return true;
    }
    if (meeting != nullptr && meeting->kind != kind) {
        record_fault(Fault::BadMask,
                     "other lanes of mask " + hex(mask) + " are in another operation, at " +
                         meeting->where.file + ':' + std::to_string(meeting->where.line),
                     where);
        return true;
    }
    return false;
}

struct ShuffleLane {
    uint64_t value, result;
    unsigned from;
    bool absent;
};

void shuffle_lanes(const LaneData& data, uint32_t arrived) {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        if (!has(arrived, lane)) continue;
        auto* const mine = static_cast<ShuffleLane*>(data[lane]);
        mine->absent = !has(arrived, mine->from);
        if (!mine->absent) mine->result = static_cast<ShuffleLane*>(data[mine->from])->value;
    }
}

struct VoteLane {
    uint64_t value;
    uint32_t result;
};

void ballot_lanes(const LaneData& data, uint32_t arrived) {
    uint32_t votes = 0;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        if (has(arrived, lane) && static_cast<VoteLane*>(data[lane])->value != 0)
            votes |= 1u << lane;
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        if (has(arrived, lane)) static_cast<VoteLane*>(data[lane])->result = votes;
    }
}

void match_lanes(const LaneData& data, uint32_t arrived) {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        if (!has(arrived, lane)) continue;
        auto* const mine = static_cast<VoteLane*>(data[lane]);
        mine->result = 0;
        for (unsigned other = 0; other < kLanes; ++other) {
            const bool equal =
                has(arrived, other) && static_cast<VoteLane*>(data[other])->value == mine->value;
            mine->result |= equal ? 1u << other : 0u;
        }
    }
}

struct ReduceLane {
    uint32_t value;
    WarpReduction reduction;
};

uint32_t reduce_two(WarpReduction reduction, uint32_t a, uint32_t b) {
    switch (reduction) {
        case WarpReduction::Add: return a + b;
        case WarpReduction::Min: return std::min(a, b);
        case WarpReduction::Max: return std::max(a, b);
        case WarpReduction::SignedMin:
            return static_cast<uint32_t>(std::min(static_cast<int>(a), static_cast<int>(b)));
        case WarpReduction::SignedMax:
            return static_cast<uint32_t>(std::max(static_cast<int>(a), static_cast<int>(b)));
        case WarpReduction::And: return a & b;
        case WarpReduction::Or: return a | b;
        case WarpReduction::Xor: return a ^ b;
    }
    return 0;
}

void reduce_lanes(const LaneData& data, uint32_t arrived) {
    const ReduceLane* first = nullptr;
    uint32_t sum = 0;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        if (!has(arrived, lane)) continue;
        const auto* const mine = static_cast<const ReduceLane*>(data[lane]);
        sum = first == nullptr ? mine->value : reduce_two(first->reduction, sum, mine->value);
        if (first == nullptr) first = mine;
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        if (has(arrived, lane)) static_cast<ReduceLane*>(data[lane])->value = sum;
    }
}

}  // namespace

void meet(uint32_t mask, SiteKind kind, WarpOperation operation, void* data, CodeLine where) {
    Thread* const me = current;
    Warp& warp = *me->warp;
    size_t at = 0;
    while (at < warp.meetings.size() && warp.meetings[at].mask != mask)
        ++at;
    const bool open = at < warp.meetings.size();
    if (bad_meeting(mask, kind, open ? &warp.meetings[at] : nullptr, where)) abandon();
    if (!open) warp.meetings.push_back({mask, 0, kind, operation, where, {}});
    Meeting& meeting = warp.meetings[at];
    meeting.arrived |= 1u << me->lane;
    meeting.data[me->lane] = data;
    me->state = State::AtWarp;
    me->waits_in = kind;
    me->waits_at = where;
    me->waits_for = mask;
    if ((mask & warp.live) == meeting.arrived) complete(warp, at);
    leave();
}

void meet_without(Warp& warp) {
    for (size_t at = 0; at < warp.meetings.size();) {
        const Meeting& meeting = warp.meetings[at];
        if ((meeting.mask & warp.live) == meeting.arrived) {
            complete(warp, at);
        } else {
            ++at;
        }
    }
}

void warp_barrier(unsigned mask, CodeLine where) {
    const InsideRuntime inside;
    if (passes(SiteKind::WarpBarrier, where))
        meet(mask, SiteKind::WarpBarrier, nullptr, nullptr, where);
}

unsigned lane_number() { return current->lane; }
unsigned live_lanes() { return current->warp->live; }

uint64_t shuffle(unsigned mask, uint64_t value, unsigned from, CodeLine where) {
    const InsideRuntime inside;
    ShuffleLane lane{value, 0, from, false};
    meet(mask, SiteKind::Shuffle, shuffle_lanes, &lane, where);
    if (lane.absent) {
        record_fault(Fault::AbsentLane,
                     "lane " + std::to_string(current->lane) + " reads lane " +
                         std::to_string(from) + ", which takes no part (mask " + hex(mask) + ')',
                     where);
        abandon();
    }
    return lane.result;
}

unsigned ballot(unsigned mask, bool vote, CodeLine where) {
    const InsideRuntime inside;
    VoteLane lane{vote ? 1u : 0u, 0};
    meet(mask, SiteKind::Vote, ballot_lanes, &lane, where);
    return lane.result;
}

unsigned match(unsigned mask, uint64_t value, CodeLine where) {
    const InsideRuntime inside;
    VoteLane lane{value, 0};
    meet(mask, SiteKind::Vote, match_lanes, &lane, where);
    return lane.result;
}

unsigned reduce(unsigned mask, unsigned value, WarpReduction reduction, CodeLine where) {
    const InsideRuntime inside;
    ReduceLane lane{value, reduction};
    meet(mask, SiteKind::Reduce, reduce_lanes, &lane, where);
    return lane.value;
}

}  // namespace nearcell::simt
