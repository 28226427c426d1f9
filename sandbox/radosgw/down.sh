#!/bin/bash
# Stops what up.sh started.
D=${LAB:-${TMPDIR:-/tmp}/writ-lab}/ceph/run
for n in rgw osd mon; do [ -f "$D/pid.$n" ] && kill "$(cat "$D/pid.$n")" 2>/dev/null; done; true
