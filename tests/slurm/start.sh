#!/bin/bash
# Installs (apt) and starts a SLURM cluster of one node on loopback, for tests: Debian or Ubuntu, as root, without systemd.
# Two partitions, cpu and gpu; two GPUs that are only devices in name; memory limits are watched, not enforced by cgroups.
# What runs already is left as it is. stop.sh ends what this started.
#   SLURM_LAB   folder of its configuration, state, logs and process numbers [/tmp/surroscope-slurm]
#   SLURM_PORT  of slurmctld, the next one of slurmd [6817]
set -euo pipefail
LAB=${SLURM_LAB:-/tmp/surroscope-slurm}
PORT=${SLURM_PORT:-6817}
CPUS=8
GPUS=2
HOST=$(hostname -s)
MEMORY=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)

fail() { echo "error: $*" >&2; exit 1; }
# A process of this number runs, is of this name, and is not a zombie.
alive() { local pid; pid=$(cat "$1" 2> /dev/null) && [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = "$2" ] \
  && ! grep -q '^State:.*Z' "/proc/$pid/status"; }
within() { local tries=$1; shift; for _ in $(seq "$tries"); do "$@" > /dev/null 2>&1 && return 0; sleep 0.1; done; return 1; }
munge_answers() { munge -n < /dev/null | unmunge; }
node_is_idle() { case $(sinfo -h -N -p cpu -o %T | tr -d '*') in idle | mixed | allocated) ;; *) return 1 ;; esac; }

[ "$(id -u)" = 0 ] || fail "a test cluster is started as root; run 'sudo make test-slurm'"

packages=(munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins)
if ! dpkg-query -W -f '${Status}\n' "${packages[@]}" 2> /dev/null | awk '!/install ok installed/ {bad = 1} END {exit bad || NR < 5}'; then
  echo "installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -o DPkg::Lock::Timeout=120 update -qq \
    && apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends "${packages[@]}"; } > /tmp/slurm-apt.log 2>&1 \
    || { tail -5 /tmp/slurm-apt.log >&2; fail "SLURM could not be installed; see /tmp/slurm-apt.log"; }
fi

mkdir -p "$LAB"/{etc,log,run,state,spool,dev}
for name in slurm.conf gres.conf; do
  [ ! -e "/etc/slurm/$name" ] || [ "$(readlink "/etc/slurm/$name")" = "$LAB/etc/$name" ] \
    || fail "/etc/slurm/$name is of another cluster; a test cluster does not replace it"
done
cat > "$LAB/etc/slurm.conf" << CONF
ClusterName=surroscope_test
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
SlurmUser=root
SlurmdUser=root
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=$LAB/state
SlurmdSpoolDir=$LAB/spool
SlurmctldPidFile=$LAB/run/slurmctld.pid
SlurmdPidFile=$LAB/run/slurmd.pid
SlurmctldLogFile=$LAB/log/slurmctld.log
SlurmdLogFile=$LAB/log/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=5,sched_interval=5
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=5
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
DefMemPerCPU=500
GresTypes=gpu
NodeName=$HOST NodeAddr=127.0.0.1 CoresPerSocket=$CPUS RealMemory=$MEMORY Gres=gpu:$GPUS State=UNKNOWN
PartitionName=cpu Nodes=$HOST Default=YES MaxTime=1-00:00:00 DefaultTime=10 State=UP
PartitionName=gpu Nodes=$HOST MaxTime=1-00:00:00 DefaultTime=10 State=UP
CONF
# SLURM 22 wants a character device a GPU; these are as /dev/null.
for number in $(seq 0 $((GPUS - 1))); do
  [ -c "$LAB/dev/gpu$number" ] || mknod "$LAB/dev/gpu$number" c 1 3
done
echo "NodeName=$HOST Name=gpu File=$LAB/dev/gpu[0-$((GPUS - 1))]" > "$LAB/etc/gres.conf"
mkdir -p /etc/slurm
for name in slurm.conf gres.conf; do ln -sfn "$LAB/etc/$name" "/etc/slurm/$name"; done

for pair in "$PORT:slurmctld" "$((PORT + 1)):slurmd"; do
  if ! alive "$LAB/run/${pair#*:}.pid" "${pair#*:}" && (exec 3<> "/dev/tcp/127.0.0.1/${pair%:*}") 2> /dev/null; then
    fail "port ${pair%:*} is in use; choose another with SLURM_PORT"
  fi
done

if ! munge_answers > /dev/null 2>&1; then
  [ -s /etc/munge/munge.key ] || runuser -u munge -- /usr/sbin/mungekey
  install -d -o munge -g munge -m 755 /run/munge
  runuser -u munge -- /usr/sbin/munged < /dev/null > "$LAB/log/munged.log" 2>&1
  within 50 munge_answers || fail "munged does not answer; see $LAB/log/munged.log"
  cp /run/munge/munged.pid "$LAB/run/munged.pid"
fi
alive "$LAB/run/slurmctld.pid" slurmctld || (cd "$LAB/log" && slurmctld < /dev/null >> slurmctld.out 2>&1)
within 100 bash -c 'scontrol ping | grep -q UP' || fail "slurmctld does not answer; see $LAB/log/slurmctld.log"
alive "$LAB/run/slurmd.pid" slurmd || (cd "$LAB/log" && slurmd -N "$HOST" < /dev/null >> slurmd.out 2>&1)
within 50 node_is_idle || scontrol update nodename="$HOST" state=resume || true
within 250 node_is_idle || fail "the node does not come up ($(sinfo -h -R)); see $LAB/log/slurmd.log"
sinfo -o '%P %a %D %T %c %m %G'
