#!/usr/bin/env bash
# What one GPU shows in at most nine minutes: the tests that need it, and every figure that only it can give. It needs no
# network, and of the requirements what a training uses; data/nuclei holds the images to train on.
#
#   bash scripts/gpu_check.sh OUT
#   bash scripts/gpu_check.sh OUT inference training     # some parts, in this order
#   bash scripts/gpu_check.sh --rehearse                 # tiny, on a CPU, in a temporary folder; parts may follow
#
# Each part is a process of its own with its own limit of time, so that one which fails costs no other. OUT/table.md has
# all rows, OUT/results.jsonl the same for programs, as they come. PYTHON names the interpreter, TRAINING_SECONDS the
# length of each training.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${PYTHON:-python3}" rehearse=() out="${1:-}" most=540
[ -n "$out" ] || { echo "usage: bash scripts/gpu_check.sh OUT [PART ...], or --rehearse in place of OUT" >&2; exit 2; }
shift
if [ "$out" = --rehearse ]; then
    rehearse=(--rehearse) out="$(mktemp -d)"
    export CUDA_TESTS_ON=cpu
fi
mkdir -p "$out" || exit 2
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
# In the order of their worth, with the most seconds that each may take.
declare -A limits=([ceilings]=40 [tests]=150 [inference]=170 [training]=80 [nuclei]=220 [profile]=45 [compiled]=130 [evaluation]=90)
parts=("$@") failed=()
[ ${#parts[@]} -gt 0 ] || parts=(ceilings tests inference training nuclei profile compiled evaluation)

for name in "${parts[@]}"; do
    [ -n "${limits[$name]:-}" ] || { echo "error: no part '$name'; there are ${!limits[*]}" >&2; exit 2; }
    command=("$python" scripts/gpu_check.py "$name" "$out" --seconds "${TRAINING_SECONDS:-60}" "${rehearse[@]}")
    # Few threads each, as the processes share the cores; names of tests at once, as their time may end.
    [ "$name" != tests ] ||
        command=(env OMP_NUM_THREADS=2 "$python" -W ignore -m pytest -v --tb=no -p tests.at_once -p no:cacheprovider
            -m cuda -n "${TEST_PROCESSES:-8}" --dist worksteal tests/test_cuda.py)
    limit=${limits[$name]} left=$((most - SECONDS)) start=$SECONDS
    [ ${#rehearse[@]} -eq 0 ] || left=3600 limit=1200
    echo "== $name"
    timeout "$((limit < left ? limit : left))" "${command[@]}" 2>&1 | sed -u 's/\r/\n/g' |
        grep --line-buffered -v '^ *$\|train: \|evaluate: ' || failed+=("$name")
    echo "   $name: $((SECONDS - start)) seconds"
done
[ ! -e "$out/results.jsonl" ] || "$python" scripts/gpu_check.py table "$out" "${rehearse[@]}" || failed+=(table)

echo "everything: $SECONDS seconds; $out/table.md"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
