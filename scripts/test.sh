#!/usr/bin/env bash
# All checks that a change must pass: style, types, tests. Further arguments go to pytest:
#
#   bash scripts/test.sh
#   bash scripts/test.sh tests/ops -k nms
#
# With --long first, the tests that take minutes each in place of the others, one at a time: trainings that are killed,
# stopped and damaged hundreds of times, and several processes. Their figures stand in docs/reliability.md:
#
#   bash scripts/test.sh --long
#   bash scripts/test.sh --long tests/reliability
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

share=(-n 2 --dist worksteal) # the slowest tests come together
if [ "${1:-}" = --long ]; then
    shift
    share=(-m long --durations=0) # not beside one another: each needs the machine, and tells its figures
fi
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
check tests pytest -q "${share[@]}" "$@"

echo
[ ${#failed[@]} -eq 0 ] || fail "failed: ${failed[*]}"
echo "All checks passed in $SECONDS seconds."
