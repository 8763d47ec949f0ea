#!/bin/bash
# Becomes the first process of a machine of its own: systemd over a copy-on-write view of this one's files.
# Called within fresh namespaces (see lab.py): $1 is an empty directory to build it in, $2 becomes /opt/stage.
set -eu
top=$1 stage=$2
ip link set lo up
mount --make-rprivate /
mount -t tmpfs tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$top/root"
root=$top/root
for place in proc sys run tmp dev; do mkdir -p "$root/$place"; done
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for place in run tmp dev; do mount -t tmpfs tmpfs "$root/$place"; done
mkdir -p "$root/dev/pts" "$root/dev/shm" "$root/run/systemd/system" "$root/opt/stage"
chmod 1777 "$root/tmp" "$root/dev/shm"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup" 2>/dev/null || true
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --bind "$stage" "$root/opt/stage"
rm -rf "$root/var/lib/tickerd" "$root/etc/tickerd" "$root/opt/tickerd"
# Nothing of this machine's own services: only what the tests start.
for unit in "$root"/etc/systemd/system/*.wants/*; do
  [ -e "$unit" ] || [ -L "$unit" ] && ln -sf /dev/null "$root/run/systemd/system/$(basename "$unit")"
done
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-networkd.service systemd-resolved.service \
  systemd-timesyncd.service systemd-remount-fs.service systemd-modules-load.service proc-sys-fs-binfmt_misc.automount \
  sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount apt-daily.timer \
  getty.target console-getty.service; do
  ln -sf /dev/null "$root/run/systemd/system/$unit"
done
mkdir "$root/.old"
cd "$root"
pivot_root . .old
# Without shared mounts, LoadCredential's would not be seen by the service.
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -c '
  umount -l /.old
  mount --make-rshared /
  exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal </dev/null >/dev/null 2>&1'
