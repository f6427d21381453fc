// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/testmachine"
)

// xdpFilter is the program of xdp-filter (https://github.com/xdp-project/xdp-tools),
// as it is installed on this machine, with one source on its list of those to drop.
func xdpFilter(tb testing.TB, command, source string) *ebpf.Program {
	tb.Helper()
	var program *ebpf.Program
	inOwnNetwork(tb, func() error {
		if err := addVeth(); err != nil {
			return err
		}
		for _, end := range []string{hereEnd, farEnd} {
			if err := testmachine.SwitchOn(end); err != nil {
				return err
			}
		}
		// What it pins goes with the mount namespace. Its dispatcher, which calls one
		// program after another, needs what not every kernel has, and would cost more.
		c := exec.Command("unshare", "--mount", "sh", "-ec", `mount -t bpf bpf /sys/fs/bpf
			"$0" load "$1" --mode native --policy allow
			"$0" ip "$2" --mode src`, command, hereEnd, source)
		c.Env = append(os.Environ(), "LIBXDP_SKIP_DISPATCHER=1")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
		var newest ebpf.ProgramID
		for id := ebpf.ProgramID(0); ; {
			var err error
			if id, err = ebpf.ProgramGetNextID(id); err != nil {
				break // there are no more
			}
			p, err := ebpf.NewProgramFromID(id)
			if err != nil {
				continue // gone
			}
			if info, err := p.Info(); err == nil && info.Type == ebpf.XDP && strings.HasPrefix(info.Name, "xdpfilt_") {
				newest = id
			}
			_ = p.Close()
		}
		var err error
		program, err = ebpf.NewProgramFromID(newest)
		return err
	})
	tb.Cleanup(func() { require.NoError(tb, program.Close()) })
	return program
}
