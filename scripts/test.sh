#!/usr/bin/env bash
# All checks that a change must pass: style, types, tests. Further arguments go to pytest:
#
#   bash scripts/test.sh
#   bash scripts/test.sh tests/ops -k nms
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prepare_environment dev
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # for each of the two processes of pytest
export PYTHONHASHSEED=0                         # both must collect the tests in one order

failed=()
check() {
    local name="$1"
    shift
    echo
    echo "== $name: $*"
    "$python" -m "$@" || failed+=("$name")
}

check lint ruff check .
check format ruff format --check .
check types mypy
check tests pytest -q -n 2 "$@"

echo
[ ${#failed[@]} -eq 0 ] || fail "failed: ${failed[*]}"
echo "All checks passed in $SECONDS seconds."
