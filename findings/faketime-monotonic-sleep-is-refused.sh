#!/usr/bin/env bash
# Behaviour: with FAKETIME_DONT_FAKE_MONOTONIC=1 libfaketime refuses every sleep until a moment of the
#            monotonic clock: clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME) returns EINVAL. So
#            time.sleep() of CPython 3.11 and newer raises OSError, for any duration. A sleep for a
#            duration, as sleep(1) of coreutils makes, works. The variable is meant to leave the
#            monotonic clock alone.
# Seen:      libfaketime 0.9.10-2.1 of Debian 12, CPython 3.11.2 and 3.11.7: slept without the
#            variable, [Errno 22] with it.
# Source:    wolfcw/libfaketime, issue 426, mended after 0.9.10; clock_nanosleep(2);
#            Modules/timemodule.c of CPython, pysleep().
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq libfaketime=0.9.10-2.1 2>/dev/null
dpkg-deb -x libfaketime_*.deb .
library=$(echo "$folder"/usr/lib/*/faketime/libfaketime.so.1)
asleep() {
  env LD_PRELOAD="$library" FAKETIME=+1d "$@" python3 -c '
import time
try:
    time.sleep(0.001)
    print("slept")
except OSError as exc:
    print("errno", exc.errno)'
}
python3 -c 'import sys; assert sys.version_info >= (3, 11), "an older one sleeps by select(2)"'
seen="$(asleep), $(asleep FAKETIME_DONT_FAKE_MONOTONIC=1)"
env LD_PRELOAD="$library" FAKETIME=+1d FAKETIME_DONT_FAKE_MONOTONIC=1 sleep 0.001
echo "without and with the variable: $seen"
[ "$seen" = "slept, errno 22" ]
