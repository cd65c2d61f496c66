#!/usr/bin/env bash
# clang-tidy over the C++ files of a configured build (the tests' excepted), ruff and mypy over the
# Python ones; mypy over the package, which needs its built stub, is in tests/python/test_package.py.
# Usage: lint.sh BUILD_DIR [FILE.cpp...]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: lint.sh BUILD_DIR [FILE.cpp...]}
shift
files=("$@")
if ((${#files[@]} == 0)); then
    # A kernel file is compiled once an instruction set; once is enough here.
    mapfile -t files < <(python3 -c "
import json, pathlib, sys
root = pathlib.Path.cwd()
entries = {pathlib.Path(e['file']) for e in json.load(open('$build/compile_commands.json'))}
own = {str(p.relative_to(root)) for p in entries if p.is_relative_to(root)}
print('\n'.join(sorted(f for f in own if not f.startswith(('build', 'tests', '.venv')))))")
fi

status=0
printf '%s\0' "${files[@]}" | xargs -0 -r -n 1 -P "$(nproc)" \
    clang-tidy -p "$build" --quiet --extra-arg=-Wno-unknown-warning-option \
        --extra-arg=-Wno-unused-command-line-argument 2>/dev/null || status=1
mapfile -t python < <(git ls-files -- '*.py')
ruff check --output-format concise "${python[@]}" || status=1
mypy --strict tools/*.py || status=1
exit $status
