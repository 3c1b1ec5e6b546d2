#!/bin/bash
# A search on the nodes of one Slurm job. The first node is the head, trains too, and runs the search.
#
#   sbatch --nodes=4 --time=24:00:00 experiments/cluster/slurm.sh EXPERIMENT.yaml RUN_DIRECTORY
#
# Submit the same line again to go on. Two minutes before the time limit, and at `scancel --batch --signal=TERM JOB`, the
# search ends cleanly. mnas must be installed at the same path on every node; set VENV if it is not on the PATH.
# Not run on a cluster by us.
#SBATCH --job-name=mnas
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --signal=B:TERM@120
set -euo pipefail

experiment=${1:?give an experiment}
run_directory=${2:?give a run directory on a shared file system}
port=${PORT:-6379}
if [[ -n ${VENV:-} ]]; then
    PATH=$VENV/bin:$PATH
fi
# On Ascend hosts, before any `ray start`:
#   . /usr/local/Ascend/ascend-toolkit/set_env.sh

# The token reaches the other nodes in the environment, which srun hands on, and no command line shows it.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export PATH RAY_AUTH_TOKEN RAY_AUTH_MODE=token
unset RAY_AUTH_TOKEN_PATH

head_node=${SLURMD_NODENAME:-$(hostname)}
head_address=${HEAD_ADDRESS:-$(hostname -I | cut -d' ' -f1)}

steps=()
search=
stop() {
    trap - EXIT
    # srun hands SIGTERM on, and `ray start --block` ends what it has started.
    if ((${#steps[@]})); then
        kill -TERM "${steps[@]}" 2>/dev/null || true
        wait "${steps[@]}" 2>/dev/null || true
    fi
}
trap stop EXIT
end_search() {
    if [[ -z $search ]]; then exit 143; fi
    signalled=yes
    kill -TERM "$search" 2>/dev/null || true
}
trap end_search TERM INT

# Slurm tells each node how many of its cores belong to the job.
on_nodes=(srun --overlap --cpu-bind=none)
# Without --ntasks, srun would start as many tasks as the whole job has, whatever --nodes says.
"${on_nodes[@]}" --nodes=1 --ntasks=1 --nodelist="$head_node" bash -c 'exec ray start --head --block \
    --include-dashboard=false --node-ip-address="$1" --port="$2" --num-cpus="$SLURM_CPUS_ON_NODE"' \
    head "$head_address" "$port" &
steps+=($!)
for _ in {1..60}; do
    if (: > "/dev/tcp/$head_address/$port") 2>/dev/null; then break; fi
    if ! kill -0 "${steps[0]}" 2>/dev/null; then exit 1; fi  # srun has said why
    sleep 1
done
if ((SLURM_JOB_NUM_NODES > 1)); then
    others=$((SLURM_JOB_NUM_NODES - 1))
    "${on_nodes[@]}" --nodes=$others --ntasks=$others --exclude="$head_node" \
        bash -c 'exec ray start --block --address="$1" --num-cpus="$SLURM_CPUS_ON_NODE"' worker "$head_address:$port" &
    steps+=($!)
fi
export RAY_ADDRESS=$head_address:$port  # what `search.ray_address: auto` takes

# `workers: auto` counts the nodes that are there when the search begins.
python - "$SLURM_JOB_NUM_NODES" <<'PYTHON'
import sys, time
import ray

wanted, deadline_s = int(sys.argv[1]), time.monotonic() + 300
ray.init(log_to_driver=False, logging_level="ERROR")
while (found := sum(node["Alive"] for node in ray.nodes())) < wanted:
    if time.monotonic() > deadline_s:
        sys.exit(f"slurm.sh: {found} of {wanted} nodes have joined within 300 s; what `ray start` printed says why")
    time.sleep(1)
PYTHON

mnas search "$experiment" --run-dir "$run_directory" --set search.ray_address=auto &
search=$!
while true; do  # a signal ends `wait` before the search has ended
    signalled= code=0
    wait "$search" || code=$?
    if [[ -z $signalled ]]; then exit "$code"; fi
done
