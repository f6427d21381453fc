// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// DefaultMaxCgroups is how many cgroups a sweep holds unless told otherwise.
const DefaultMaxCgroups = 4096

// Cgroups reads the state of a cgroup and of everything below it. It is for one
// goroutine at a time.
type Cgroups struct {
	requirements []Requirement

	objects cgroupObjects
	rows    mapping[cgroupCgroupRow]
	head    mapping[cgroupSweepHead]
	link    int
	iterate iterCreate
	page    uint64
	tree    tree
	history history
	traffic *traffic // nil if nobody counts it
}

// OpenCgroups loads the program that sweeps root, a directory of a cgroup v2
// hierarchy, and everything below it. Beyond max cgroups ([DefaultMaxCgroups]
// if not positive) a sweep is truncated. The error wraps [ErrUnsupported] where
// the kernel has no cgroup iterator (before 6.1) or no BTF.
func OpenCgroups(root string, max int) (*Cgroups, error) {
	c := &Cgroups{}
	if err := c.open(root, max); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// OpenCgroupsAndTraffic is OpenCgroups, with bytes, packets and connections of
// every cgroup besides. They are counted from now on by programs that run for
// every packet of every socket below root, which needs CAP_NET_ADMIN. Whatever of
// it cannot be had is among what is [Cgroups.Missing], and its columns are empty.
func OpenCgroupsAndTraffic(root string, max int) (*Cgroups, error) {
	if max <= 0 {
		max = DefaultMaxCgroups
	}
	c := &Cgroups{}
	t, err := openTraffic(root, max)
	c.requirements = append(c.requirements, t.requirements...)
	if err == nil {
		c.traffic = t
	}
	if err := c.open(root, max); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cgroups) open(root string, max int) error {
	c.link = -1
	kernel, err := c.attach(root, max)
	if err != nil {
		c.requirements = append(c.requirements, failed("iter/cgroup", err))
		return err
	}
	c.requirements = append(c.requirements, Requirement{Name: "iter/cgroup", Present: true},
		probeController(root, "memory"), probeController(root, "cpu"), probeController(root, "pids"),
		probeThrottling(kernel), probePressure(root))
	return nil
}

// attach loads and attaches the program and returns the kernel's types.
func (c *Cgroups) attach(root string, max int) (*btf.Spec, error) {
	if max <= 0 {
		max = DefaultMaxCgroups
	}
	directory, err := openUnified(root)
	if err != nil {
		return nil, err
	}
	defer directory.Close() // the link holds the cgroup

	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("load the kernel's BTF: %w", classify(err))
	}
	spec, err := loadCgroup()
	if err != nil {
		return nil, fmt.Errorf("read the cgroup program: %w", err)
	}
	if err := fit(spec, kernel); err != nil {
		return nil, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	spec.Maps["rows"].MaxEntries = uint32(max)
	spec.Maps["distances"].MaxEntries = uint32(cpus)
	options := coreOptions(kernel)
	if c.traffic != nil {
		if err := c.traffic.join(spec, options); err != nil {
			return nil, err
		}
	}
	if err := spec.LoadAndAssign(&c.objects, options); err != nil {
		return nil, fmt.Errorf("load the cgroup program: %w", classify(err))
	}
	if c.rows, err = mapArray[cgroupCgroupRow](c.objects.Rows); err != nil {
		return nil, err
	}
	if c.head, err = mapArray[cgroupSweepHead](c.objects.Head); err != nil {
		return nil, err
	}
	if c.link, err = attachCgroupIterator(c.objects.SweepCgroup, int(directory.Fd())); err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", root, err)
	}
	c.iterate = iterCreate{link: uint32(c.link)}
	c.page = uint64(os.Getpagesize())
	return kernel, nil
}

// errNotUnified is said of a directory of something else.
var errNotUnified = errors.New("not in a cgroup v2 hierarchy")

func openUnified(root string) (*os.File, error) {
	directory, err := os.OpenFile(root, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the cgroup: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(directory.Fd()), &fs); err != nil {
		return nil, errors.Join(fmt.Errorf("cgroup %s: %w", root, err), directory.Close())
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, errors.Join(fmt.Errorf("%s: %w", root, errNotUnified), directory.Close())
	}
	return directory, nil
}

