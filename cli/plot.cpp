#include "plot.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <sstream>
#include <utility>

#include "number_text.h"

namespace nearcell::cli {
namespace {

constexpr double kWidth = 800, kHeight = 520;
constexpr double kLeft = 90, kRight = 770, kTop = 50, kBottom = 460;

// Where values stand on the canvas: recall from left to right, log10(queries/s) upwards.
struct Axes {
    double recall_low = 0, speed_low = 0, speed_high = 1;

    double x(double recall) const {
        return kLeft + (recall - recall_low) / (1 - recall_low) * (kRight - kLeft);
    }
    double y(double speed) const {
        const double share = (std::log10(speed) - speed_low) / (speed_high - speed_low);
        return kBottom - share * (kBottom - kTop);
    }
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Axes fit_axes(const std::vector<CurvePoint>& points) {
    double recall = 0.9, low = kInfinity, high = -kInfinity;
    for (const CurvePoint& point : points) {
        recall = std::min(recall, point.recalls.back());
        low = std::min(low, std::log10(point.queries_per_second));
        high = std::max(high, std::log10(point.queries_per_second));
    }
    Axes axes;
    axes.recall_low = std::floor(recall * 10) / 10;
    axes.speed_low = std::floor(low);
    axes.speed_high = std::max(std::ceil(high), axes.speed_low + 1);
    return axes;
}

std::string escaped(const std::string& text) {
    std::string out;
    for (char c : text) {
        if (c == '<')
            out += "&lt;";
        else if (c == '&')
            out += "&amp;";
        else
            out += c;
    }
    return out;
}

class Svg {
   public:
    Svg() {
        out_ << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << kWidth << "\" height=\""
             << kHeight << "\" font-family=\"sans-serif\" font-size=\"13\">\n"
             << "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
    }
    void line(double x1, double y1, double x2, double y2, const char* color) {
        out_ << "<line x1=\"" << x1 << "\" y1=\"" << y1 << "\" x2=\"" << x2 << "\" y2=\"" << y2
             << "\" stroke=\"" << color << "\"/>\n";
    }
    void text(double x, double y, const char* anchor, const std::string& words,
              const char* extra = "") {
        out_ << "<text x=\"" << x << "\" y=\"" << y << "\" text-anchor=\"" << anchor << "\" "
             << extra << ">" << escaped(words) << "</text>\n";
    }
    void dot(double x, double y, const char* color) {
        out_ << "<circle cx=\"" << x << "\" cy=\"" << y << "\" r=\"4\" fill=\"" << color
             << "\"/>\n";
    }
    void path(const std::vector<std::pair<double, double>>& corners, const char* color) {
        out_ << "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"" << color << "\" points=\"";
        for (const auto& [x, y] : corners)
            out_ << x << ',' << y << ' ';
        out_ << "\"/>\n";
    }
    std::string finish() {
        out_ << "</svg>\n";
        return out_.str();
    }

   private:
    std::ostringstream out_;
};

void draw_grid(Svg& svg, const Axes& axes) {
    for (int tenth = static_cast<int>(std::lround(axes.recall_low * 10)); tenth <= 10; ++tenth) {
        const double recall = tenth / 10.0;
        svg.line(axes.x(recall), kTop, axes.x(recall), kBottom, "#dddddd");
        svg.text(axes.x(recall), kBottom + 20, "middle", fixed_text(recall, 1));
    }
    for (double power = axes.speed_low; power <= axes.speed_high; power += 1) {
        const double speed = std::pow(10.0, power);
        svg.line(kLeft, axes.y(speed), kRight, axes.y(speed), "#dddddd");
        svg.text(kLeft - 8, axes.y(speed) + 4, "end", count_text(speed));
    }
    svg.line(kLeft, kBottom, kRight, kBottom, "black");
    svg.line(kLeft, kTop, kLeft, kBottom, "black");
}

}  // namespace

std::string draw_plot(const std::string& title, const std::vector<CurvePoint>& points, size_t k) {
    const Axes axes = fit_axes(points);
    std::vector<CurvePoint> best;
    std::copy_if(points.begin(), points.end(), std::back_inserter(best),
                 [](const CurvePoint& point) { return point.pareto; });
    std::sort(best.begin(), best.end(), [](const CurvePoint& a, const CurvePoint& b) {
        return a.recalls.back() < b.recalls.back();
    });
    Svg svg;
    draw_grid(svg, axes);
    svg.text(kWidth / 2, 28, "middle", title, "font-size=\"16\"");
    svg.text((kLeft + kRight) / 2, kHeight - 18, "middle", "recall@" + std::to_string(k));
    svg.text(0, 0, "middle", "queries a second", "transform=\"translate(24,255) rotate(-90)\"");
    std::vector<std::pair<double, double>> corners;
    corners.reserve(best.size());
    for (const CurvePoint& point : best) {
        corners.emplace_back(axes.x(point.recalls.back()), axes.y(point.queries_per_second));
    }
    svg.path(corners, "#1f77b4");
    for (const CurvePoint& point : points) {
        svg.dot(axes.x(point.recalls.back()), axes.y(point.queries_per_second),
                point.pareto ? "#1f77b4" : "#bbbbbb");
    }
    for (size_t i = 0; i < best.size(); ++i) {
        svg.text(corners[i].first - 7, corners[i].second - 7, "end", std::to_string(best[i].probes),
                 "font-size=\"11\" fill=\"#555555\"");
    }
    svg.text(kRight, kTop - 8, "end", "beside the points: probes", "font-size=\"11\"");
    return svg.finish();
}

}  // namespace nearcell::cli
