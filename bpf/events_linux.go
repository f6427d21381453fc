// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// events counts what the kernel does not count itself where BPF can read it.
type events struct {
	counts *ebpf.Map
	memory mapping[eventsEventCounts]
	closer []interface{ Close() error }
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

// open attaches every probe it can and returns one requirement a program, and
// what kept the last one out.
func (e *events) open() ([]Requirement, error) {
	spec, err := loadEvents()
	if err != nil {
		return nil, fmt.Errorf("read the event programs: %w", err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	spec.Maps["counts"].MaxEntries = uint32(cpus)

	var requirements []Requirement
	var last error
	for i, p := range probes {
		err := e.openProbe(spec, p)
		e.attached[i] = err == nil
		if err != nil {
			last = err
		}
		for _, name := range p.programs {
			section := spec.Programs[name].SectionName
			if err != nil {
				requirements = append(requirements, failed(section, err))
				continue
			}
			requirements = append(requirements, Requirement{Name: section, Present: true})
		}
	}
	return requirements, last
}

// openProbe loads and attaches the programs of one probe, or none of them.
func (e *events) openProbe(spec *ebpf.CollectionSpec, p probe) (err error) {
	if e.counts == nil {
		counts, err := ebpf.NewMap(spec.Maps["counts"])
		if err != nil {
			return fmt.Errorf("create the event counters: %w", classify(err))
		}
		if e.memory, err = mapArray[eventsEventCounts](counts); err != nil {
			return errors.Join(err, counts.Close())
		}
		e.counts = counts
	}
	some := spec.Copy()
	clear(some.Programs)
	for _, name := range p.programs {
		some.Programs[name] = spec.Programs[name].Copy()
	}
	if len(p.programs) == 1 {
		delete(some.Maps, "reclaiming") // only the pair has something to remember
	}
	collection, err := ebpf.NewCollectionWithOptions(some, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{"counts": e.counts},
	})
	if err != nil {
		return fmt.Errorf("load %v: %w", p.programs, classify(err))
	}
	// Links hold the programs, and programs the maps.
	defer collection.Close()

	var links []interface{ Close() error }
	for _, name := range p.programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: collection.Programs[name]})
		if err != nil {
			for _, l := range links {
				err = errors.Join(err, l.Close())
			}
			return fmt.Errorf("attach %s: %w", name, classify(err))
		}
		links = append(links, l)
	}
	e.closer = append(e.closer, links...)
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
	for _, c := range e.closer {
		errs = append(errs, c.Close())
	}
	e.closer, e.attached = nil, [len(probes)]bool{}
	errs = append(errs, e.memory.close())
	if e.counts != nil {
		errs = append(errs, e.counts.Close())
		e.counts = nil
	}
	return errors.Join(errs...)
}
