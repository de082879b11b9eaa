#!/usr/bin/env bash
#SBATCH --job-name=kcap
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --output=kcap-%j.log
# A sweep on the nodes of a Slurm job, with a Ray cluster of its own. From the checkout, which all nodes see, and where
# `make venv` was run:
#     sbatch deploy/slurm.sh sweeps/quickstart.yaml --out "$PWD/runs/quickstart"
# GPUs: sbatch --gpus-per-node=8 deploy/slurm.sh ... What follows the script's name is what `kcap sweep` is given. A job
# that reaches its time limit is submitted again with the same words: it goes on with what is left.
set -euo pipefail

ROOT=${SLURM_SUBMIT_DIR:-$PWD}
export PATH="$ROOT/.venv/bin:$PATH"
PORT=$((20000 + SLURM_JOB_ID % 20000))
# Others on these nodes may reach the ports: who gets through needs this token.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN
export RAY_CHDIR_TO_TRIAL_DIR=0
ulimit -n "$(ulimit -Hn)"

mapfile -t NODES < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
HEAD=$(srun --nodes=1 --ntasks=1 --nodelist="${NODES[0]}" hostname -i | awk '{print $1}')
CPUS=${SLURM_CPUS_ON_NODE:-$(nproc)}
COMMON=(--num-cpus="$CPUS" --temp-dir="/tmp/ray-$SLURM_JOB_ID" --disable-usage-stats --block)

srun --overlap --nodes=1 --ntasks=1 --nodelist="${NODES[0]}" \
  ray start --head --node-ip-address="$HEAD" --port="$PORT" --include-dashboard=true --dashboard-host=127.0.0.1 \
  "${COMMON[@]}" &
until ray health-check --address "$HEAD:$PORT" > /dev/null 2>&1; do sleep 2; done
for node in "${NODES[@]:1}"; do
  srun --overlap --nodes=1 --ntasks=1 --nodelist="$node" ray start --address="$HEAD:$PORT" "${COMMON[@]}" &
done

# When this ends, Slurm ends Ray on all nodes.
cd "$ROOT"
kcap sweep "$@" --address "$HEAD:$PORT"
