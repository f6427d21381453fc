// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/otelcol-reflex/reflex/test/vmtest/internal/wire"
)

// wrapUp is how long a machine may take to report after it has been told to stop.
const wrapUp = 20 * time.Second

// commandLine is the kernel's. An oops ends the machine at once: under
// emulation it is either the emulator's fault or a finding, never something to
// run on from.
const commandLine = "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic psi=1 no_timer_check nowatchdog rdinit=/init"

// faultError is the death of a machine by an unexpected exception, or its
// standing still.
type faultError struct{ line, console string }

func (e *faultError) Error() string {
	return fmt.Sprintf("the kernel died of %q; its last lines:\n%s", e.line, e.console)
}

// boot runs one QEMU from start to end.
func (m *Machine) boot(ctx context.Context, emulator, image, artefacts string) (int, error) {
	timeout := m.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	host, guest, err := socketPair()
	if err != nil {
		return 0, fmt.Errorf("connect the machine: %w", err)
	}
	defer host.Close()
	disks, removeDisks, err := m.makeDisks()
	if err != nil {
		return 0, errors.Join(err, guest.Close())
	}
	defer func() { _ = removeDisks() }()
	lines := newConsole(or(m.Console))
	cmd := exec.Command(emulator, append(m.arguments(image), m.diskArguments(disks)...)...)
	cmd.Stdout, cmd.Stderr = lines, lines
	cmd.ExtraFiles = []*os.File{guest} // descriptor 3
	ended, err := start(cmd)
	_ = guest.Close()
	if err != nil {
		return 0, fmt.Errorf("start the emulator: %w", err)
	}

	// Told to stop, the guest reports and powers off; if it cannot, it is killed.
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-finished:
			return
		case <-lines.hung:
			_ = cmd.Process.Kill()
			return
		case <-bounded.Done():
		}
		_, _ = host.Write([]byte{wire.Stop})
		select {
		case <-finished:
		case <-time.After(wrapUp):
			_ = cmd.Process.Kill()
		}
	}()

	received, receiveErr := receive(host, or(m.Output), artefacts)
	if receiveErr == nil {
		_, _ = host.Write([]byte{wire.Acknowledge})
	} else {
		_ = host.Close() // nobody will read what comes; the guest must not wait for us
	}
	var exitErr error
	select {
	case exitErr = <-ended:
	case <-time.After(wrapUp):
		_ = cmd.Process.Kill()
		exitErr = <-ended
	}
	switch {
	case bounded.Err() != nil:
		return 0, fmt.Errorf("the machine did not finish: %w; its last lines:\n%s", bounded.Err(), lines.lastLines(12))
	case receiveErr == nil && received.failed != "":
		return 0, fmt.Errorf("the machine's init failed: %s", received.failed)
	case receiveErr == nil:
		return received.exit, nil
	}
	if line := lines.fault(); line != "" {
		return 0, &faultError{line, lines.lastLines(40)}
	}
	return 0, fmt.Errorf("the machine ended without a result: %w; its last lines:\n%s", errors.Join(receiveErr, exitErr), lines.epitaph(25))
}

// arguments is QEMU's command line. cmpxchg16b is masked because the emulator
// gets it wrong under contention when many threads share a host core.
func (m *Machine) arguments(image string) []string {
	memory, cpus := m.MemoryMiB, m.CPUs
	if memory == 0 {
		memory = defaultMemoryMiB
	}
	if cpus == 0 {
		cpus = defaultCPUs
	}
	fixed := strings.Fields("-nodefaults -no-user-config -display none -no-reboot -serial stdio -accel tcg,thread=multi -cpu max,-cx16" +
		" -smp " + strconv.Itoa(cpus) + " -m " + strconv.Itoa(memory) +
		" -chardev socket,id=port,fd=3 -device virtio-serial-pci -device virtserialport,chardev=port,name=" + wire.Port)
	return append(fixed, "-kernel", m.Kernel.Image, "-initrd", image, "-append", strings.Join(append([]string{commandLine}, m.Boot...), " "))
}

// start starts cmd in a thread that lives as long as it, and has the kernel kill
// it when that thread dies: no emulator outlives its test.
func start(cmd *exec.Cmd) (<-chan error, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	return ended, <-started
}

// socketPair returns the two ends of a stream: a pollable one for us, one to inherit.
func socketPair() (host, guest *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "machine"), os.NewFile(uintptr(fds[1]), "port"), nil
}
