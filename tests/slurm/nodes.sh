#!/bin/bash
# A SLURM cluster of several nodes on one machine, for tests: Debian or Ubuntu, as root, with or without systemd.
#   nodes.sh start            installs SLURM (apt), plugs all cables in, and starts what does not run of: head, node1 and
#                             node2 (partition cpu), node3 (partition gpu, with two GPUs that are only devices in name)
#   nodes.sh stop [keep]      ends all of it, with all that runs in it, and removes its files, or keeps them to look at
#   nodes.sh on NODE COMMAND  runs a command there, in the current folder if it is there
#   nodes.sh cable NODE down|up
#   nodes.sh kill NODE        as if its power failed; `start` switches it on again
# Every node is a set of namespaces: network, host name, processes, control groups, and mounts with /tmp, /run and /dev/shm of
# its own. The disk is read only there but for the folder `shared`. `head` has slurmctld, is where jobs are submitted, and is
# the switch: its eth0 is a bridge with a cable to every node's eth0. Outside there is no interface, SLURM or munge of it.
set -euo pipefail
SELF=$(readlink -f "${BASH_SOURCE[0]}")
REPOSITORY=$(dirname "$(dirname "$(dirname "$SELF")")")
LAB=/var/lib/surroscope-nodes
SHARED=$LAB/shared
NODES=(node1 node2 node3)
MACHINES=(head "${NODES[@]}")
GPUS=2
NET=10.77.0
# Controllers of cgroup v1, by which SLURM follows processes and limits memory.
CONTROLLERS=(memory freezer)
CGROUPS=/sys/fs/cgroup
PACKAGES=(munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins iproute2 util-linux procps bindfs)

fail() { echo "error: $*" >&2; exit 1; }
within() { local tries=$1; shift; for _ in $(seq "$tries"); do "$@" > /dev/null 2>&1 && return 0; sleep 0.1; done; return 1; }
enforced() { local one; for one in "${CONTROLLERS[@]}"; do mountpoint -q "$CGROUPS/$one" || return 1; done; }
cgroup() { echo "$CGROUPS/$1/surroscope-nodes/$2"; }

# The first process of a machine by its number here, if it runs, is ours, and stands in namespaces of its own.
first() {
  local pid
  pid=$(cat "$LAB/$1/init.pid" 2> /dev/null) || return 1
  { tr '\0' ' ' < "/proc/$pid/cmdline"; } 2> /dev/null | grep -qF "nodes.sh init $1 " || return 1
  [ "$(readlink "/proc/$pid/ns/uts")" != "$(readlink /proc/self/ns/uts)" ] && echo "$pid"
}

# Counts this shell, and what it starts, as the machine's.
join() {
  local one
  ! enforced || for one in "${CONTROLLERS[@]}"; do echo "$BASHPID" > "$(cgroup "$one" "$1")/cgroup.procs"; done
}

# Becomes a command at a machine. No variable of a job, a proxy or a temporary folder here gets there.
become() {
  local machine=$1 pid one; shift
  pid=$(first "$machine") || fail "$machine does not run; 'nodes.sh start' starts it"
  join "$machine"
  for one in $(compgen -e); do case $one in SLURM_* | TMPDIR | *_proxy | *_PROXY) unset "$one" ;; esac; done
  # shellcheck disable=SC2016
  HOME=$SHARED/home exec nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup -- \
    sh -c 'cd "$1" 2> /dev/null || cd /; shift; exec "$@"' sh "$PWD" "$@"
}
on() { (become "$@"); }

