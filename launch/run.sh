#!/usr/bin/env bash
# Starts training on a laptop, under srun or mpirun, in a Kubernetes Indexed Job, or wherever
# COORDINATOR_ADDRESS, NUM_PROCESSES and PROCESS_ID are set. Passes all arguments to src.main.
#
#   launch/run.sh --config=configs/alexnet.py:imagenet2012
#   LOCAL_PROCESSES=2 launch/run.sh …          two processes on this host, which share its GPUs
#   PYTHON=/path/to/python launch/run.sh …     default: that of .venv, or the first on the PATH
#
# Relative paths in the arguments are relative to the repository, not to the current directory.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

fail() {
  echo "launch/run.sh: error: $*" >&2
  exit 2
}

# Either all three variables are set or none. Variables that are set take precedence over the
# engine. Open MPI takes precedence over Slurm, whose step is then mpirun's helpers, one per node.
engine="this host"
on_host=1  # processes that the engine started on this host, and the index of this one
on_host_id=0
if [[ -n ${JOB_COMPLETION_INDEX-} ]]; then
  engine="a Kubernetes job"
  : "${PROCESS_ID:=$JOB_COMPLETION_INDEX}"
elif [[ ${OMPI_COMM_WORLD_SIZE:-1} -gt 1 ]]; then
  engine="Open MPI"
  # The address of mpirun, "tcp://10.0.0.1,…:port", is rank 0's host too. Version 5 has none.
  if [[ -z ${COORDINATOR_ADDRESS-} && ${OMPI_MCA_orte_hnp_uri-} =~ tcp://([^,:]+) ]]; then
    COORDINATOR_ADDRESS=${BASH_REMATCH[1]}:$((20000 + ${OMPI_MCA_orte_hnp_uri%%.*} / 4096 % 10000))
  fi
  [[ -n ${COORDINATOR_ADDRESS-} ]] ||
    fail "under this mpirun, set COORDINATOR_ADDRESS to HOST:PORT of rank 0"
  : "${NUM_PROCESSES:=$OMPI_COMM_WORLD_SIZE}" "${PROCESS_ID:=$OMPI_COMM_WORLD_RANK}"
  on_host=$OMPI_COMM_WORLD_LOCAL_SIZE
  on_host_id=$OMPI_COMM_WORLD_LOCAL_RANK
elif [[ ${SLURM_STEP_NUM_TASKS:-1} -gt 1 ]]; then
  engine="Slurm step $SLURM_JOB_ID.$SLURM_STEP_ID"
  if [[ -z ${COORDINATOR_ADDRESS-} ]]; then
    first=$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1)
    # The address, because a node's name may not resolve. Jobs on the same node get different ports.
    address=$(scontrol show node --oneliner "$first" | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
    COORDINATOR_ADDRESS=${address:-$first}:$((20000 + (SLURM_JOB_ID * 8 + SLURM_STEP_ID) % 10000))
  fi
  : "${NUM_PROCESSES:=$SLURM_STEP_NUM_TASKS}" "${PROCESS_ID:=$SLURM_PROCID}"
  on_host=${SLURM_STEP_TASKS_PER_NODE%%[(,]*}
  on_host_id=$SLURM_LOCALID
elif [[ -z ${SLURM_STEP_ID-} && ${SLURM_JOB_NUM_NODES:-1} -gt 1 && -z ${NUM_PROCESSES-} ]]; then
  fail "the allocation has $SLURM_JOB_NUM_NODES nodes; run this on each: srun launch/run.sh …"
elif [[ ${PMI_SIZE:-1} -gt 1 ]]; then
  engine="MPI"
  [[ -n ${COORDINATOR_ADDRESS-} ]] ||
    fail "under this mpirun, set COORDINATOR_ADDRESS to HOST:PORT of rank 0"
  : "${NUM_PROCESSES:=$PMI_SIZE}" "${PROCESS_ID:=$PMI_RANK}"
  on_host=${MPI_LOCALNRANKS:-1}
  on_host_id=${MPI_LOCALRANKID:-0}
fi
if [[ -n ${COORDINATOR_ADDRESS-}${NUM_PROCESSES-}${PROCESS_ID-} ]]; then
  or_none="or set none of COORDINATOR_ADDRESS, NUM_PROCESSES and PROCESS_ID"
  [[ -n ${COORDINATOR_ADDRESS-} ]] ||
    fail "set COORDINATOR_ADDRESS to HOST:PORT of process 0, $or_none"
  [[ ${NUM_PROCESSES-} =~ ^[0-9]+$ ]] || fail "set NUM_PROCESSES to their count, $or_none"
  [[ ${PROCESS_ID-} =~ ^[0-9]+$ ]] || fail "set PROCESS_ID to this one's index, from 0, $or_none"
  export COORDINATOR_ADDRESS NUM_PROCESSES PROCESS_ID
  process="process $PROCESS_ID of $NUM_PROCESSES, coordinator $COORDINATOR_ADDRESS"
else
  process="one process"
fi

each=${LOCAL_PROCESSES:-1}
[[ $each =~ ^[1-9][0-9]*$ ]] || fail "LOCAL_PROCESSES=$each is not a positive number"
[[ $each == 1 ]] || process+=", as $each processes"
echo "launch/run.sh: on $engine, $(hostname): $process" >&2

if [[ -z ${PYTHON-} ]]; then
  PYTHON=python3
  [[ -n ${VIRTUAL_ENV-} || ! -x .venv/bin/python ]] || PYTHON=.venv/bin/python
fi

# By default, JAX takes three quarters of a GPU's memory. Setting both variables is an error.
[[ -n ${XLA_PYTHON_CLIENT_MEM_FRACTION-} ]] || export XLA_CLIENT_MEM_FRACTION=${XLA_CLIENT_MEM_FRACTION:-.9}
# NCCL then reports why GPUs cannot reach each other; by default, it reports nothing.
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}

# The processes of this host, whoever starts them, share its GPUs.
export LOCAL_PROCESSES=$((on_host * each)) LOCAL_PROCESS_ID=$((on_host_id * each))
if [[ $each == 1 ]]; then
  exec "$PYTHON" -m src.main "$@"
fi
exec "$PYTHON" launch/several.py "$each" "$PYTHON" -m src.main "$@"
