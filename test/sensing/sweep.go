// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
)

// candidates are files of a cgroup, most telling first; a sweep by cgroupfs
// reads the first three that there are.
var candidates = []string{"memory.current", "cpu.stat", "memory.pressure", "cpu.pressure", "io.pressure", "cgroup.stat"}

const filesRead = 3

// present are the files that a cgroup which is not the root has.
func present(cgroup string) []string {
	var names []string
	for _, name := range candidates {
		if _, err := os.Stat(filepath.Join(cgroup, name)); err == nil && len(names) < filesRead {
			names = append(names, name)
		}
	}
	return names
}

// lap is what a pass took.
type lap struct{ clock, cpu float64 } // ms

func thread() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return ts.Nano()
}

// timed is the mean of some calls of f on this thread.
func timed(calls int, f func() error) (lap, error) {
	cpu, start := thread(), time.Now()
	for range calls {
		if err := f(); err != nil {
			return lap{}, err
		}
	}
	n := float64(calls) * 1e6
	return lap{float64(time.Since(start)) / n, float64(thread()-cpu) / n}, nil
}

// reader reads files of every cgroup that are kept open: the cheapest way there
// is to use cgroupfs.
type reader struct {
	names []string
	files [][]int // by name, then by cgroup
	spent []int64 // ns of CPU time, by name
	buf   [8192]byte
}

func openReader(t *Tree) (*reader, error) {
	r := &reader{names: present(t.Root)}
	if len(r.names) < filesRead {
		return nil, fmt.Errorf("a cgroup here has only %v to read", r.names)
	}
	r.spent = make([]int64, len(r.names))
	for _, name := range r.names {
		fds := make([]int, 0, len(t.Paths))
		for _, path := range t.Paths {
			fd, err := unix.Open(filepath.Join(path, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				r.files = append(r.files, fds)
				r.close()
				return nil, fmt.Errorf("open %s of %s: %w", name, path, err)
			}
			fds = append(fds, fd)
		}
		r.files = append(r.files, fds)
	}
	return r, nil
}

// pass reads everything once. It only reads: nothing is parsed.
func (r *reader) pass() error {
	for i, fds := range r.files {
		start := thread()
		for _, fd := range fds {
			if _, err := unix.Pread(fd, r.buf[:], 0); err != nil {
				return fmt.Errorf("read %s: %w", r.names[i], err)
			}
		}
		r.spent[i] += thread() - start
	}
	return nil
}

func (r *reader) close() {
	for _, fds := range r.files {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	r.files = nil
}

// contest measures both ways in turns.
type contest struct {
	cgroups *bpf.Cgroups
	reader  *reader
	into    arc.Sweep
	want    int
}

func (c *contest) sweep() error {
	if err := c.cgroups.Sweep(&c.into); err != nil {
		return err
	}
	if c.into.Len() != c.want || c.into.Truncated > 0 {
		return fmt.Errorf("the sweep saw %d of %d cgroups", c.into.Len(), c.want)
	}
	return nil
}

// calls is how often to repeat a pass in one round: small trees are repeated
// until the clock can tell.
func calls(cgroups, most int) int { return max(1, min(most, most*100/cgroups)) }

type laps struct{ ebpf, ebpfCPU, files, filesCPU, ratio, ratioCPU []float64 }

func (c *contest) run(ctx context.Context, rounds int) (l laps, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.sweep(); err != nil { // warm
		return l, err
	}
	if err := c.reader.pass(); err != nil {
		return l, err
	}
	clear(c.reader.spent)
	for round := range rounds {
		if ctx.Err() != nil {
			return l, ctx.Err()
		}
		var ours, theirs lap
		for turn := range 2 {
			if (turn+round)%2 == 0 {
				ours, err = timed(calls(c.want, 200), c.sweep)
			} else {
				theirs, err = timed(calls(c.want, 20), c.reader.pass)
			}
			if err != nil {
				return l, err
			}
		}
		l.ebpf, l.ebpfCPU = append(l.ebpf, ours.clock), append(l.ebpfCPU, ours.cpu)
		l.files, l.filesCPU = append(l.files, theirs.clock), append(l.filesCPU, theirs.cpu)
		l.ratio, l.ratioCPU = append(l.ratio, theirs.clock/ours.clock), append(l.ratioCPU, theirs.cpu/ours.cpu)
	}
	return l, nil
}

// measureSweep compares a sweep of n cgroups with reading their files, first
// with nobody in them, then with a process in each.
func measureSweep(ctx context.Context, mount string, n, rounds int) (s Sweep, err error) {
	tree, err := Grow(mount, n)
	if err != nil {
		return s, err
	}
	defer func() {
		if removed := tree.Remove(); err == nil {
			err = removed
		}
	}()
	cgroups, err := bpf.OpenCgroups(tree.Root, n+16)
	if err != nil {
		return s, err
	}
	defer cgroups.Close() //nolint:errcheck // nothing was written
	files, err := openReader(tree)
	if err != nil {
		return s, err
	}
	defer files.close()
	c := &contest{cgroups: cgroups, reader: files, want: n}
	empty, err := c.run(ctx, max(3, rounds/3))
	if err != nil {
		return s, err
	}
	if err := tree.Populate(); err != nil {
		return s, err
	}
	full, err := c.run(ctx, rounds)
	if err != nil {
		return s, err
	}
	s = Sweep{
		Cgroups: n, Ratio: Summarise(full.ratio), RatioCPU: Summarise(full.ratioCPU),
		EBPFSpread: Summarise(full.ebpf), CgroupfsSpread: Summarise(full.files),
		EBPFCPU: Summarise(full.ebpfCPU), CgroupfsCPU: Summarise(full.filesCPU),
		EBPFEmpty: Summarise(empty.ebpf).Median, CgroupfsEmpty: Summarise(empty.files).Median,
	}
	s.EBPF, s.Cgroupfs = s.EBPFSpread.Median, s.CgroupfsSpread.Median
	passes := float64(rounds * calls(n, 20))
	for i, name := range files.names {
		s.Files = append(s.Files, File{name, float64(files.spent[i]) / passes / 1e6})
	}
	s.Node, err = measureNode()
	return s, err
}

// measureNode is the CPU time of reading the node, in ms.
func measureNode() (float64, error) {
	node, err := bpf.OpenNode()
	if err != nil {
		return 0, err
	}
	defer node.Close() //nolint:errcheck // nothing was written
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var into arc.Node
	var values []float64
	for range 20 {
		l, err := timed(20, func() error { return node.Read(&into) })
		if err != nil {
			return 0, err
		}
		values = append(values, l.cpu)
	}
	return Summarise(values).Median, nil
}
