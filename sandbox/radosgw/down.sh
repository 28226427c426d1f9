#!/bin/bash
# Stops what up.sh started, and returns when it has ended: another start may follow at once.
D=${LAB:-${TMPDIR:-/tmp}/writ-lab}/ceph/run
for n in rgw osd mon; do
  [ -f "$D/pid.$n" ] || continue
  p=$(cat "$D/pid.$n")
  kill "$p" 2>/dev/null
  for _ in $(seq 100); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$p" 2>/dev/null
done
true