# The first process of a machine: mounts what is its own, says that it is ready, and collects processes without parents.
init() {
  local name=$1 own=$LAB/$1 one number resolver
  [ $$ = 1 ] || fail "init is for namespaces that 'nodes.sh start' has made"
  read -r number _ < /proc/self/stat  # its number outside: /proc is still the one from there
  hostname "$name"
  umount -l /proc
  mount -t proc proc /proc
  umount -l /sys  # of another network, with all control groups
  mount -t sysfs sysfs /sys
  if [ -e "$own/enforced" ]; then
    mount -t tmpfs -o mode=755 tmpfs "$CGROUPS"
    for one in "${CONTROLLERS[@]}"; do mkdir "$CGROUPS/$one"; mount -t cgroup -o "$one" cgroup "$CGROUPS/$one"; done
  fi
  mount --bind "$own" "$own"  # stays writable where all else is not
  mount --bind "$SHARED" "$SHARED"
  mkdir -p "$own/repository"
  mount --bind "$REPOSITORY" "$own/repository"  # put aside: it may lie below /tmp
  mount --bind "$own/tmp" /tmp
  mount --bind "$own/var-tmp" /var/tmp
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/lock /run/user /run/slurm
  install -d -o munge -g munge -m 755 /run/munge
  mount --bind "$LAB/etc/slurm" /etc/slurm
  mount --bind "$own/hosts" /etc/hosts
  mount --bind "$own/hostname" /etc/hostname
  resolver=$(readlink -m /etc/resolv.conf)  # with systemd a link into /run
  [ -e "$resolver" ] || { mkdir -p "$(dirname "$resolver")"; : > "$resolver"; }
  mount --bind "$LAB/etc/resolv.conf" "$resolver"
  mount -o remount,bind,ro /
  mkdir -p "$REPOSITORY" 2> /dev/null || true
  mount --move "$own/repository" "$REPOSITORY"
  mount -o remount,bind,ro "$REPOSITORY"
  ip link set lo up
  echo "$number" > "$own/init.pid.new"
  mv "$own/init.pid.new" "$own/init.pid"
  while :; do sleep 3600 & wait $! || true; done
}