func probeController(root, name string) Requirement {
	r := Requirement{Name: name + " controller", Present: cgroupfs.HasController(root, name)}
	if !r.Present {
		r.Cause, r.Remedy = "not in cgroup.controllers of "+root, cgroupfs.ControllerRemedy("", name)
	}
	return r
}

// probeThrottling looks for what counts how quotas are used up.
func probeThrottling(kernel *btf.Spec) Requirement {
	r := Requirement{Name: throttlingOfCgroups, Present: hasMember(kernel, "task_group", "cfs_bandwidth")}
	if !r.Present {
		r.Cause, r.Remedy = "the kernel's task_group has no cfs_bandwidth", remedyBandwidth
	}
	return r
}

// hasMember says whether one of the kernel's structs of this name has a member.
func hasMember(kernel *btf.Spec, name, member string) bool {
	types, _ := kernel.AnyTypesByName(name)
	for _, t := range types {
		structure, ok := t.(*btf.Struct)
		if ok && slices.ContainsFunc(structure.Members, func(m btf.Member) bool { return m.Name == member }) {
			return true
		}
	}
	return false
}

func probePressure(root string) Requirement {
	if _, err := os.Stat(filepath.Join(root, "cpu.pressure")); err != nil {
		return Requirement{pressureOfCgroups, false, err.Error(), remedyPSI}
	}
	return Requirement{Name: pressureOfCgroups, Present: true}
}

// Sweep resets into and gives it one row a cgroup, parents first. Parent is 0
// for the cgroup swept from. Counters never go back from one sweep to the next.
// At steady state it does not allocate.
func (c *Cgroups) Sweep(into *arc.Sweep) error {
	into.Reset()
	head := &c.head.values[0]
	head.Rows, head.Truncated = 0, 0
	if c.traffic != nil {
		c.traffic.prepare()
	}
	if err := c.iterateOnce(); err != nil {
		return err
	}
	if head.Rows == 0 {
		return fmt.Errorf("sweep cgroups: the cgroup is gone: %w", fs.ErrNotExist)
	}
	rows := c.rows.values[:head.Rows]
	into.Truncated = head.Truncated
	c.fill(rows, into)
	c.tree.addPending(rows, into.Columns[arc.CgroupCPUTime])
	c.history.hold(into)
	if c.traffic != nil {
		c.traffic.fill(rows, c.tree.parent, into)
	}
	return nil
}

// iterateOnce runs the program over all cgroups: as it writes nothing to the
// iterator's stream, one read is the whole pass and returns 0 bytes.
func (c *Cgroups) iterateOnce() error {
	fd, errno := bpf(unix.BPF_ITER_CREATE, &c.iterate)
	if errno != 0 {
		return fmt.Errorf("begin a sweep of cgroups: %w", errno)
	}
	var nothing [8]byte
	_, err := unix.Read(fd, nothing[:])
	if closing := unix.Close(fd); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("sweep cgroups: %w", err)
	}
	return nil
}

// pressureColumns are the columns in the order of the program's stalls.
var pressureColumns = [5]arc.CgroupField{
	arc.CgroupPressureCPUSome,
	arc.CgroupPressureMemorySome,
	arc.CgroupPressureMemoryFull,
	arc.CgroupPressureIOSome,
	arc.CgroupPressureIOFull,
}

// What the columns of a sweep need besides the iterator. CPU time needs nothing:
// the kernel keeps it for every cgroup.
const (
	throttlingOfCgroups = "CPU throttling of cgroups"
	pressureOfCgroups   = "PSI of cgroups"
)

var columnsOf = map[string][]arc.CgroupField{
	"memory controller": {arc.CgroupMemoryUsage, arc.CgroupMemoryHigh, arc.CgroupMemoryMax, arc.CgroupMemorySwap},
	"cpu controller":    {arc.CgroupCPUPeriods, arc.CgroupCPUThrottledPeriods, arc.CgroupCPUThrottledTime},
	throttlingOfCgroups: {arc.CgroupCPUPeriods, arc.CgroupCPUThrottledPeriods, arc.CgroupCPUThrottledTime},
	"pids controller":   {arc.CgroupPids, arc.CgroupPidsMax},
	pressureOfCgroups:   pressureColumns[:],
}

