#!/bin/bash
# The first process of User-mode Linux, which has the files of its host as its own, to be read only:
# run the tests of a bad network with the netem of that kernel, and halt.
# From the kernel's command line, as environment: PYTHON, an interpreter that has pytest, and MODULES, its modules.
echo "the kernel is up"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
export HOME=/run TMPDIR=/run PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
insmod "$MODULES/kernel/drivers/net/tun.ko"
insmod "$MODULES/kernel/net/sched/sch_netem.ko"
ip link set lo up
cd "${BASH_SOURCE%/*}/../.."
# Datagrams as they are. Streams are repaired by the TCP of the kernel, for which the test has a network of its own.
"$PYTHON" -m pytest -v --color=no -p no:cacheprovider tests/interop/test_udp_tools.py -k "[udp-netem]"
echo "tests ended: $?"
halt -f -p
