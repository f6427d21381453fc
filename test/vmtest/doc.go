// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package vmtest boots a Linux kernel under QEMU's software emulation and runs
// one command in it, as root, on a clean machine with cgroup v2. It needs
// neither KVM nor privilege.
//
// The kernels are Debian's cloud images, fetched as packages by apt's own
// client with a private configuration into the user's cache directory
// ([Fetch]); the system's package sources and lists are never touched. The root
// file system is an initramfs written for each run: a small static init, the
// files the caller names, and the kernel modules that are needed.
//
// The package promises that output arrives complete, in order and binary clean,
// that the guest's /out comes back even when the command failed or ran out of
// time, that no QEMU outlives the test that started it, and that what is missing
// on the host is a typed error that says how to get it. It refuses to be a
// performance laboratory: instructions are emulated, so times in the guest are
// orders of magnitude. Machines of one user run one at a time, because two of
// them on two cores would measure each other, unless all of them say that they
// measure no times ([Machine]'s Beside).
//
// Emulated CPUs now and then fault where real ones do not (a double fault, a
// stray int3). The kernel is told to die on the spot when that happens; [Machine.Run]
// recognises such a death, says so and boots once more.
package vmtest
