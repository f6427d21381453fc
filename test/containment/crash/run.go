// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/otelcol-reflex/reflex/test/vmtest"
)

// VM says what to play in a virtual machine.
type VM struct {
	Kernel string // as vmtest names it
	Kills  int
	Seed   uint64
	Output io.Writer // receives what the guest says
}

// perKill bounds what a kill takes in emulation on a busy machine.
const perKill = 10 * time.Second

// Run boots a machine, kills in it and returns what came of it. What the guest
// left is in dir.
func (v VM) Run(ctx context.Context, dir string) (*Report, error) {
	binaries, err := os.MkdirTemp("", "reflex-crash-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(binaries)
	if err := Build(ctx, binaries); err != nil {
		return nil, err
	}
	kernel, err := vmtest.Fetch(ctx, v.Kernel, v.Output)
	if err != nil {
		return nil, err
	}
	m := vmtest.Machine{
		Kernel: kernel,
		Files: []vmtest.File{
			{Guest: "/bin/crash", Host: filepath.Join(binaries, "crash"), Mode: 0o755},
			{Guest: "/bin/reflexguard", Host: filepath.Join(binaries, "reflexguard"), Mode: 0o755},
		},
		Command: []string{
			"/bin/crash", "drive", "-root", "/sys/fs/cgroup", "-guard", "/bin/reflexguard", "-dir", "/run", "-out", "/out",
			"-kills", strconv.Itoa(v.Kills), "-seed", strconv.FormatUint(v.Seed, 10),
		},
		Output: v.Output, Timeout: 2*time.Minute + time.Duration(v.Kills)*perKill,
	}
	exit, err := m.Run(ctx, dir)
	if err != nil {
		return nil, err
	}
	r, err := Load(dir)
	if err != nil || exit != 0 {
		return nil, errors.Join(fmt.Errorf("the guest ended with %d", exit), err)
	}
	return r, nil
}

// Build builds reflexguard, and the program of this suite, with the steps at
// which they can be stopped.
func Build(ctx context.Context, dir string) error {
	const module = "github.com/otelcol-reflex/reflex"
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return fmt.Errorf("find %s: %w", module, err)
	}
	for name, from := range map[string]string{"reflexguard": string(bytes.TrimSpace(root)), "crash": ""} {
		pkg := module + "/test/cmd/crash"
		if from != "" {
			pkg = "./cmd/" + name
		}
		build := exec.CommandContext(ctx, "go", "build", "-tags", "faultpoints", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name), pkg)
		build.Dir, build.Env = from, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, bytes.TrimSpace(out))
		}
	}
	return nil
}