// columns are the columns that a sweep fills; the others stay empty.
var columns = [...]arc.CgroupField{
	arc.CgroupMemoryUsage,
	arc.CgroupMemoryHigh,
	arc.CgroupMemoryMax,
	arc.CgroupCPUTime,
	arc.CgroupPressureCPUSome,
	arc.CgroupPressureMemorySome,
	arc.CgroupPressureMemoryFull,
	arc.CgroupPressureIOSome,
	arc.CgroupPressureIOFull,
	arc.CgroupMemorySwap,
	arc.CgroupCPUPeriods,
	arc.CgroupCPUThrottledPeriods,
	arc.CgroupCPUThrottledTime,
	arc.CgroupPids,
	arc.CgroupPidsMax,
}

func (c *Cgroups) fill(rows []cgroupCgroupRow, into *arc.Sweep) {
	into.ID = slices.Grow(into.ID, len(rows))
	into.Parent = slices.Grow(into.Parent, len(rows))
	for _, f := range columns {
		into.Columns[f] = slices.Grow(into.Columns[f], len(rows))[:len(rows)]
	}
	for i := range rows {
		r := &rows[i]
		parent := r.Parent
		if i == 0 {
			parent = 0
		}
		into.ID, into.Parent = append(into.ID, r.Id), append(into.Parent, parent)
		into.Columns[arc.CgroupMemoryUsage][i] = c.bytes(r.MemoryUsage)
		into.Columns[arc.CgroupMemoryHigh][i] = c.bytes(r.MemoryHigh)
		into.Columns[arc.CgroupMemoryMax][i] = c.bytes(r.MemoryMax)
		into.Columns[arc.CgroupMemorySwap][i] = c.bytes(r.SwapUsage)
		into.Columns[arc.CgroupCPUTime][i] = r.Cpu
		into.Columns[arc.CgroupCPUPeriods][i] = r.Periods
		into.Columns[arc.CgroupCPUThrottledPeriods][i] = r.ThrottledPeriods
		into.Columns[arc.CgroupCPUThrottledTime][i] = r.ThrottledTime
		into.Columns[arc.CgroupPids][i] = r.Pids
		into.Columns[arc.CgroupPidsMax][i] = tasks(r.PidsMax)
		for stall, f := range pressureColumns {
			into.Columns[f][i] = r.Pressure[stall]
		}
	}
}

// bytes turns pages into bytes. The kernel's "max" is LONG_MAX in pages.
func (c *Cgroups) bytes(pages uint64) uint64 {
	switch {
	case pages == arc.Absent:
		return arc.Absent
	case pages >= arc.Unlimited/c.page:
		return arc.Unlimited
	}
	return pages * c.page
}

// unlimitedPids is the kernel's PIDS_MAX, "max": one more than there can be pids
// (PID_MAX_LIMIT, 4 Mi on 64 bits).
const unlimitedPids = 4<<20 + 1

// tasks gives "max" its own value.
func tasks(limit uint64) uint64 {
	if limit >= unlimitedPids && limit != arc.Absent {
		return arc.Unlimited
	}
	return limit
}

// Missing returns what a sweep cannot tell, why, and what would help.
func (c *Cgroups) Missing() []Requirement { return missing(c.requirements) }

// Close frees everything. It may be called more than once.
func (c *Cgroups) Close() error {
	err := errors.Join(c.rows.close(), c.head.close())
	if c.link >= 0 && c.iterate.link != 0 {
		err = errors.Join(err, unix.Close(c.link))
	}
	c.link, c.iterate = -1, iterCreate{}
	if c.objects.SweepCgroup != nil {
		err = errors.Join(err, c.objects.Close())
		c.objects = cgroupObjects{}
	}
	if c.traffic != nil {
		err = errors.Join(err, c.traffic.close())
		c.traffic = nil
	}
	return err
}
