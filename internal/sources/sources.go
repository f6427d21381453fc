// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/cgroupsweep"
	"github.com/otelcol-reflex/reflex/internal/procfs"
	"github.com/otelcol-reflex/reflex/internal/sampler"
)

// Settings say what is opened.
type Settings struct {
	// CgroupRoot is the cgroup v2 directory below which cgroups are seen. Empty,
	// it is the mount point found in /proc/self/mountinfo.
	CgroupRoot string
	// MaxCgroups bounds the cgroups seen.
	MaxCgroups int
	// NodeOnly leaves the cgroups out.
	NodeOnly bool
	// CgroupNetwork counts what cgroups send and receive.
	CgroupNetwork bool
	// Syscalls says when system calls are counted.
	Syscalls DutyCycle
	// EarlyWake opens what a slow sampler is woken by.
	EarlyWake bool
}

// DutyCycle is a Window in every Period in which a costly program is attached; a
// Window of 0 means never.
type DutyCycle struct{ Window, Period time.Duration }

// Names is what is needed of [cgroupfs.Root] to name a cgroup.
type Names interface {
	// Path returns where a cgroup is; it wraps [cgroupfs.ErrGone] where it no
	// longer is.
	Path(id uint64) (string, error)
	Walk(visit func(id, parent uint64, path string) error) error
	// OpenPath opens a cgroup, for what only its files tell.
	OpenPath(path string) (*cgroupfs.Dir, error)
	Close() error
}

// Sources are where a tick is read from, as far as the machine has them.
type Sources struct {
	Node    sampler.NodeReader
	Cgroups sampler.CgroupReader // nil where there are none
	Watch   sampler.Watcher      // nil where nothing wakes the sampler
	// Names is nil where there is none. Who names cgroups closes it: Close does
	// not.
	Names Names
	// SinceBoot says which node counters count since boot; the others count
	// since the sources were opened.
	SinceBoot [arc.NumNodeFields]bool
	// Missing is what the machine or the privilege lacks; EffectOf tells what each
	// costs.
	Missing []arc.Requirement
	// NodeOrigins and CgroupOrigins say where each dimension is read.
	NodeOrigins   [arc.NumNodeFields]Origin
	CgroupOrigins [arc.NumCgroupFields]Origin
	closers       []io.Closer
	bpf           sampler.NodeReader // what BPF reads of the node, nil without it
}

// lack notes what is missing, each thing once: two programs may need the same.
func (s *Sources) lack(name, cause, remedy string) {
	for _, m := range s.Missing {
		if m.Name == name {
			return
		}
	}
	s.Missing = append(s.Missing, arc.Requirement{Name: name, Cause: cause, Remedy: remedy})
}

// CloseAlso has Close close c, too.
func (s *Sources) CloseAlso(c io.Closer) { s.closers = append(s.closers, c) }

// Close closes what ticks are read from.
func (s *Sources) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// Open opens all there is. It never fails: what is not there is missing.
func Open(set Settings, clock sampler.Clock) *Sources {
	s := &Sources{}
	s.openNode()
	if set.EarlyWake {
		s.openWatch("/proc/pressure")
	}
	s.openSyscalls(set.Syscalls)
	if !set.NodeOnly {
		s.openCgroups(set, clock)
	}
	return s
}

// openNode lets BPF fill what it can and /proc the rest.
func (s *Sources) openNode() {
	if node := s.openBPFNode(); node != nil {
		s.bpf = node
		s.openNodeFrom(node)
		return
	}
	s.openNodeFrom(nil)
}

// procRoot is where /proc is.
const procRoot = "/proc"

