// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

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
	counted  counted

	destinations *ebpf.Map
	opened       time.Time
}

// counted is what the programs have counted.
type counted struct {
	events      eventsEventCounts // summed over CPUs
	connections connections
}

// probe is a group of programs that make sense only together, the fields they
// fill, and how: fill writes just those.
type probe struct {
	programs []string
	fields   []arc.NodeField
	fill     func(c *counted, into *arc.Node)
}

// probes are independent of each other.
var probes = [...]probe{
	{[]string{"count_fork"}, []arc.NodeField{arc.NodeForks}, func(c *counted, into *arc.Node) {
		into[arc.NodeForks] = float64(c.events.Forks)
	}},
	{[]string{"count_exec"}, []arc.NodeField{arc.NodeExecs}, func(c *counted, into *arc.Node) {
		into[arc.NodeExecs] = float64(c.events.Execs)
	}},
	{[]string{"count_exit"}, []arc.NodeField{arc.NodeExits}, func(c *counted, into *arc.Node) {
		into[arc.NodeExits] = float64(c.events.Exits)
	}},
	{[]string{"count_block"}, []arc.NodeField{arc.NodeBlockOperations, arc.NodeBlockTime, arc.NodeBlockBytes}, func(c *counted, into *arc.Node) {
		into[arc.NodeBlockOperations] = float64(c.events.BlockOperations)
		into[arc.NodeBlockTime] = seconds(c.events.BlockTime)
		into[arc.NodeBlockBytes] = float64(c.events.BlockBytes)
	}},
	{[]string{"count_retransmit", "count_synack"}, []arc.NodeField{arc.NodeTCPRetransmits}, func(c *counted, into *arc.Node) {
		into[arc.NodeTCPRetransmits] = float64(c.events.Retransmits)
	}},
	{[]string{"count_connect"}, []arc.NodeField{arc.NodeTCPOpens, arc.NodeTCPDestinationEntropy}, func(c *counted, into *arc.Node) {
		into[arc.NodeTCPOpens] = float64(c.connections.opened)
		into[arc.NodeTCPDestinationEntropy] = c.connections.entropy
	}},
	// The end before the beginning: an end without a beginning is ignored.
	{[]string{"end_reclaim", "begin_reclaim"}, []arc.NodeField{arc.NodeDirectReclaimTime}, func(c *counted, into *arc.Node) {
		into[arc.NodeDirectReclaimTime] = seconds(c.events.ReclaimTime)
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

// create makes the counters, which all programs share, and seeds the hash.
func (e *events) create(spec *ebpf.CollectionSpec) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	spec.Maps["counts"].MaxEntries = uint32(cpus)
	if e.counts, err = ebpf.NewMap(spec.Maps["counts"]); err != nil {
		return fmt.Errorf("create the event counters: %w", classify(err))
	}
	if e.memory, err = mapArray[eventsEventCounts](e.counts); err != nil {
		return err
	}
	if e.destinations, err = ebpf.NewMap(spec.Maps["destinations"]); err != nil {
		return fmt.Errorf("create the counters of connections: %w", classify(err))
	}
	if e.counted.connections.memory, err = mapArray[uint64](e.destinations); err != nil {
		return err
	}
	e.opened = time.Now()
	if err := spec.Variables["seed"].Set(rand.Uint32()); err != nil {
		return fmt.Errorf("seed the hash of destinations: %w", err)
	}
	return nil
}

// load loads some programs of spec.
func (e *events) load(spec *ebpf.CollectionSpec, kernel *btf.Spec, programs []string) (*ebpf.Collection, error) {
	some := spec.Copy()
	maps.DeleteFunc(some.Programs, func(name string, _ *ebpf.ProgramSpec) bool {
		return !slices.Contains(programs, name)
	})
	return ebpf.NewCollectionWithOptions(some, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{"counts": e.counts, "destinations": e.destinations},
		Programs:        ebpf.ProgramOptions{KernelTypes: kernel},
	})
}

// errNoTracepoint is [ErrUnsupported] of one program only.
var errNoTracepoint = fmt.Errorf("no such tracepoint: %w", ErrUnsupported)

// tracepoints says which tracepoint of some programs the kernel does not have.
// All are the kernel's own, none a module's.
func tracepoints(spec *ebpf.CollectionSpec, kernel *btf.Spec, programs []string) error {
	for _, name := range programs {
		if _, err := kernel.AnyTypeByName("btf_trace_" + spec.Programs[name].AttachTo); err != nil {
			return fmt.Errorf("load %s at %s: %w", name, spec.Programs[name].AttachTo, errNoTracepoint)
		}
	}
	return nil
}

// openProbe attaches the programs of one probe, or none of them; from loaded,
// unless that is nil.
func (e *events) openProbe(spec *ebpf.CollectionSpec, kernel *btf.Spec, loaded *ebpf.Collection, p probe) error {
	if loaded == nil {
		if err := tracepoints(spec, kernel, p.programs); err != nil {
			return err
		}
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
	sum := &e.counted.events
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
	e.counted.connections.read(time.Since(e.opened))
	for i := range probes {
		if e.attached[i] {
			probes[i].fill(&e.counted, into)
		}
	}
}

func (e *events) close() error {
	var errs []error
	for _, c := range e.links {
		errs = append(errs, c.Close())
	}
	e.links, e.attached = nil, [len(probes)]bool{}
	errs = append(errs, e.memory.close(), e.counted.connections.memory.close())
	for _, m := range []**ebpf.Map{&e.counts, &e.destinations} {
		if *m != nil {
			errs = append(errs, (*m).Close())
			*m = nil
		}
	}
	return errors.Join(errs...)
}
