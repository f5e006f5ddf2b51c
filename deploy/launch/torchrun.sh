#!/usr/bin/env bash
# One training run on the GPUs of this machine, or on several machines: start it on each of them.
#
#   deploy/launch/torchrun.sh CONFIG
#
#   NODES   machines (default: 1)
#   HEAD    HOST:PORT of the first of them, the same on all; with one machine a free port is found
#   RANKS   processes on this machine (default: gpu, one for each of its GPUs; on CPUs a number)
#   RESTARTS  how often a run that failed begins again at its last checkpoint (default: 3); also one whose CONFIG
#             is wrong, as torchrun asks for no reason. What was in output_dir before needs `resume: true`
#
# torchrun comes with PyTorch for Python; deweather-train must be in PATH. CONFIG and the folders that it names
# must be there on every machine; output_dir must be one that they share, as torchrun decides who is rank 0.
set -euo pipefail

config=${1:?CONFIG is missing: deploy/launch/torchrun.sh CONFIG}

meeting=(--standalone)
if [ "${NODES:-1}" != 1 ]; then
  meeting=(--nnodes="$NODES" --rdzv-backend=c10d --rdzv-endpoint="${HEAD:?HEAD is HOST:PORT of the first machine}")
fi

# Without OMP_NUM_THREADS torchrun sets it to 1; CONFIG's `threads` goes before it.
exec torchrun "${meeting[@]}" --nproc-per-node="${RANKS:-gpu}" --max-restarts="${RESTARTS:-3}" \
  --no-python deweather-train run --config "$config" --progress lines
