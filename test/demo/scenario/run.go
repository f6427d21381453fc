// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// Run runs every arm of s and leaves the recording in s.Out.
func Run(ctx context.Context, s Settings, stream *Stream) (err error) {
	if err := s.Check(); err != nil {
		return err
	}
	for _, dir := range []string{s.logs(), filepath.Join(s.Out, "otlp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// Below a cgroup that others share, everything of ours is in one of our own.
	if _, err := os.Stat(filepath.Join(s.Base, "cgroup.procs")); errors.Is(err, os.ErrNotExist) {
		if err := stage.Delegate(filepath.Dir(s.Base)); err != nil {
			return err
		}
		base, err := stage.NewCgroup(filepath.Dir(s.Base), filepath.Base(s.Base))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, base.Remove()) }()
	}
	if err := stage.Delegate(s.Base); err != nil {
		return err
	}
	if err := recording.WriteJSON(s.Out, recording.EnvironmentFile, environment(&s)); err != nil {
		return err
	}
	for _, name := range s.Arms {
		if err := runArm(ctx, &s, name, stream); err != nil {
			return fmt.Errorf("arm %q: %w", name, err)
		}
	}
	return nil
}

// environment describes the machine it runs on, as far as it can see.
func environment(s *Settings) recording.Environment {
	e := recording.Environment{Architecture: runtime.GOARCH, CPUs: runtime.NumCPU()}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		e.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		e.MemoryBytes = uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // narrower on 32-bit machines
		e.SwapBytes = uint64(info.Totalswap) * uint64(info.Unit)  //nolint:unconvert // narrower on 32-bit machines
	}
	if s.Collector != "" {
		if out, err := exec.Command(s.Collector, "--version").Output(); err == nil {
			e.Collector = strings.TrimSpace(string(out))
		}
	}
	return e
}
