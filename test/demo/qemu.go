// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/otelcol-reflex/reflex/test/vmtest"
)

// EnsureQEMU sees to it that the emulator is there: root on a system with apt
// gets it installed, anybody else is told its name.
func EnsureQEMU(ctx context.Context, notice io.Writer) error {
	if _, err := exec.LookPath("qemu-system-x86_64"); err == nil {
		return nil
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return vmtest.ErrNoQEMU
	}
	fmt.Fprintln(notice, "installing qemu-system-x86 with apt-get")
	install := func() ([]byte, error) {
		cmd := exec.CommandContext(ctx, apt, "install", "-y", "--no-install-recommends", "qemu-system-x86")
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		return cmd.CombinedOutput()
	}
	if _, err := install(); err != nil { // a fresh machine has no package lists yet
		if out, err := exec.CommandContext(ctx, apt, "update").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: apt-get update: %w\n%s", vmtest.ErrNoQEMU, err, out)
		}
		if out, err := install(); err != nil {
			return fmt.Errorf("%w: apt-get install: %w\n%s", vmtest.ErrNoQEMU, err, out)
		}
	}
	return nil
}
