// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// events counts what the kernel does not count itself where BPF can read it.
type events struct {
	counts *ebpf.Map
	memory mapping[eventsEventCounts]
	links  []io.Closer
	// attached says which probes run.
	attached [len(probes)]bool
	sum      eventsEventCounts // over CPUs; here because it would not stay on the stack
}

// probe is a group of programs that make sense only together, and the fields
// they fill.
type probe struct {
	programs []string
	fill     func(c *eventsEventCounts, into *arc.Node)
}

// probes are independent of each other.
var probes = [...]probe{
	{[]string{"count_fork"}, func(c *eventsEventCounts, into *arc.Node) {
		into[arc.NodeForks] = float64(c.Forks)
	}},
	{[]string{"count_exec"}, func(c *eventsEventCounts, into *arc.Node) {
		into[arc.NodeExecs] = float64(c.Execs)
	}},
	{[]string{"count_exit"}, func(c *eventsEventCounts, into *arc.Node) {
		into[arc.NodeExits] = float64(c.Exits)
	}},
	{[]string{"count_block"}, func(c *eventsEventCounts, into *arc.Node) {
		into[arc.NodeBlockOperations] = float64(c.BlockOperations)
		into[arc.NodeBlockTime] = seconds(c.BlockTime)
		into[arc.NodeBlockBytes] = float64(c.BlockBytes)
	}},
	{[]string{"count_retransmit"}, func(c *eventsEventCounts, into *arc.Node) {
		into[arc.NodeTCPRetransmits] = float64(c.Retransmits)
	}},
	// The end before the beginning: an end without a beginning is ignored.
	{[]string{"end_reclaim", "begin_reclaim"}, func(c *eventsEventCounts, into *arc.Node) {
		into[arc.NodeDirectReclaimTime] = seconds(c.ReclaimTime)
	}},
}

// open attaches every probe of spec it can and returns one requirement a
// program, and what kept the last one out.
func (e *events) open(spec *ebpf.CollectionSpec, kernel *btf.Spec) ([]Requirement, error) {
	if err := e.create(spec); err != nil {
		return nil, err
	}
	// All at once, because every collection reads the kernel's BTF again; one
	// by one only if that fails.
	all, err := e.load(spec, kernel, slices.Collect(maps.Keys(spec.Programs)))
	if err == nil {
		defer all.Close() // links hold the programs, and programs the maps
	}
	var requirements []Requirement
	var last error
	for i, p := range probes {
		err := e.openProbe(spec, kernel, all, p)
		e.attached[i] = err == nil
		if err != nil {
			last = err
		}
		for _, name := range p.programs {
			r := Requirement{Name: spec.Programs[name].SectionName, Present: true}
			if err != nil {
				r = failed(r.Name, err)
			}
			requirements = append(requirements, r)
		}
	}
	return requirements, last
}

// create makes the counters, which all programs share.
func (e *events) create(spec *ebpf.CollectionSpec) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	spec.Maps["counts"].MaxEntries = uint32(cpus)
	if e.counts, err = ebpf.NewMap(spec.Maps["counts"]); err != nil {
		return fmt.Errorf("create the event counters: %w", classify(err))
	}
	e.memory, err = mapArray[eventsEventCounts](e.counts)
	return err
}

// load loads some programs of spec.
func (e *events) load(spec *ebpf.CollectionSpec, kernel *btf.Spec, programs []string) (*ebpf.Collection, error) {
	some := spec.Copy()
	maps.DeleteFunc(some.Programs, func(name string, _ *ebpf.ProgramSpec) bool {
		return !slices.Contains(programs, name)
	})
	return ebpf.NewCollectionWithOptions(some, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{"counts": e.counts},
		Programs:        ebpf.ProgramOptions{KernelTypes: kernel},
	})
}

// openProbe attaches the programs of one probe, or none of them; from loaded,
// unless that is nil.
func (e *events) openProbe(spec *ebpf.CollectionSpec, kernel *btf.Spec, loaded *ebpf.Collection, p probe) error {
	if loaded == nil {
		own, err := e.load(spec, kernel, p.programs)
		if err != nil {
			return fmt.Errorf("load %v: %w", p.programs, classify(err))
		}
		defer own.Close()
		loaded = own
	}
	var links []io.Closer
	for _, name := range p.programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: loaded.Programs[name]})
		if err != nil {
			err = fmt.Errorf("attach %s: %w", name, classify(err))
			for _, l := range links {
				err = errors.Join(err, l.Close())
			}
			return err
		}
		links = append(links, l)
	}
	e.links = append(e.links, links...)
	return nil
}

func (e *events) any() bool {
	for _, attached := range e.attached {
		if attached {
			return true
		}
	}
	return false
}

func (e *events) read(into *arc.Node) {
	sum := &e.sum
	*sum = eventsEventCounts{}
	for i := range e.memory.values {
		c := &e.memory.values[i]
		sum.Forks += atomic.LoadUint64(&c.Forks)
		sum.Execs += atomic.LoadUint64(&c.Execs)
		sum.Exits += atomic.LoadUint64(&c.Exits)
		sum.BlockOperations += atomic.LoadUint64(&c.BlockOperations)
		sum.BlockTime += atomic.LoadUint64(&c.BlockTime)
		sum.BlockBytes += atomic.LoadUint64(&c.BlockBytes)
		sum.Retransmits += atomic.LoadUint64(&c.Retransmits)
		sum.ReclaimTime += atomic.LoadUint64(&c.ReclaimTime)
	}
	for i := range probes {
		if e.attached[i] {
			probes[i].fill(sum, into)
		}
	}
}

func (e *events) close() error {
	var errs []error
	for _, c := range e.links {
		errs = append(errs, c.Close())
	}
	e.links, e.attached = nil, [len(probes)]bool{}
	errs = append(errs, e.memory.close())
	if e.counts != nil {
		errs = append(errs, e.counts.Close())
		e.counts = nil
	}
	return errors.Join(errs...)
}
