// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

const (
	// maxOpen bounds the cgroup directories kept open between looks.
	maxOpen = 32
	// identifyEvery is how often path and age of a cgroup are read again; its
	// memory is read at every look.
	identifyEvery = int64(time.Second)
	// oldestOf bounds the processes looked at for the oldest. The kernel lists
	// them in the order of their pids, so the oldest is nearly always early.
	oldestOf = 64
	// clockTick is USER_HZ, 100 on every architecture that Go supports.
	clockTick = int64(time.Second) / 100
)

// inspector takes the policy's closer look through cgroupfs. It belongs to the
// sampling goroutine.
type inspector struct {
	root    *cgroupfs.Root
	clock   func() int64
	proc    string
	sys     string
	open    [maxOpen]opened
	buf     []byte
	pids    []int
	devices *cgroupfs.Devices
	// links is what each interface had received when it was asked before.
	links []received
}

type opened struct {
	id         uint64
	dir        *cgroupfs.Dir
	used       int64
	identified int64
	path, name string
	started    int64 // CLOCK_BOOTTIME, ns; negative where unknown
	moved      [maxDevices]moved
}

func newInspector(root string) (*inspector, error) {
	if root == "" {
		found, err := cgroupfs.FindRoot()
		if err != nil {
			return nil, err
		}
		root = found
	}
	r, err := cgroupfs.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	return &inspector{root: r, clock: boottime, proc: "/proc", sys: "/sys", buf: make([]byte, 0, 8192), devices: cgroupfs.NewDevices("/sys")}, nil
}

// powerless says why nothing can be contained on a machine where i, or, with the
// error failed, no inspector could be opened; "" where something can. Without the
// memory controller, as on a hybrid host, no cgroup is known to grow.
func powerless(i *inspector, failed error) string {
	switch {
	case i == nil:
		return failed.Error() + "; " + cgroupfs.UnifiedRemedy
	case i.root.Kernel() && !cgroupfs.HasController(i.root.Name(), "memory"):
		return i.root.Name() + "/cgroup.controllers does not list memory; " + cgroupfs.MemoryRemedy(i.root.Name())
	}
	return ""
}

// Close closes what is open.
func (i *inspector) Close() error {
	for k := range i.open {
		if d := i.open[k].dir; d != nil {
			_ = d.Close()
			i.open[k] = opened{}
		}
	}
	return i.root.Close()
}

// id returns that of the cgroup at path, 0 where it cannot be told. A nil inspector
// knows none.
func (i *inspector) id(path string) uint64 {
	if i == nil || path == "" {
		return 0
	}
	d, err := i.root.OpenPath(path)
	if err != nil {
		return 0
	}
	id := d.ID()
	_ = d.Close()
	return id
}

// Inspect implements [policy.Inspector].
func (i *inspector) Inspect(id uint64, what policy.Aspect, into *policy.Inspection) error {
	now := i.clock()
	o, err := i.dir(id, now)
	if err != nil {
		return err
	}
	*into = policy.Inspection{}
	if what&policy.AspectMemory != 0 {
		if err := i.memory(o.dir, into); err != nil {
			i.forget(o)
			return err
		}
	}
	if what&policy.AspectIO != 0 {
		if err := i.io(o, into); err != nil {
			i.forget(o)
			return err
		}
	}
	if what&policy.AspectCPU != 0 {
		text, err := o.dir.ReadFile("cpu.stat", i.buf[:0])
		if err != nil {
			i.forget(o)
			return fmt.Errorf("read cpu.stat of cgroup %d: %w", id, err)
		}
		all, _ := cgroupfs.Keyed(text, "usage_usec")
		user, _ := cgroupfs.Keyed(text, "user_usec")
		into.CPUTime, into.UserTime = all*1000, user*1000
	}
	text, err := o.dir.ReadFile("cgroup.events", i.buf[:0])
	if err != nil {
		i.forget(o)
		return fmt.Errorf("read cgroup.events of cgroup %d: %w", id, err)
	}
	populated, _ := cgroupfs.Keyed(text, "populated")
	into.Populated = populated != 0
	if now-o.identified >= identifyEvery || o.identified == 0 {
		if err := i.identify(o, now); err != nil {
			i.forget(o)
			return err
		}
	}
	into.Path, into.Name, into.Age = o.path, o.name, -1
	if o.started >= 0 {
		into.Age = time.Duration(max(now-o.started, 0))
	}
	return nil
}