// openNodeFrom settles which of BPF (nil without it) and /proc fills a
// dimension, by a first reading of BPF. It does not change afterwards: two
// sources count from different origins.
func (s *Sources) openNodeFrom(bpf sampler.NodeReader) {
	var first arc.Node
	for i := range first {
		first[i] = math.NaN()
	}
	if bpf != nil {
		if err := bpf.Read(&first); err != nil {
			s.lack("eBPF", "first reading: "+oneLine(err), remedyBPF)
		}
	}
	var wanted [arc.NumNodeFields]bool
	for i, v := range first {
		wanted[i] = math.IsNaN(v)
		s.SinceBoot[i] = true
	}
	for _, f := range bpfNeed("tp_btf").Node { // BPF counts these itself, from now on
		s.SinceBoot[f] = wanted[f] // by /proc
	}
	proc := procfs.Open(procRoot, "/sys", wanted)
	s.originsOfNode(&first, proc.Files())
	s.closers = append(s.closers, proc)
	for _, m := range proc.Missing() {
		s.lack(m.Path, m.Cause.Error(), m.Remedy)
	}
	s.Node = proc
	if bpf != nil {
		s.Node = nodeReaders{bpf, proc}
	}
}

// openCgroups sweeps by BPF where that is possible, else by reading cgroupfs.
func (s *Sources) openCgroups(set Settings, clock sampler.Clock) {
	const remedy = cgroupfs.UnifiedRemedy + ", or set cgroup_root; without it no cgroup is known and nobody can be contained"
	root := set.CgroupRoot
	if root == "" {
		found, err := cgroupfs.FindRoot()
		if err != nil {
			s.lack("cgroup v2", err.Error(), remedy)
			return
		}
		root = found
	}
	names, err := cgroupfs.OpenRoot(root)
	if err != nil {
		s.lack("cgroup v2", err.Error(), remedy)
		return
	}
	s.Names = names
	// Before BPF says so: what follows from it is known here.
	if !cgroupfs.HasController(root, "memory") {
		s.lack("memory controller", root+"/cgroup.controllers does not list memory",
			cgroupfs.MemoryRemedy(root)+"; without it no memory of a cgroup is known and nobody can be contained")
	}
	s.lackControllers(root)
	if bpf := s.openBPFCgroups(root, set); bpf != nil {
		s.Cgroups = bpf
		s.originsOfCgroups(true, set.CgroupNetwork)
		return
	}
	sweeper, err := cgroupsweep.Open(root, set.MaxCgroups, clock.Now)
	if err != nil {
		s.lack("cgroupfs", err.Error(), "let the collector read the cgroup v2 file system")
		return
	}
	if sweeper.Capacity() < set.MaxCgroups {
		s.lack("file descriptors", fmt.Sprintf("the limit on open files suffices for %d of max_cgroups %d", sweeper.Capacity(), set.MaxCgroups),
			"raise LimitNOFILE")
	}
	s.Cgroups = sweeper
	s.closers = append(s.closers, sweeper)
	s.lackPressure(root)
	s.originsOfCgroups(false, false)
}

// lackPressure notes it where the kernel does not count stalls. Before 5.13 it
// shows the files all the same and refuses to read them.
func (s *Sources) lackPressure(root string) {
	if _, err := os.ReadFile(filepath.Join(root, "cpu.pressure")); err != nil {
		s.lack("PSI of cgroups", err.Error(), cgroupfs.PressureRemedy)
	}
}

// lackControllers notes the controllers, memory excepted, that are not there,
// and what is absent for it.
func (s *Sources) lackControllers(root string) {
	for _, c := range [...]struct{ name, absent string }{
		{"cpu", "how far cgroups use their CPU quota up"},
		{"pids", "how many tasks a cgroup has"},
		{"io", "the I/O of cgroups"},
	} {
		if !cgroupfs.HasController(root, c.name) {
			s.lack(c.name+" controller", root+"/cgroup.controllers does not list "+c.name,
				cgroupfs.ControllerRemedy(root, c.name)+"; without it "+c.absent+" is not known")
		}
	}
}

// nodeReaders read a node one after the other, each what it knows.
type nodeReaders []sampler.NodeReader

// Read implements [sampler.NodeReader]. One that fails keeps no other from
// reading; the first failure is returned.
func (all nodeReaders) Read(into *arc.Node) error {
	var first error
	for _, r := range all {
		if err := r.Read(into); first == nil {
			first = err
		}
	}
	return first
}
