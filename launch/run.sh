#!/usr/bin/env bash
# Starts training on a laptop, under srun or mpirun, in a Kubernetes Indexed Job, or wherever
# COORDINATOR_ADDRESS, NUM_PROCESSES and PROCESS_ID are set. All arguments go to src.main.
#
#   launch/run.sh --config=configs/alexnet.py:imagenet2012
#   LOCAL_PROCESSES=2 launch/run.sh …          two processes on this host, which share its GPUs
#   PYTHON=/path/to/python launch/run.sh …     by default that of .venv, or the first on the PATH
#
# Relative paths in the arguments start at the repository, wherever this is called.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

fail() {
  echo "launch/run.sh: error: $*" >&2
  exit 2
}

# Fewer than these three is half a contract. What is set already takes precedence over the engine;
# Open MPI over Slurm, whose step is then that of mpirun's helpers, one on each node.
engine="this host"
on_host=1  # processes that the engine started on this host, and which of them this is
on_host_id=0
if [[ -n ${JOB_COMPLETION_INDEX-} ]]; then
  engine="a Kubernetes job"
  : "${PROCESS_ID:=$JOB_COMPLETION_INDEX}"
elif [[ ${OMPI_COMM_WORLD_SIZE:-1} -gt 1 ]]; then
  engine="Open MPI"
  # mpirun's own address, "tcp://10.0.0.1,…:port"; rank 0 is on the same host. Version 5 has none.
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
    # The address, since a node's name need not resolve. Jobs on one node get ports of their own.
    address=$(scontrol show node --oneliner "$first" | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
    COORDINATOR_ADDRESS=${address:-$first}:$((20000 + (SLURM_JOB_ID * 8 + SLURM_STEP_ID) % 10000))
  fi
  : "${NUM_PROCESSES:=$SLURM_STEP_NUM_TASKS}" "${PROCESS_ID:=$SLURM_PROCID}"
  on_host=${SLURM_STEP_TASKS_PER_NODE%%[(,]*}
  on_host_id=$SLURM_LOCALID
elif [[ -z ${SLURM_STEP_ID-} && ${SLURM_JOB_NUM_NODES:-1} -gt 1 && -z ${NUM_PROCESSES-} ]]; then
  fail "in an allocation of $SLURM_JOB_NUM_NODES nodes, but not on each of them: srun launch/run.sh …"
elif [[ ${PMI_SIZE:-1} -gt 1 ]]; then
  engine="MPI"
  [[ -n ${COORDINATOR_ADDRESS-} ]] ||
    fail "under this mpirun, set COORDINATOR_ADDRESS to HOST:PORT of rank 0"
  : "${NUM_PROCESSES:=$PMI_SIZE}" "${PROCESS_ID:=$PMI_RANK}"
  on_host=${MPI_LOCALNRANKS:-1}
  on_host_id=${MPI_LOCALRANKID:-0}
fi
if [[ -n ${COORDINATOR_ADDRESS-}${NUM_PROCESSES-}${PROCESS_ID-} ]]; then
  half="or none of COORDINATOR_ADDRESS, NUM_PROCESSES and PROCESS_ID"
  [[ -n ${COORDINATOR_ADDRESS-} ]] || fail "set COORDINATOR_ADDRESS to HOST:PORT of process 0, $half"
  [[ ${NUM_PROCESSES-} =~ ^[0-9]+$ ]] || fail "set NUM_PROCESSES to how many there are, $half"
  [[ ${PROCESS_ID-} =~ ^[0-9]+$ ]] || fail "set PROCESS_ID to which of them this is, from 0, $half"
  export COORDINATOR_ADDRESS NUM_PROCESSES PROCESS_ID
  where="process $PROCESS_ID of $NUM_PROCESSES, which meet at $COORDINATOR_ADDRESS"
else
  where="one process"
fi

each=${LOCAL_PROCESSES:-1}
[[ $each =~ ^[1-9][0-9]*$ ]] || fail "LOCAL_PROCESSES=$each is not a positive number"
[[ $each == 1 ]] || where+="; here $each in its place"
echo "launch/run.sh: on $engine, $(hostname): $where" >&2

if [[ -z ${PYTHON-} ]]; then
  PYTHON=python3
  [[ -n ${VIRTUAL_ENV-} || ! -x .venv/bin/python ]] || PYTHON=.venv/bin/python
fi

# XLA by default starts transfers between GPUs only where their result is needed.
export XLA_FLAGS="--xla_gpu_enable_latency_hiding_scheduler=true ${XLA_FLAGS-}"
# By default JAX takes three quarters of a GPU's memory. Both spellings together are an error.
[[ -n ${XLA_PYTHON_CLIENT_MEM_FRACTION-} ]] || export XLA_CLIENT_MEM_FRACTION=${XLA_CLIENT_MEM_FRACTION:-.9}
# Says why GPUs can't reach one another; by default NCCL says nothing.
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}

# How many processes there are on this host in the end, whoever starts them; they share its GPUs.
export LOCAL_PROCESSES=$((on_host * each)) LOCAL_PROCESS_ID=$((on_host_id * each))
if [[ $each == 1 ]]; then
  exec "$PYTHON" -m src.main "$@"
fi
exec "$PYTHON" launch/several.py "$each" "$PYTHON" -m src.main "$@"
