#!/bin/bash
# Ends what start.sh started, by process number, and removes the cluster's files.
set -uo pipefail
LAB=${SLURM_LAB:-/tmp/surroscope-slurm}
runs() { [ "$(cat "/proc/$1/comm" 2> /dev/null)" = "$2" ] && ! grep -q '^State:.*Z' "/proc/$1/status"; }
if scontrol show config 2> /dev/null | grep -q '^ClusterName *= surroscope_test$'; then
  scancel --state=PENDING,RUNNING,SUSPENDED 2> /dev/null
  for _ in $(seq 100); do [ -z "$(squeue -h)" ] && break; sleep 0.2; done
fi
for name in slurmd slurmctld munged; do
  pid=$(cat "$LAB/run/$name.pid" 2> /dev/null) && runs "$pid" "$name" || continue
  kill "$pid"
  for _ in $(seq 100); do runs "$pid" "$name" || break; sleep 0.1; done
  runs "$pid" "$name" && kill -9 "$pid"
done
for name in slurm.conf gres.conf; do
  [ "$(readlink "/etc/slurm/$name" 2> /dev/null)" = "$LAB/etc/$name" ] && rm -f "/etc/slurm/$name"
done
rm -rf "$LAB"
