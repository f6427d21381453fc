// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// mounts are made in this order. Optional ones may be unknown to the kernel.
var mounts = []struct {
	fs, dir, options string
	optional         bool
}{
	{"proc", "/proc", "", false},
	{"sysfs", "/sys", "", false},
	{"devtmpfs", "/dev", "", false},
	{"devpts", "/dev/pts", "", true},
	{"tmpfs", "/dev/shm", "", false},
	{"tmpfs", "/run", "mode=0755", false},
	{"tmpfs", "/tmp", "mode=1777", false},
	{"tmpfs", "/out", "mode=1777", false},
	{"cgroup2", "/sys/fs/cgroup", "", false},
	{"bpf", "/sys/fs/bpf", "", true},
	{"tracefs", "/sys/kernel/tracing", "", true},
}

// mountAll leaves control groups to a service manager.
func mountAll(managed bool) error {
	for _, m := range mounts {
		if managed && m.fs == "cgroup2" {
			continue
		}
		// Directories below sysfs exist or cannot be made.
		if !strings.HasPrefix(m.dir, "/sys/") {
			if err := os.MkdirAll(m.dir, 0o755); err != nil {
				return fmt.Errorf("mount %s: %w", m.dir, err)
			}
		}
		err := syscall.Mount(m.fs, m.dir, m.fs, syscall.MS_NOSUID, m.options)
		if err != nil && !m.optional {
			return fmt.Errorf("mount %s on %s: %w", m.fs, m.dir, err)
		}
	}
	return nil
}

// loadModules loads module files in order. A module that is there already is
// no error.
func loadModules(paths []string) error {
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("load a module: %w", err)
		}
		var none [1]byte
		_, _, errno := syscall.Syscall(sysFinitModule, f.Fd(), uintptr(unsafe.Pointer(&none[0])), 0)
		_ = f.Close()
		if errno != 0 && !errors.Is(errno, syscall.EEXIST) {
			return fmt.Errorf("load the module %s: %w", path, errno)
		}
	}
	return nil
}

// sysFinitModule is finit_module(2) on amd64.
const sysFinitModule = 313

// settle makes the machine look like one: a name, a loopback, controllers for
// the cgroups of whoever comes.
func settle() error {
	if err := syscall.Sethostname([]byte("vmtest")); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := raiseLoopback(); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	const control = "/sys/fs/cgroup/cgroup.subtree_control"
	for _, c := range []string{"+memory", "+cpu", "+io", "+pids"} {
		if err := os.WriteFile(control, []byte(c), 0); err != nil {
			return fmt.Errorf("enable the controller %s: %w", c, err)
		}
	}
	return nil
}

// raiseLoopback sets lo up; the kernel then gives it its addresses.
func raiseLoopback() error {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(s)
	// struct ifreq, with its union as flags.
	request := struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{flags: syscall.IFF_UP}
	copy(request.name[:], "lo")
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
