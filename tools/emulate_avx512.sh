#!/usr/bin/env bash
# Runs the kernel checks for AVX-512 on a machine that has none: boots Debian's kernel under Bochs, an
# emulator of a whole PC, with the check program as all there is to run, and compares the bits with
# those of this machine's own AVX2. Takes minutes, so neither ./run test nor CI does it.
# Usage: emulate_avx512.sh KERNEL_CHECK [ISA...]   (ISA: avx512 and avx512vnni without any)
# docs/hacking.md says how to build KERNEL_CHECK. Exits with its status, or 124 after $TIMEOUT s (3600).
set -euo pipefail
check=$(readlink -f "${1:?usage: emulate_avx512.sh KERNEL_CHECK [ISA...]}")
shift
(($#)) || set -- avx512 avx512vnni
work=$(dirname "$check")/emulated

packages=(bochs bochs-term bochsbios vgabios isolinux syslinux-common xorriso busybox-static cpio)
if ! dpkg -s "${packages[@]}" &>/dev/null; then
    echo "to install as root: ${packages[*]}"
    ((EUID == 0)) || exit 2
    apt-get update -q >/dev/null
    apt-get install -qy --no-install-recommends "${packages[@]}" </dev/null >/dev/null
fi
mkdir -p "$work/cd" "$work/root" && cd "$work"

# Unpacked, not installed: this machine shall not boot from it. The cloud flavour is the smallest.
if [[ ! -e cd/vmlinuz ]]; then
    kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p')
    echo "unpacking $kernel"
    apt-get download -q -o APT::Sandbox::User=root "$kernel" >/dev/null
    dpkg-deb --fsys-tarfile "$kernel"_*.deb | tar -xO --wildcards './boot/vmlinuz-*' >cd/vmlinuz
fi
# The root file system: a shell and the (static) program. The sleep: what the serial port has not sent
# when the power goes is lost.
cp /bin/busybox "$check" root
printf '%s\n' '#!/busybox sh' "/$(basename "$check") $*" 'echo "status $?"' '/busybox sleep 2' \
    '/busybox poweroff -f' >root/init
chmod +x root/init
(cd root && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) >cd/initrd

# Bochs 2.7 describes the saved state of protection keys and compacted xsave wrongly, so that Linux
# would do without AVX, and with fsrm (fast short rep movsb) Linux hangs early.
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 cd
echo "default /vmlinuz initrd=/initrd console=ttyS0,115200 quiet mitigations=off" \
    "nopku noxsaves clearcpuid=pku,ospke,xsavec,fsrm" >cd/isolinux.cfg
xorriso -as mkisofs -quiet -o cd.iso -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
    -boot-info-table cd 2>/dev/null
cat >bochsrc <<'TEXT'
display_library: term
cpu: model=corei7_icelake_u, ips=100000000, reset_on_triple_fault=0
megs: 512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=cd.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial.txt
log: bochs.log
panic: action=fatal
TEXT
echo continue >debugger  # Debian's Bochs starts in its debugger

echo "running $(basename "$check") $* under Bochs; it prints to $work/serial.txt"
rm -f cd.iso.lock
: >serial.txt
# Bochs draws its screen to a terminal that nobody reads, so to one that cannot blink a cursor: Bochs
# would wait for a reader once the buffer is full. SIGTERM would only bring it back to its debugger.
TERM=vt100 timeout -s KILL "${TIMEOUT:-3600}" \
    bochs-bin -q -f bochsrc -rc debugger </dev/null >bochs.out 2>&1 || true
tr -d '\r' <serial.txt | tee output.txt
status=$(sed -n 's/^status //p' output.txt)
[[ -n $status ]] || { echo "no status after $SECONDS s: see $work" && exit 124; }

"$check" avx2 2>/dev/null | sed 's/^avx2 //' >avx2.txt
for isa in "$@"; do
    ((status == 0)) || continue
    sed -n "s/^$isa //p" output.txt | diff avx2.txt - && echo "$isa gives the bits of avx2" && continue
    echo "failed: avx2 (<) and $isa (>) give different bits"
    status=1
done
echo "status $status after $SECONDS s"
exit "$status"