// dir returns the open directory of a cgroup, opening it if need be.
func (i *inspector) dir(id uint64, now int64) (*opened, error) {
	least := 0
	for k := range i.open {
		o := &i.open[k]
		if o.id == id && o.dir != nil {
			o.used = now
			return o, nil
		}
		if o.used < i.open[least].used {
			least = k
		}
	}
	d, err := i.root.Open(id)
	if err != nil {
		return nil, fmt.Errorf("open cgroup %d: %w", id, err)
	}
	o := &i.open[least]
	i.forget(o)
	*o = opened{id: id, dir: d, used: now, started: -1}
	return o, nil
}

func (i *inspector) forget(o *opened) {
	if o.dir != nil {
		_ = o.dir.Close()
	}
	*o = opened{}
}

// memory reads memory.stat.
func (i *inspector) memory(d *cgroupfs.Dir, into *policy.Inspection) error {
	text, err := d.ReadFile("memory.stat", i.buf[:0])
	if err != nil {
		return fmt.Errorf("read memory.stat of cgroup %d: %w", d.ID(), err)
	}
	var kernel, parts uint64
	var file uint64
	whole := false
	for len(text) > 0 {
		line := text
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			line, text = text[:end], text[end+1:]
		} else {
			text = nil
		}
		key, value, ok := bytes.Cut(line, []byte{' '})
		if !ok {
			continue
		}
		v, ok := cgroupfs.ParseUint(value)
		if !ok {
			continue
		}
		switch string(key) {
		case "anon":
			into.Anon = v
		case "file":
			file = v
		case "shmem":
			into.Shmem = v
		case "kernel": // since 5.18
			kernel, whole = v, true
		case "kernel_stack", "pagetables", "percpu", "sock", "slab_unreclaimable":
			parts += v
		}
	}
	if !whole {
		kernel = parts
	}
	into.Kernel, into.File = kernel, file-min(file, into.Shmem)
	return nil
}

// identify reads where the cgroup is and how old its oldest process is.
func (i *inspector) identify(o *opened, now int64) error {
	path, err := o.dir.Path()
	if err != nil {
		return fmt.Errorf("path of cgroup %d: %w", o.id, err)
	}
	if path != o.path {
		o.path, o.name = path, stableName(path)
	}
	o.identified = now
	if o.started >= 0 {
		// The oldest process may be gone, but the workload is at least as old.
		return nil
	}
	if i.pids, err = o.dir.Processes(i.pids[:0]); err != nil {
		return nil //nolint:nilerr // threaded or empty: the age stays unknown
	}
	for k, pid := range i.pids {
		if k == oldestOf {
			break
		}
		if at, err := startOf(i.proc, pid); err == nil && pid > 0 && (o.started < 0 || at < o.started) {
			o.started = at
		}
	}
	return nil
}

// startOf returns when a process started (CLOCK_BOOTTIME, ns): field 22 of
// /proc/pid/stat, in clock ticks since boot.
func startOf(proc string, pid int) (int64, error) {
	text, err := os.ReadFile(proc + "/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything; the last one ends it.
	end := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	if end < 0 || len(fields) < 20 {
		return 0, fmt.Errorf("read start of process %d: unexpected format", pid)
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read start of process %d: %w", pid, err)
	}
	return ticks * clockTick, nil
}

// ownCgroup returns the path of the collector's own cgroup, "" where it cannot
// be told (in a cgroup namespace of its own every path begins at itself; there
// the guard knows better).
func ownCgroup() string {
	path, err := cgroupfs.OfProcess(unix.Getpid())
	if err != nil || path == "/" || strings.Contains(path, "/..") {
		return ""
	}
	return path
}
