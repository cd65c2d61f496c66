#!/usr/bin/env bash
# Formats every C++ and Python file that git does not ignore; with --check says which are not
# formatted instead, one line a file.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t cpp < <(git ls-files --cached --others --exclude-standard -- '*.h' '*.cpp' '*.cuh' '*.cu')
mapfile -t python < <(git ls-files --cached --others --exclude-standard -- '*.py')

case ${1:-} in
    --check)
        status=0
        for file in "${cpp[@]}"; do
            clang-format --dry-run -Werror "$file" 2>/dev/null && continue
            echo "not formatted (./run fmt does it): $file"
            status=1
        done
        ruff format --check "${python[@]}" || status=1
        ruff check --output-format concise "${python[@]}" || status=1
        exit $status
        ;;
    "")
        clang-format -i "${cpp[@]}"
        ruff format "${python[@]}"
        ruff check --fix "${python[@]}"
        ;;
    *)
        echo "usage: tools/format.sh [--check]" >&2
        exit 2
        ;;
esac
