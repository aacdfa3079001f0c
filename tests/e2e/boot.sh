#!/bin/sh
# Become systemd on a copy of this machine: BOOT.SH FOLDER BOOT_ID, in namespaces of its own. What it writes lies in FOLDER.
set -eu
folder=$1 boot_id=$2
root=$folder/root
mkdir -p "$folder/upper" "$folder/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
echo "$boot_id" > "$folder/boot_id"
mount --bind "$folder/boot_id" "$root/proc/sys/kernel/random/boot_id"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    : > "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ip link set lo up
# The first boot of this copy begins nothing of the machine that it is a copy of.
[ -e "$folder/upper/booted" ] || rm -rf "$root"/etc/systemd/system/*.wants
: > "$root/booted"
: > "$root/etc/machine-id"
cd "$root"
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
export container=atoll-test PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec chroot . /lib/systemd/systemd --system --unit=multi-user.target --show-status=0 --log-target=null < /dev/null
