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

// rehearsed are the knobs of a self-test: the file as nobody limits it, what is
// asked first, and what then.
var rehearsed = []struct {
	action     arc.Action
	file, text string
	first      uint64
	then       uint64
}{
	{arc.ActionMemoryHigh, "memory.high", "max", 200 << 20, 300 << 20},
	{arc.ActionCPUWeight, "cpu.weight", "100", 10, 20},
	{arc.ActionCPUIdle, "cpu.idle", "0", 1, 1},
	{arc.ActionCPUMax, "cpu.max", "max 100000", 200_000, 400_000},
	{arc.ActionIOWeight, "io.weight", "default 100", 10, 20},
	{arc.ActionIOMaxRead, "io.max", "8:0 rbps=max wbps=max", 10 << 20, 20 << 20},
	{arc.ActionIOMaxWrite, "io.max", "8:0 rbps=max wbps=max", 10 << 20, 20 << 20},
	{arc.ActionPidsMax, "pids.max", "max", 100, 200},
	{arc.ActionFreeze, "cgroup.freeze", "0", 1, 1},
}

// SelfTest grants, moves, releases, loses and restores leases of every knob on a
// cgroup made of plain files in a temporary directory below dir. A guard that
// passes it works, and the pages it needs for that are in memory: locked there
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
	dir := filepath.Join(top, "target")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	files := map[string]string{
		"memory.max": "max", "memory.current": "104857600", "memory.stat": "anon 4096\nfile 0\nkernel 4096",
		"pids.current": "1", "cpu.max.burst": "0", "cgroup.procs": "", "cgroup.type": "domain",
	}
	for _, r := range rehearsed {
		files[r.file] = r.text
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			return err
		}
	}
	now := boottime()
	config := Config{
		Root: top, KillSwitch: filepath.Join(top, "off"), Attributes: &cgroupfs.Memory{}, GrantsPerMinute: 2 * len(rehearsed),
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
	for _, r := range rehearsed {
		now += int64(time.Second) // decided after the guard started
		order := arc.Order{Cgroup: d.ID(), Action: r.action, TTL: int64(MinTTL), Parameter: r.first, Generation: uint64(now), Reason: "self-test"}
		if g.knobs[r.action].device() {
			order.Device = 8 << 32
		}
		moved, release, again := order, order, order
		moved.Parameter, release.Verb = r.then, arc.Release
		again.Generation++
		var original uint64
		for _, step := range []struct {
			order arc.Order
			want  arc.Verdict
			after time.Duration
		}{
			{order, arc.VerdictGranted, 0},
			{moved, arc.VerdictHeld, MinTTL / 2},
			{release, arc.VerdictReleased, 0},
			{again, arc.VerdictGranted, 0},
		} {
			now += int64(step.after)
			var out arc.Outcome
			if err := g.Act(ctx, step.order, &out); err != nil {
				return err
			}
			if out.Verdict != step.want {
				err := fmt.Errorf("an order to %s %s was %s instead of %s: %s", step.order.Verb, r.action, out.Verdict, step.want, out.Cause)
				// A directory that has become full is told apart from a guard that fails.
				return errors.Join(err, os.WriteFile(filepath.Join(dir, r.file), []byte(r.text+"\n"), 0o600))
			}
			original = out.Original
		}
		now += int64(MinTTL)
		g.Patrol()
		if v, err := g.knobs[r.action].read(target{d, device(order.Device)}); err != nil || v != original {
			return errors.Join(fmt.Errorf("after expiry %s is %d", r.action, v), err)
		}
	}
	g.Status()
	return nil
}
