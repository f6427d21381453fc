// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// SelfTest grants, moves, releases, loses and restores leases on a cgroup made
// of plain files in a temporary directory below dir. A guard that passes it
// works, and the pages it needs for that are in memory: locked there
// afterwards, applying and releasing need no disk.
func SelfTest(ctx context.Context, dir string) error {
	top, err := os.MkdirTemp(dir, "reflex-selftest-")
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	defer func() { _ = os.RemoveAll(top) }()
	if err := selfTest(ctx, top); err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	return nil
}

func selfTest(ctx context.Context, top string) error {
	target := filepath.Join(top, "target")
	if err := os.Mkdir(target, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"memory.high": "max\n", "memory.max": "max\n", "memory.current": "104857600\n",
		"memory.stat": "anon 4096\nfile 0\nkernel 4096\n", "cgroup.procs": "", "cgroup.type": "domain\n",
	} {
		if err := os.WriteFile(filepath.Join(target, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	now := boottime()
	config := Config{
		Root: top, KillSwitch: filepath.Join(top, "off"), Attributes: &cgroupfs.Memory{},
		Clock: func() int64 { return now },
	}
	g, err := New(config)
	if err != nil {
		return err
	}
	defer func() { _ = g.Close() }()
	d, err := g.root.OpenPath("/target")
	if err != nil {
		return err
	}
	defer d.Close()
	order := arc.Order{Cgroup: d.ID(), Action: arc.ActionMemoryHigh, TTL: int64(MinTTL), Parameter: 200 << 20, Reason: "self-test"}
	release := order
	release.Verb = arc.Release
	for _, step := range []struct {
		order arc.Order
		want  arc.Verdict
		after time.Duration
	}{
		{order, arc.VerdictGranted, 0},
		{order, arc.VerdictHeld, time.Second},
		{release, arc.VerdictReleased, 0},
		{order, arc.VerdictGranted, 0},
	} {
		now += int64(step.after)
		var out arc.Outcome
		if err := g.Act(ctx, step.order, &out); err != nil {
			return err
		}
		if out.Verdict != step.want {
			err := fmt.Errorf("an order to %s was %s instead of %s: %s", step.order.Verb, out.Verdict, step.want, out.Cause)
			// A directory that has become full is told apart from a guard that fails.
			return errors.Join(err, os.WriteFile(filepath.Join(target, "memory.high"), []byte("max\n"), 0o600))
		}
	}
	now += int64(MinTTL)
	g.Patrol()
	if v, err := d.ReadUint("memory.high"); err != nil || v != arc.Unlimited {
		return errors.Join(fmt.Errorf("after expiry memory.high is %d", v), err)
	}
	g.Status()
	return nil
}
