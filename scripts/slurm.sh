#!/usr/bin/env bash
# Train on machines of a SLURM cluster. Before its time is out the job saves, queues again by itself and goes on.
#
#   sbatch --nodes 2 scripts/slurm.sh --config yolact_base --set train.batch_size=64
#   sbatch --nodes 1 scripts/slurm.sh --resume runs/slurm-1234       # go on with what another job began
#
# The arguments are those of `yolact train`. The run lies under runs/slurm-<job>, also after the job has queued again.
#SBATCH --job-name=yolact
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@180
# One task on each machine: torchrun, which starts a rank for each GPU. A step and a checkpoint must fit into the
# 180 seconds between the signal, which this script alone gets ("B:"), and the end.
set -euo pipefail

runs="runs/slurm-$SLURM_JOB_ID"
if compgen -G "$runs/*/*/last*.pth" > /dev/null; then
    set -- --resume # the newest checkpoint, with its configuration
fi
first="${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)}"

stopping=""
stop() {
    stopping=yes
    scancel --signal=USR1 "$SLURM_JOB_ID.0" || true # every process of step 0, the srun below, unless it just ended
}
trap stop USR1

# torchrun would die of SIGUSR1, so it starts with that signal ignored; the ranks save, and torchrun ends with them.
# shellcheck disable=SC2016 # the tasks expand it, each for itself
srun --kill-on-bad-exit=1 bash -c 'trap "" USR1; exec torchrun --node-rank "$SLURM_NODEID" "$@"' task \
    --nnodes "$SLURM_NNODES" --nproc-per-node "${PROCESSES_PER_NODE:-gpu}" \
    --master-addr "$first" --master-port $((20000 + SLURM_JOB_ID % 20000)) \
    -m yolact.cli train "$@" --runs "$runs" &
step=$!
code=0
wait "$step" || code=$?
if [ -n "$stopping" ]; then # the signal has only interrupted `wait`
    code=0
    wait "$step" || code=$?
    [ "$code" -eq 0 ] || scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
