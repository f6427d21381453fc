// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/test/vmtest/internal/wire"
)

// Machine is one virtual machine and the command it is booted for. In it, /proc,
// /sys, /dev, /run, /tmp and /out are mounted, cgroup v2 is at /sys/fs/cgroup with
// the controllers memory, cpu, io and pids enabled for the root's children, lo is
// up, and there is nothing else: no shell, no libc, no network.
type Machine struct {
	Kernel  Kernel
	Files   []File
	Command []string // absolute path in the guest and arguments
	Env     []string // in addition to PATH, HOME and TMPDIR
	// Modules are kernel modules to load beside those that the machine itself needs.
	Modules []string
	// Boot are kernel parameters in addition to the machine's own.
	Boot []string
	// Systemd boots the machine with systemd as process 1, of which the command is a
	// service: a directory that FetchSystemd returned. The controllers are enabled by
	// it, and where its services want them.
	Systemd string
	// Disks are empty at the start of each boot and gone after it: /dev/vda, /dev/vdb.
	Disks []Disk
	// MemoryMiB (default 2048) and CPUs (default 2) size the machine.
	MemoryMiB, CPUs int
	// Beside lets the machine run beside others that say the same, for who needs
	// several and measures no times in them.
	Beside bool
	// Timeout (default 5 min) bounds one boot. When it ends the command gets
	// SIGQUIT, artefacts are still brought back, and Run returns an error that
	// wraps context.DeadlineExceeded.
	Timeout time.Duration
	// Output receives the command's stdout and stderr as they come, Console
	// what the kernel prints. Both may be nil.
	Output, Console io.Writer
}

const (
	defaultMemoryMiB = 2048
	defaultCPUs      = 2
	defaultTimeout   = 5 * time.Minute
)

// baseModules are what every machine needs: its serial port, and the interfaces
// with which tests build networks.
var baseModules = []string{"virtio_pci", "virtio_console", "veth"}

// Run boots the machine, runs the command and returns its exit code (128 + n
// after signal n). The guest's /out is brought back into the directory artefacts, which
// is created; "" leaves it there. Should the emulator fault, Run boots once
// more. That, and having to wait for another machine of this user, is announced in
// a line of Output that begins with "vmtest: " ([LastBoot]).
func (m *Machine) Run(ctx context.Context, artefacts string) (exit int, err error) {
	emulator, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return 0, ErrNoQEMU
	}
	if len(m.Command) == 0 {
		return 0, errors.New("the machine has no command")
	}
	image, err := m.build(ctx)
	if err != nil {
		return 0, fmt.Errorf("prepare the machine: %w", err)
	}
	defer os.Remove(image)
	unlock, err := lock(ctx, "machine", m.Beside, func() { fmt.Fprintln(or(m.Output), "vmtest: waiting for another machine to end") })
	if err != nil {
		return 0, err
	}
	defer unlock()

	var fault *faultError
	for boot := 1; boot <= 2; boot++ {
		exit, err = m.boot(ctx, emulator, image, artefacts)
		if !errors.As(err, &fault) {
			return exit, err
		}
		if boot == 1 {
			fmt.Fprintf(or(m.Output), "vmtest: the emulated machine faulted (%s)%s", fault.line, bootsAgain)
		}
	}
	return 0, fmt.Errorf("%w: %w", ErrEmulator, err)
}

// bootsAgain ends the line of Output that announces a second boot.
const bootsAgain = "; booting once more\n"

// LastBoot returns what of a machine's output its last boot said: when the emulator
// faulted, Output holds what was said before, too.
func LastBoot(output string) string {
	if at := strings.LastIndex(output, bootsAgain); at >= 0 {
		return output[at+len(bootsAgain):]
	}
	return output
}

// build writes the initramfs to a file and returns its path.
func (m *Machine) build(ctx context.Context) (string, error) {
	if _, err := os.Stat(m.Kernel.Image); err != nil {
		return "", fmt.Errorf("find the kernel: %w", err)
	}
	init, err := buildInit(ctx)
	if err != nil {
		return "", err
	}
	wanted := append(append([]string{}, baseModules...), m.Modules...)
	if len(m.Disks) > 0 {
		wanted = append(wanted, diskModule)
	}
	modules, err := loadOrder(m.Kernel, wanted)
	if err != nil {
		return "", err
	}
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "initramfs-")
	if err != nil {
		return "", err
	}
	config, trees := wire.Config{Command: m.Command, Env: m.Env}, []string(nil)
	if m.Systemd != "" {
		config.Manager, trees = systemdInit, []string{m.Systemd}
	}
	err = errors.Join(initramfs(f, init, modules, trees, m.Files, config), f.Close())
	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

func or(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
