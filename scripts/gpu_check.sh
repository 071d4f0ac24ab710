#!/usr/bin/env bash
# What one GPU shows in at most nine minutes: the tests that need it, and every figure that only it can give. It needs no
# network, and of the requirements what a run uses; data/nuclei holds the pictures to train on.
#
#   bash scripts/gpu_check.sh OUT
#   bash scripts/gpu_check.sh OUT inference training     # some parts
#   bash scripts/gpu_check.sh --rehearse                 # tiny, on a CPU, in a temporary folder
#
# The parts come in the order of their worth, each a process of its own with its own limit of time, so that one which
# fails costs no other. OUT/table.md has all rows, OUT/results.jsonl the same for programs.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${PYTHON:-python3}" rehearse=() out="${1:-}" most=540
[ -n "$out" ] || { echo "usage: bash scripts/gpu_check.sh OUT [PART ...] | --rehearse [PART ...]" >&2; exit 2; }
shift
if [ "$out" = --rehearse ]; then
    rehearse=(--rehearse) out="$(mktemp -d)"
    export CUDA_TESTS_ON=cpu
fi
mkdir -p "$out" || exit 2
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
# In the order of their worth, with the most seconds that each may take.
declare -A limits=([ceilings]=40 [tests]=170 [inference]=110 [training]=110 [nuclei]=220 [profile]=45 [compiled]=130 [evaluation]=90)
wanted=("$@") failed=()
[ ${#wanted[@]} -gt 0 ] || wanted=(ceilings tests inference training nuclei profile compiled evaluation)

for name in "${wanted[@]}"; do
    command=("$python" scripts/gpu_check.py "$name" "$out" --seconds "${TRAINING_SECONDS:-60}" "${rehearse[@]}")
    [ "$name" != tests ] ||
        command=(env OMP_NUM_THREADS=2 "$python" -W ignore -m pytest -q --tb=short -p scripts.gpu_check -p no:cacheprovider
            -m cuda -n "${TEST_PROCESSES:-8}" --dist worksteal tests/test_cuda.py)
    limit=${limits[$name]} left=$((most - SECONDS)) start=$SECONDS
    [ ${#rehearse[@]} -eq 0 ] || left=3600 limit=1200
    echo "== $name"
    timeout "$((limit < left ? limit : left))" "${command[@]}" 2>&1 | tr '\r' '\n' |
        grep -v '^ *$\|train: \|evaluate: ' || failed+=("$name")
    echo "   $name: $((SECONDS - start)) seconds"
done
"$python" scripts/gpu_check.py table "$out" "${rehearse[@]}" >"$out/table.txt" || failed+=(table)

echo "everything: $SECONDS seconds; $out/table.md"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
