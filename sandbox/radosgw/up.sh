#!/bin/bash
# A throw-away Ceph (monitor, memory store, radosgw) on 127.0.0.1, from Debian's packages, which are unpacked and not
# installed. Packages are kept in $LAB between runs; data is new every time. Prints what a client needs to know.
set -eu
LAB=${LAB:-${TMPDIR:-/tmp}/writ-lab}/ceph; R=$LAB/root; D=$LAB/run; mkdir -p "$LAB/debs"
if [ ! -x "$R/usr/bin/radosgw" ]; then
  apt-get update -qq >/dev/null
  (cd "$LAB/debs" && chmod 777 . && apt-get download -qq $(apt-get install -s --no-install-recommends radosgw ceph-mon ceph-osd ceph-common ceph-mgr | awk '/^Inst/{print $2}') >/dev/null)
  mkdir -p "$R"; for d in "$LAB"/debs/*.deb; do dpkg-deb -x "$d" "$R"; done
fi
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
for port in 16789 18480; do if listens "$port"; then echo "something listens on $port already: sandbox/radosgw/down.sh stops what this started" >&2; exit 1; fi; done
rm -rf "$D"; mkdir -p "$D"/{mon,osd,log,rgw}
export LD_LIBRARY_PATH=$R/usr/lib/x86_64-linux-gnu:$R/usr/lib/x86_64-linux-gnu/ceph:$R/usr/lib:$R/lib/x86_64-linux-gnu PATH=$R/usr/bin:$PATH CEPH_CONF=$D/ceph.conf PYTHONPATH=$R/usr/lib/python3/dist-packages
FS=$(cat /proc/sys/kernel/random/uuid)
cat > "$CEPH_CONF" <<C
[global]
fsid = $FS
mon_host = [v1:127.0.0.1:16789]
ms_bind_msgr2 = false
ms_mon_cluster_mode = crc
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = true
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
run_dir = $D
pid_file = $D/\$name.pid
admin_socket = $D/\$name.asok
log_file = $D/log/\$name.log
crash_dir = $D/log
plugin_dir = $R/usr/lib/x86_64-linux-gnu/ceph
erasure_code_dir = $R/usr/lib/x86_64-linux-gnu/ceph/erasure-code
osd_class_dir = $R/usr/lib/x86_64-linux-gnu/rados-classes
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_data_avail_crit = 1
mon_max_pg_per_osd = 2000
[mon.a]
mon_data = $D/mon
mon_initial_members = a
[osd.0]
osd_data = $D/osd
osd_objectstore = memstore
memstore_device_bytes = 536870912
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:18480 tcp_nodelay=1
rgw_data = $D/rgw
rgw_s3_auth_use_sts = true
rgw_sts_key = abcdefghijklmnop
rgw_sts_min_session_duration = ${STS_MIN:-900}
rgw_enable_apis = s3, sts, iam, admin
C
monmaptool --create --clobber --addv a "[v1:127.0.0.1:16789]" --fsid "$FS" "$D/monmap" >/dev/null
ceph-mon -i a --mkfs --monmap "$D/monmap" >/dev/null 2>&1
setsid ceph-mon -i a -f >"$D/log/mon.out" 2>&1 & echo $! >"$D/pid.mon"
sleep 2
ceph-osd -i 0 --mkfs --osd-uuid "$(cat /proc/sys/kernel/random/uuid)" >"$D/log/osd-mkfs.out" 2>&1
/usr/bin/python3 "$R/usr/bin/ceph" osd new "$(cat "$D/osd/fsid")" >/dev/null 2>&1
# An OSD that speaks to the monitor before it knows the cluster's fsid ends ("wrong fsid"): now and then one does.
for _ in $(seq 10); do
  setsid ceph-osd -i 0 -f >>"$D/log/osd.out" 2>&1 & echo $! >"$D/pid.osd"
  sleep 3
  if kill -0 "$(cat "$D/pid.osd")" 2>/dev/null; then break; fi
done
setsid radosgw -n client.rgw -f >"$D/log/rgw.out" 2>&1 & echo $! >"$D/pid.rgw"
for _ in $(seq 60); do listens 18480 && break; sleep 1; done
listens 18480 || { echo "radosgw did not start; its log is in $D/log" >&2; exit 1; }
timeout 60 radosgw-admin -n client.rgw user create --tenant 123456789012 --uid broker --display-name broker --access-key BROKERKEY --secret-key brokersecret --caps 'roles=*;user-policy=*' >/dev/null 2>&1
timeout 60 radosgw-admin -n client.rgw user create --tenant 123456789012 --uid admin --display-name admin --access-key ADMINKEY --secret-key adminsecret --caps 'roles=*;user-policy=*;oidc-provider=*' >/dev/null 2>&1
cat <<S
export AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=BROKERKEY AWS_SECRET_ACCESS_KEY=brokersecret
export AWS_ENDPOINT_URL=http://127.0.0.1:18480
S
