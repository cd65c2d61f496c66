// Table: rows of text in aligned columns, for people. Columns whose title is empty for all make a
// table without a header.
#pragma once

#include <string>
#include <vector>

namespace nearcell::cli {

class Table {
   public:
    enum class Align { Left, Right };
    struct Column {
        std::string title;
        Align align = Align::Right;
    };

    explicit Table(std::vector<Column> columns);
    void add_row(std::vector<std::string> cells);  // as escaped() shows them
    bool empty() const { return rows_.empty(); }
    std::string text() const;

   private:
    std::string line(const std::vector<std::string>& cells,
                     const std::vector<size_t>& widths) const;
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace nearcell::cli