install_packages() {
  local found
  found=$(dpkg-query -W -f '${Status}\n' "${PACKAGES[@]}" 2> /dev/null | grep -c 'install ok installed') || true
  [ "$found" -lt ${#PACKAGES[@]} ] || return 0
  echo "installing ${PACKAGES[*]}"
  { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends "${PACKAGES[@]}"; } \
    > "$LAB/apt.log" 2>&1 || { tail -5 "$LAB/apt.log" >&2; fail "SLURM could not be installed; see $LAB/apt.log"; }
}

configure() {
  local limits memory number
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  [ -s "$LAB/etc/munge.key" ] || { (umask 077; head -c 128 /dev/urandom > "$LAB/etc/munge.key"); chown munge:munge "$LAB/etc/munge.key"; }
  if enforced; then
    limits=$'ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup'
    printf '%s\n' CgroupPlugin=cgroup/v1 "CgroupMountpoint=$CGROUPS" CgroupAutomount=no ConstrainRAMSpace=yes ConstrainCores=no \
      ConstrainDevices=no ConstrainSwapSpace=no > "$LAB/etc/slurm/cgroup.conf"
  else
    echo "warning: no cgroup v1 of ${CONTROLLERS[*]} in $CGROUPS: memory is watched every two seconds, not limited" >&2
    limits=$'ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nJobAcctGatherParams=OverMemoryKill'
  fi
  # A lost node is found in seconds, not in minutes, and a requeued job does not wait two minutes for an old credential.
  # By LLN jobs are spread over the nodes.
  cat > "$LAB/etc/slurm/slurm.conf" << CONF
ClusterName=surroscope_test
SlurmctldHost=head($NET.10)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=10
CredType=cred/munge
StateSaveLocation=$LAB/head/state
SlurmdSpoolDir=$LAB/%n/spool
SlurmctldPidFile=$LAB/head/slurmctld.pid
SlurmdPidFile=$LAB/%n/slurmd.pid
SlurmctldLogFile=$LAB/head/slurmctld.log
SlurmdLogFile=$LAB/%n/slurmd.log
MailProg=/bin/true
$limits
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=5,sched_interval=5
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=12
MessageTimeout=5
TCPTimeout=2
BatchStartTimeout=10
UnkillableStepTimeout=20
MinJobAge=3600
KillWait=5
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
AccountingStorageType=accounting_storage/none
DefMemPerCPU=500
GresTypes=gpu
NodeName=node1 NodeAddr=$NET.11 CoresPerSocket=4 RealMemory=$memory State=UNKNOWN
NodeName=node2 NodeAddr=$NET.12 CoresPerSocket=4 RealMemory=$memory State=UNKNOWN
NodeName=node3 NodeAddr=$NET.13 CoresPerSocket=4 RealMemory=$memory Gres=gpu:$GPUS State=UNKNOWN
PartitionName=cpu Nodes=node[1-2] Default=YES LLN=YES MaxTime=1-00:00:00 DefaultTime=10 State=UP
PartitionName=gpu Nodes=node3 MaxTime=1-00:00:00 DefaultTime=10 State=UP
CONF
  echo "NodeName=node3 Name=gpu File=$LAB/node3/gpu[0-$((GPUS - 1))]" > "$LAB/etc/slurm/gres.conf"
  echo "nameserver 127.0.0.1" > "$LAB/etc/resolv.conf"  # refuses at once: a name that is not in `hosts` costs no seconds
  number=0
  for one in "${MACHINES[@]}"; do echo "$NET.$((10 + number)) $one"; number=$((number + 1)); done > "$LAB/etc/hosts"
}

make_machine() {
  local machine=$1 address own=$LAB/$1 one
  address=$(awk -v name="$machine" '$2 == name {print $1}' "$LAB/etc/hosts")
  mkdir -p "$own"/{tmp,var-tmp,spool,state}
  chmod 1777 "$own/tmp" "$own/var-tmp"
  rm -f "$own/init.pid" "$own/slurmd.pid" "$own/slurmctld.pid"
  # SLURM 22 wants a character device a GPU; these are as /dev/null.
  for one in $(seq 0 $((GPUS - 1))); do [ -c "$own/gpu$one" ] || mknod "$own/gpu$one" c 1 3; done
  echo "$machine" > "$own/hostname"
  { echo "127.0.0.1 localhost"; echo "127.0.1.1 $machine"; cat "$LAB/etc/hosts"; } > "$own/hosts"  # its own name as Debian's installer has it
  ! enforced || { touch "$own/enforced"; for one in "${CONTROLLERS[@]}"; do mkdir -p "$(cgroup "$one" "$machine")"; done; }
  (
    join "$machine"
    exec setsid unshare --net --uts --ipc --mount --pid --cgroup --fork --kill-child=KILL --propagation slave \
      "$SELF" init "$machine" .
  ) < /dev/null > "$own/init.log" 2>&1 &
  disown
  within 100 first "$machine" || { tail -n 3 "$own/init.log" >&2; fail "$machine does not come up; see $own/init.log"; }
  if [ "$machine" = head ]; then
    on head ip link add eth0 type bridge
  else  # both ends are made where they belong: none is ever outside
    on head ip link delete "$machine" 2> /dev/null || true  # of one that was killed a moment ago
    # With an address of the hardware that stays, or the others would look for a restarted machine at its old one.
    nsenter --target "$(first "$machine")" --net ip link add name eth0 address "02:00:00:00:00:${address##*.}" \
      type veth peer name "$machine" netns "$(first head)"
    on head ip link set "$machine" master eth0 up
  fi
  on "$machine" ip address add "$address/24" dev eth0
  on "$machine" ip link set eth0 up
}

has() { on "$1" pgrep -x "$2"; }
answers() { on head scontrol ping | grep -q UP; }
all_idle() { [ "$(on head sinfo -h -N -o '%N %T' | sort -u | grep -cE ' (idle|mixed|allocated)$')" = ${#NODES[@]} ]; }

start() {
  local machine
  mkdir -p "$LAB/etc/slurm" "$SHARED/home"
  chmod 755 "$LAB" "$LAB/etc"
  install_packages
  mkdir -p /etc/slurm
  # What is mounted below it outside, is so at every machine.
  mountpoint -q "$SHARED" || { mount --bind "$SHARED" "$SHARED"; mount --make-private "$SHARED"; mount --make-shared "$SHARED"; }
  unshare --net --uts --mount --pid --ipc --cgroup --fork true 2> /dev/null \
    || fail "this kernel, or a container around, lets nobody make namespaces"
  configure
  first head > /dev/null || for machine in "${NODES[@]}"; do  # a new switch has no cables in it
    ! first "$machine" > /dev/null || fail "head has ended and $machine runs; 'nodes.sh stop' ends all"
  done
  for machine in "${MACHINES[@]}"; do first "$machine" > /dev/null || make_machine "$machine"; done
  for machine in "${NODES[@]}"; do on head ip link set "$machine" up; done
  for machine in "${MACHINES[@]}"; do
    has "$machine" munged > /dev/null || on "$machine" runuser -u munge -- /usr/sbin/munged --key-file="$LAB/etc/munge.key" \
      --log-file=/run/munge/munged.log --pid-file=/run/munge/munged.pid --seed-file=/run/munge/munged.seed \
      < /dev/null > "$LAB/$machine/munged.out" 2>&1 || { cat "$LAB/$machine/munged.out" >&2; fail "munged does not start at $machine"; }
  done
  cd "$LAB"
  has head slurmctld > /dev/null || on head slurmctld < /dev/null >> head/slurmctld.out 2>&1 || true
  within 100 answers || { tail -n 3 head/slurmctld.log >&2; fail "slurmctld does not answer; see $LAB/head/slurmctld.log"; }
  for machine in "${NODES[@]}"; do
    has "$machine" slurmd > /dev/null || on "$machine" slurmd -N "$machine" < /dev/null >> "$machine/slurmd.out" 2>&1 \
      || { tail -n 3 "$machine/slurmd.log" >&2; fail "slurmd does not start at $machine; see $LAB/$machine/slurmd.log"; }
  done
  within 50 all_idle || {
    # As an administrator would of a node that SLURM keeps drained; tests print it.
    echo "resumed: $(on head sinfo -h -R -o '%N: %E' | tr '\n' ' ')" >&2
    on head scontrol update nodename=node[1-3] state=resume || true
  }
  within 250 all_idle || fail "not all nodes come up ($(on head sinfo -h -R -o '%N: %E' | tr '\n' ' ')); see $LAB/node*/slurmd.log"
  on head sinfo -N -o '%P %N %T %c %m %G'
}

# The end of a machine's first process ends its others, and with them go its mounts, its network and its cable.
kill_machine() {
  local pid
  pid=$(first "$1") || return 0  # it does not run
  kill -9 "$pid"
  within 100 test ! -e "/proc/$pid" || { echo "error: $1 does not end (process $pid)" >&2; return 1; }
  rm -f "$LAB/$1/init.pid"
}

stop() {
  local machine controller group failed=
  for machine in "${MACHINES[@]}"; do
    # What is frozen does not end.
    find "$CGROUPS"/*/surroscope-nodes/"$machine" -name freezer.state -exec sh -c 'echo THAWED > "$1"' sh {} \; 2> /dev/null || true
    kill_machine "$machine" || failed="$failed $machine"
  done
  for controller in "${CONTROLLERS[@]}"; do
    group=$CGROUPS/$controller/surroscope-nodes
    [ -d "$group" ] || continue
    # A group is empty a little after its last process.
    within 50 sh -c 'find "$1" -depth -type d -exec rmdir {} + ; [ ! -d "$1" ]' sh "$group" || failed="$failed $group"
  done
  while mountpoint -q "$SHARED"; do umount --lazy --recursive "$SHARED"; done
  if [ "${1:-}" = keep ]; then echo "files of the cluster are kept in $LAB"; else rm -rf --one-file-system "$LAB"; fi
  ! grep -q surroscope-nodes /proc/self/mountinfo || failed="$failed mounts"
  ! grep -ls surroscope-nodes /proc/[0-9]*/cgroup > /dev/null || failed="$failed processes"
  [ -z "$failed" ] || fail "these are left:$failed"
}

[ "$(id -u)" = 0 ] || fail "a test cluster is started as root; run 'sudo make test-slurm'"
command -v apt-get > /dev/null || fail "a test cluster takes SLURM from Debian's packages, and there is no apt-get"
case $* in
  start | stop | "stop keep" | "init "*) "$@" ;;
  "on "*" "*) become "${@:2}" ;;
  "kill "*) kill_machine "$2" ;;
  "cable "*" down" | "cable "*" up") on head ip link set "$2" "$3" ;;
  *) fail "usage: nodes.sh start | stop [keep] | on NODE COMMAND... | cable NODE down|up | kill NODE" ;;
esac
