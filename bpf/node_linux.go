// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// The parts of a sample that this kernel fills (enum part in node.bpf.c).
const (
	partSwitches = 1 << iota
	partRunDelay
	partCPU
	partEvents
	partPressure
	partTasks
	partSwap
	partCompaction
)

// parts are what a sample consists of, pressure excepted: the requirement behind
// each part, and the fields that fill writes for it.
var parts = [...]struct {
	bit          uint32
	name, remedy string
	fields       []arc.NodeField
}{
	{partSwitches, "percpu/runqueues", remedyBTF, []arc.NodeField{arc.NodeContextSwitches}},
	{partRunDelay, "SCHEDSTATS", remedySchedstats, []arc.NodeField{arc.NodeRunQueueDelay}},
	{partCPU, "percpu/kernel_cpustat", remedyBTF, []arc.NodeField{
		arc.NodeCPUBusy, arc.NodeCPUSystem, arc.NodeCPUSoftIRQ, arc.NodeCPUIRQ,
	}},
	{partEvents, "percpu/vm_event_states", remedyBTF, []arc.NodeField{
		arc.NodePageFaults, arc.NodeMajorFaults, arc.NodeDirectReclaims, arc.NodeOOMKills,
	}},
	{partTasks, "tasks of struct rq", remedyBTF, []arc.NodeField{
		arc.NodeTasksRunnable, arc.NodeTasksBlocked, arc.NodeTasksUninterruptible,
	}},
	{partSwap, "SWAP", remedySwap, []arc.NodeField{arc.NodeSwapIn, arc.NodeSwapOut}},
	{partCompaction, "COMPACTION", remedyCompaction, []arc.NodeField{arc.NodeCompactionStalls}},
}

// noRunQueue is what the program returns on a kernel whose run queues it cannot
// find (built without CONFIG_FAIR_GROUP_SCHED).
const noRunQueue = 2

// Node reads the state of the node. It is for one goroutine at a time.
type Node struct {
	requirements []Requirement

	objects  nodeObjects
	sample   mapping[nodeNodeSample]
	run      programRun
	parts    uint32
	pressure pressure
	events   events
}

// OpenNode loads the programs that read the node. It returns an error only if
// none can be: one that wraps [ErrUnsupported] where the kernel lacks what they
// need, and os.ErrPermission where the process does. What else is missing is
// told by [Node.Missing].
func OpenNode() (*Node, error) {
	n := &Node{}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) open() error {
	_ = raiseLimit() // what fails for it says so
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("load the kernel's BTF: %w", classify(err))
	}
	sampler := n.openSampler(kernel)
	n.require("syscall/sample_node", sampler)
	if sampler == nil {
		n.requireParts()
	}
	err = n.openEvents(kernel)
	if sampler != nil && !n.events.any() {
		return errors.Join(sampler, err)
	}
	return nil
}

func (n *Node) openEvents(kernel *btf.Spec) error {
	spec, err := loadEvents()
	if err != nil {
		return fmt.Errorf("read the event programs: %w", err)
	}
	attached, err := n.events.open(spec, kernel)
	if attached == nil {
		n.require("tp_btf", err)
	}
	n.requirements = append(n.requirements, attached...)
	return err
}

func (n *Node) require(name string, err error) {
	if err != nil {
		n.requirements = append(n.requirements, failed(name, err))
		return
	}
	n.requirements = append(n.requirements, Requirement{Name: name, Present: true})
}

