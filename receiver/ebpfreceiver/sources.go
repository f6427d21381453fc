// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/cgroupsweep"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/procfs"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/sampler"
)

// requirement is one thing that the machine or the privilege lacks.
type requirement struct{ name, cause, remedy string }

// sources are where a tick is read from, as far as the machine has them.
type sources struct {
	node    sampler.NodeReader
	cgroups sampler.CgroupReader // nil where there are none
	root    naming               // nil where there is none; closed by the delivery, its only user
	// sinceBoot says which node counters count since boot; the others count
	// since the receiver started.
	sinceBoot [arc.NumNodeFields]bool
	missing   []requirement
	closers   []io.Closer
}

// lack notes what is missing, each thing once: two programs may need the same.
func (s *sources) lack(name, cause, remedy string) {
	for _, m := range s.missing {
		if m.name == name {
			return
		}
	}
	s.missing = append(s.missing, requirement{name: name, cause: cause, remedy: remedy})
}

func (s *sources) close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// openSources opens all there is. It never fails: what is not there is missing.
func openSources(cfg *Config, clock sampler.Clock) *sources {
	s := &sources{}
	s.openNode()
	s.openSyscalls(&cfg.Syscalls)
	s.openCgroups(cfg, clock)
	return s
}

// openNode lets BPF fill what it can and /proc the rest.
func (s *sources) openNode() {
	if node := s.openBPFNode(); node != nil {
		s.openNodeFrom(node)
		return
	}
	s.openNodeFrom(nil)
}

// openNodeFrom settles which of BPF (nil without it) and /proc fills a
// dimension, by a first reading of BPF. It does not change afterwards: two
// sources count from different origins.
func (s *sources) openNodeFrom(bpf sampler.NodeReader) {
	var first arc.Node
	for i := range first {
		first[i] = math.NaN()
	}
	if bpf != nil {
		if err := bpf.Read(&first); err != nil {
			s.lack("eBPF", fmt.Sprintf("first reading: %v", err), remedyBPF)
		}
	}
	var wanted [arc.NumNodeFields]bool
	for i, v := range first {
		wanted[i] = math.IsNaN(v)
		s.sinceBoot[i] = true
	}
	for _, f := range eventCounters {
		s.sinceBoot[f] = wanted[f] // by /proc
	}
	proc := procfs.Open("/proc", "/sys", wanted)
	s.closers = append(s.closers, proc)
	for _, m := range proc.Missing() {
		s.lack(m.Path, m.Cause.Error(), m.Remedy)
	}
	s.node = proc
	if bpf != nil {
		s.node = nodeReaders{bpf, proc}
	}
}

// openCgroups sweeps by BPF where that is possible, else by reading cgroupfs.
func (s *sources) openCgroups(cfg *Config, clock sampler.Clock) {
	const remedy = "mount cgroup v2 (systemd.unified_cgroup_hierarchy=1), or set cgroup_root"
	root := cfg.CgroupRoot
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
	s.root = names
	// Before BPF says so: what follows from it is known here.
	if !cgroupfs.HasController(root, "memory") {
		s.lack("memory controller", root+"/cgroup.controllers does not list memory",
			cgroupfs.MemoryRemedy(root)+"; without it no memory of a cgroup is known and nobody can be contained")
	}
	s.lackControllers(root)
	if bpf := s.openBPFCgroups(root, cfg.MaxCgroups); bpf != nil {
		s.cgroups = bpf
		return
	}
	sweeper, err := cgroupsweep.Open(root, cfg.MaxCgroups, clock.Now)
	if err != nil {
		s.lack("cgroupfs", err.Error(), "let the collector read the cgroup v2 file system")
		return
	}
	if sweeper.Capacity() < cfg.MaxCgroups {
		s.lack("file descriptors", fmt.Sprintf("the limit on open files suffices for %d of max_cgroups %d", sweeper.Capacity(), cfg.MaxCgroups),
			"raise LimitNOFILE")
	}
	s.cgroups = sweeper
	s.closers = append(s.closers, sweeper)
}

// lackControllers notes the controllers, memory excepted, that are not there,
// and what is absent for it.
func (s *sources) lackControllers(root string) {
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
