#include "table.h"

#include <algorithm>
#include <utility>

#include "escaped.h"

namespace nearcell::cli {

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::add_row(std::vector<std::string> cells) {
    cells.resize(columns_.size());
    for (std::string& cell : cells)
        cell = escaped(cell);
    rows_.push_back(std::move(cells));
}

std::string Table::text() const {
    std::vector<std::string> titles;
    std::vector<size_t> widths;
    bool has_header = false;
    for (const Column& column : columns_) {
        titles.push_back(column.title);
        widths.push_back(column.title.size());
        has_header = has_header || !column.title.empty();
    }
    for (const auto& row : rows_) {
        for (size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], row[i].size());
    }
    std::string all = has_header ? line(titles, widths) : std::string();
    for (const auto& row : rows_)
        all += line(row, widths);
    return all;
}

std::string Table::line(const std::vector<std::string>& cells,
                        const std::vector<size_t>& widths) const {
    std::string text;
    for (size_t i = 0; i < cells.size(); ++i) {
        const std::string padding(widths[i] - cells[i].size(), ' ');
        if (i > 0) text += "  ";
        text += columns_[i].align == Align::Right ? padding + cells[i] : cells[i] + padding;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text + '\n';
}

}  // namespace nearcell::cli