func (n *Node) openSampler(kernel *btf.Spec) error {
	spec, err := loadNode()
	if err != nil {
		return fmt.Errorf("read the node program: %w", err)
	}
	if err := fit(spec, kernel); err != nil {
		return err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	spec.Maps["previous"].MaxEntries = uint32(cpus)
	if err := spec.LoadAndAssign(&n.objects, coreOptions(kernel)); err != nil {
		return fmt.Errorf("load the node program: %w", classify(err))
	}
	if n.sample, err = mapArray[nodeNodeSample](n.objects.Sample); err != nil {
		return err
	}
	n.run = programRun{program: uint32(n.objects.SampleNode.FD())}
	if err := n.take(); err != nil {
		n.run = programRun{}
		return err
	}
	n.parts = n.sample.values[0].Parts
	if n.parts == 0 {
		n.run = programRun{}
		return fmt.Errorf("no counter of this kernel has a type in its BTF: %w", ErrUnsupported)
	}
	return nil
}

// requireParts says which parts of a sample this kernel does not fill.
func (n *Node) requireParts() {
	wrong, err := n.verify()
	for _, p := range parts {
		r := Requirement{Name: p.name}
		switch doubt := errors.Join(err, wrong[p.bit]); {
		case n.parts&p.bit == 0:
			r.Cause, r.Remedy = "not in this kernel's BTF", p.remedy
		case doubt != nil:
			n.parts &^= p.bit
			r.Cause, r.Remedy = cause(doubt), remedyReport
		default:
			r.Present = true
		}
		n.requirements = append(n.requirements, r)
	}
	psi := Requirement{Name: "PSI", Present: true}
	if n.parts&partPressure == 0 {
		psi = Requirement{"PSI", false, "system_group_pcpu is not in this kernel's BTF", remedyPSI}
	} else if err := n.pressure.open(); err != nil {
		n.parts &^= partPressure
		psi = Requirement{"PSI", false, err.Error(), remedyPSI}
	}
	n.requirements = append(n.requirements, psi)
}

// take runs the program once.
func (n *Node) take() error {
	n.run.result = 0
	if _, errno := bpf(unix.BPF_PROG_TEST_RUN, &n.run); errno != 0 {
		return fmt.Errorf("run the node program: %w", errno)
	}
	switch n.run.result {
	case 0:
		return nil
	case noRunQueue:
		return fmt.Errorf("run the node program: the run queue of this CPU was not found: %w", ErrUnsupported)
	}
	return fmt.Errorf("run the node program: it returned %d", n.run.result)
}

// Read takes the state of the node and writes the fields it knows, in the units
// of arc.NodeFields; the others are left as they are. Counters of events start
// at 0 when the node is opened. It does not allocate.
func (n *Node) Read(into *arc.Node) error {
	if n.run.program != 0 {
		if err := n.take(); err != nil {
			return err
		}
		n.fill(&n.sample.values[0], into)
	}
	n.events.read(into)
	return nil
}

func (n *Node) fill(s *nodeNodeSample, into *arc.Node) {
	if n.parts&partSwitches != 0 {
		into[arc.NodeContextSwitches] = float64(s.Switches)
	}
	if n.parts&partRunDelay != 0 {
		into[arc.NodeRunQueueDelay] = seconds(s.RunDelay)
	}
	if n.parts&partCPU != 0 {
		into[arc.NodeCPUBusy] = seconds(s.Busy)
		into[arc.NodeCPUSystem] = seconds(s.System)
		into[arc.NodeCPUSoftIRQ] = seconds(s.Softirq)
		into[arc.NodeCPUIRQ] = seconds(s.Irq)
	}
	if n.parts&partTasks != 0 {
		into[arc.NodeTasksRunnable] = float64(s.Runnable)
		// Summed while tasks move between CPUs, a few may be counted on neither.
		into[arc.NodeTasksBlocked] = float64(max(s.Blocked, 0))
		into[arc.NodeTasksUninterruptible] = float64(max(s.Uninterruptible, 0))
	}
	if n.parts&partEvents != 0 {
		into[arc.NodePageFaults] = float64(s.Faults)
		into[arc.NodeMajorFaults] = float64(s.MajorFaults)
		into[arc.NodeDirectReclaims] = float64(s.DirectReclaims)
		into[arc.NodeOOMKills] = float64(s.OomKills)
	}
	if n.parts&partSwap != 0 {
		into[arc.NodeSwapIn] = float64(s.SwapIn)
		into[arc.NodeSwapOut] = float64(s.SwapOut)
	}
	if n.parts&partCompaction != 0 {
		into[arc.NodeCompactionStalls] = float64(s.CompactionStalls)
	}
	if n.parts&partPressure != 0 {
		n.pressure.read(s, into)
	}
}

func seconds(nanoseconds uint64) float64 { return float64(nanoseconds) / 1e9 }

// Missing returns what could not be loaded, why, and what would help.
func (n *Node) Missing() []Requirement { return missing(n.requirements) }

// Close detaches and frees everything. It may be called more than once.
func (n *Node) Close() error {
	n.run = programRun{}
	err := errors.Join(n.events.close(), n.pressure.close(), n.sample.close())
	if n.objects.SampleNode != nil {
		err = errors.Join(err, n.objects.Close())
		n.objects = nodeObjects{}
	}
	return err
}
