#include <nearcell/extract/network_plan.h>

#include <algorithm>
#include <map>
#include <set>

#include <nearcell/core/error.h>

namespace nearcell {
namespace {

constexpr size_t kMostSide = 1 << 16, kMostChannels = 1 << 20;
constexpr size_t kMostFloats = 0xffffffff;  // of a map: offsets within it have 32 bits

bool is_window(LayerKind kind) {
    return kind == LayerKind::Convolution || kind == LayerKind::MaxPool ||
           kind == LayerKind::MeanPool;
}

// Windows along one side: how many, and what they read before and after the map.
struct Windows {
    size_t count, before, after;
};

Windows windows_along(size_t size, size_t kernel, const Layer& layer, const char* side) {
    const size_t stride = layer.stride;
    if (layer.padding == Padding::Same) {
        const size_t count = (size + stride - 1) / stride, reach = (count - 1) * stride + kernel;
        const size_t total = reach > size ? reach - size : 0;
        return {count, total / 2, total - total / 2};
    }
    check(size + 2 * layer.pad >= kernel, StatusCode::InvalidArgument, "layer ", layer.name, ": a ",
          side, " of ", size, " with ", layer.pad, " on each side is less than the kernel, ",
          kernel, ": feed larger pictures, or pad more");
    const size_t count = (size + 2 * layer.pad - kernel) / stride + 1;
    const size_t reach = (count - 1) * stride + kernel - layer.pad;
    return {count, layer.pad, reach > size ? reach - size : 0};
}

void check_layer(const Layer& layer, const MapShape& in) {
    const auto require = [&](bool holds, const auto&... parts) {
        check(holds, StatusCode::InvalidArgument, "layer ", layer.name, ": ", parts...);
    };
    if (is_window(layer.kind)) {
        require(layer.kernel >= 1 && layer.kernel <= kMostSide, "kernel = ", layer.kernel,
                " must be in [1, ", kMostSide, "]");
        require(layer.stride >= 1 && layer.stride <= kMostSide, "stride = ", layer.stride,
                " must be in [1, ", kMostSide, "]");
        require(layer.pad < layer.kernel, "pad = ", layer.pad, " must be less than the kernel, ",
                layer.kernel);
    }
    if (layer.kind == LayerKind::Convolution || layer.kind == LayerKind::Linear) {
        require(layer.channels >= 1 && layer.channels <= kMostChannels,
                "channels = ", layer.channels, " must be in [1, ", kMostChannels, "]");
    }
    require(layer.added.empty() || layer.kind == LayerKind::Convolution ||
                layer.kind == LayerKind::Linear || layer.kind == LayerKind::Add,
            "adds ", layer.added, ", which its kind does not: use a layer of kind Add");
    require(layer.groups == 1 || layer.kind == LayerKind::Convolution, "groups = ", layer.groups,
            " must be 1 for all but convolutions");
    if (layer.kind == LayerKind::Convolution) {
        require(layer.groups >= 1 && in.channels % layer.groups == 0 &&
                    layer.channels % layer.groups == 0,
                "groups = ", layer.groups, " must divide the channels, ", in.channels, " and ",
                layer.channels);
    }
}

}  // namespace

void Border::include(const Border& other) {
    top = std::max(top, other.top);
    left = std::max(left, other.left);
    bottom = std::max(bottom, other.bottom);
    right = std::max(right, other.right);
}

MapView MapPlace::view(float* memory) const {
    return {memory + border.top * row_stride() + border.left * shape.channels, shape.height,
            shape.width, shape.channels, row_stride()};
}

void MapPlace::clear_border(float* memory) const {
    if (border.empty()) return;
    const size_t row = row_stride(), left = border.left * shape.channels,
                 right = border.right * shape.channels;
    std::fill_n(memory, border.top * row, 0.0f);
    for (size_t y = 0; y < shape.height; ++y) {
        float* const line = memory + (border.top + y) * row;
        std::fill_n(line, left, 0.0f);
        std::fill_n(line + row - right, right, 0.0f);
    }
    std::fill_n(memory + (border.top + shape.height) * row, border.bottom * row, 0.0f);
}

Network::Plan::Plan(const std::vector<Layer>& all, const Weights& weights, MapShape input,
                    std::string_view tap) {
    choose_layers(all, tap);
    infer_shapes(input);
    place_maps();
    pack_weights(weights);
}

// Those that the tap depends on, with the maps that they read.
void Network::Plan::choose_layers(const std::vector<Layer>& all, std::string_view tap) {
    std::map<std::string, size_t, std::less<>> numbers{{kNetworkInput, 0}};  // of maps, of all
    std::vector<std::pair<size_t, size_t>> reads;
    size_t last = 0;
    for (size_t i = 0; i < all.size(); ++i) {
        const Layer& layer = all[i];
        const auto number_of = [&](const std::string& name, size_t otherwise) {
            if (name.empty()) return otherwise;
            const auto found = numbers.find(name);
            check(found != numbers.end(), StatusCode::InvalidArgument, "layer ", layer.name,
                  " reads ", name, ", which is no layer before it");
            return found->second;
        };
        const size_t input = number_of(layer.input, i);
        reads.emplace_back(input, number_of(layer.added, 0));
        check(layer.kind != LayerKind::Add || !layer.added.empty(), StatusCode::InvalidArgument,
              "layer ", layer.name, " adds nothing: name the second layer in `added`");
        check(layer.added != kNetworkInput, StatusCode::InvalidArgument, "layer ", layer.name,
              " adds the picture: only layers can be added");
        const bool fresh = !layer.name.empty() && numbers.emplace(layer.name, i + 1).second;
        check(fresh, StatusCode::InvalidArgument, "layer ", i, " has the name \"", layer.name,
              "\", which is empty or another layer's: give each its own");
        if (layer.name == tap) last = i + 1;
    }
    check(last != 0, StatusCode::InvalidArgument, "tap = \"", tap,
          "\" is no layer of this network: name one, such as ",
          all.empty() ? "none" : all.back().name);
    std::set<size_t> needed{last};
    for (size_t i = last; i-- > 0;) {
        if (!needed.contains(i + 1)) continue;
        needed.insert(reads[i].first);
        if (reads[i].second != 0) needed.insert(reads[i].second);
    }
    std::vector<size_t> place(last + 1, 0);
    for (size_t i = 0; i < last; ++i) {
        if (!needed.contains(i + 1)) continue;
        PlannedLayer planned;
        planned.layer = all[i];
        planned.input = place[reads[i].first];
        planned.added = place[reads[i].second];
        layers.push_back(std::move(planned));
        place[i + 1] = layers.size();
    }
}

void Network::Plan::infer_shapes(MapShape input) {
    check(input.height >= 1 && input.width >= 1 && input.channels >= 1 &&
              input.height <= kMostSide && input.width <= kMostSide &&
              input.channels <= kMostChannels,
          StatusCode::InvalidArgument, "input of ", input.height, " x ", input.width, " x ",
          input.channels, ": each must be at least 1, at most ", kMostSide, " pixels a side and ",
          kMostChannels, " channels");
    maps.push_back({input, {}, 0});
    for (PlannedLayer& planned : layers) {
        const Layer& layer = planned.layer;
        const MapShape in = maps[planned.input].shape;
        check_layer(layer, in);
        MapShape out = in;
        planned.kernel_height = planned.kernel_width = layer.kernel;
        if (is_window(layer.kind)) {
            const Windows rows = windows_along(in.height, layer.kernel, layer, "height");
            const Windows columns = windows_along(in.width, layer.kernel, layer, "width");
            out.height = rows.count;
            out.width = columns.count;
            planned.pad_top = rows.before;
            planned.pad_left = columns.before;
            if (layer.kind == LayerKind::Convolution) {
                out.channels = layer.channels;
                maps[planned.input].border.include(
                    {rows.before, columns.before, rows.after, columns.after});
            }
        } else if (layer.kind == LayerKind::Linear || layer.kind == LayerKind::GlobalMean) {
            planned.kernel_height = in.height;
            planned.kernel_width = in.width;
            out = {1, 1, layer.kind == LayerKind::Linear ? layer.channels : in.channels};
        }
        if (planned.added != 0) {
            const MapShape other = maps[planned.added].shape;
            check(other == out, StatusCode::InvalidArgument, "layer ", layer.name, " adds ",
                  layer.added, " of ", other.height, " x ", other.width, " x ", other.channels,
                  ", but has ", out.height, " x ", out.width, " x ", out.channels,
                  ": add layers of one shape");
        }
        maps.push_back({out, {}, 0});
    }
    for (size_t m = 0; m < maps.size(); ++m) {
        check(maps[m].floats() <= kMostFloats, StatusCode::InvalidArgument,
              m == 0 ? std::string("the input") : "layer " + layers[m - 1].layer.name, " has ",
              maps[m].floats(), " values with its border, at most ", kMostFloats,
              " can be: feed smaller pictures, or stride more");
    }
}

// A slot is free for another map when the last layer that reads its map is done.
void Network::Plan::place_maps() {
    std::vector<size_t> last_read(maps.size(), 0);
    for (size_t i = 0; i < layers.size(); ++i) {
        last_read[layers[i].input] = i + 1;
        if (layers[i].added != 0) last_read[layers[i].added] = i + 1;
    }
    last_read.back() = maps.size();
    std::vector<size_t> free;
    for (size_t m = 0; m < maps.size(); ++m) {
        // Of the free ones the largest: it has to grow the least.
        const auto best = std::max_element(free.begin(), free.end(), [&](size_t a, size_t b) {
            return slot_floats[a] < slot_floats[b];
        });
        if (best == free.end()) {
            maps[m].slot = slot_floats.size();
            slot_floats.push_back(0);
        } else {
            maps[m].slot = *best;
            free.erase(best);
        }
        size_t& floats = slot_floats[maps[m].slot];
        floats = std::max(floats, maps[m].floats());
        for (size_t before = 0; before < m; ++before) {
            if (last_read[before] == m) free.push_back(maps[before].slot);
        }
    }
}

void Network::Plan::pack_weights(const Weights& weights) {
    for (size_t i = 0; i < layers.size(); ++i) {
        PlannedLayer& planned = layers[i];
        const LayerKind kind = planned.layer.kind;
        if (kind != LayerKind::Convolution && kind != LayerKind::Linear) continue;
        const MapPlace& in = maps[planned.input];
        const MapShape out = maps[i + 1].shape;
        planned.convolution = pack_convolution(planned, in, out.channels, weights);
        const uint64_t inner = uint64_t{planned.kernel_height} * planned.kernel_width *
                               (in.shape.channels / planned.layer.groups);
        planned.multiply_adds = inner * out.values();
    }
}

}  // namespace nearcell
