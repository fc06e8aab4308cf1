#!/usr/bin/env bash
# Behaviour: the start time in /proc/PID/stat has the offset of the reader's time namespace. A process
#            of another time namespace reads another start time for the same process, so "same pid, same
#            start time" calls a living process another one.
# Seen:      Linux 6.18.44, with a boottime offset of 100,000 s: the two differ by 10,000,000 ticks.
# Source:    linux/fs/proc/array.c, do_task_stat(); time_namespaces(7) and proc_pid_stat(5) do not
#            name the field.
# Needs root.
set -euo pipefail
uname -sr
read_start='import sys; print(open(f"/proc/{sys.argv[1]}/stat").read().rpartition(")")[2].split()[19])'
here=$(python3 -c "$read_start" $$)
there=$(unshare --time --boottime 100000 --fork python3 -c "$read_start" $$)
echo "start of process $$: $here; read in another time namespace: $there"
[ $((there - here)) = $((100000 * $(getconf CLK_TCK))) ]
