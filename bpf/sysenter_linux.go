// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/entropy"
)

// syscallFields are the fields that Syscalls fills.
var syscallFields = []arc.NodeField{arc.NodeSyscallRate, arc.NodeSyscallEntropy}

// callNumbers is how many system calls are told apart (NUMBERS in
// sysenter.bpf.c). Calls of a 32-bit process are counted under the number they
// have there.
const callNumbers = 512

// Syscalls counts the system calls of the whole machine for a short window of
// every period; outside of it no program is attached, and nobody pays. To attach
// and to detach means to wait for every CPU: that is done in a goroutine of its
// own, never by Read.
type Syscalls struct {
	window, period time.Duration

	objects sysenterObjects
	memory  mapping[sysenterSyscallCounts]
	latest  atomic.Pointer[callRate] // nil before the first window has passed
	stop    chan struct{}
	done    chan struct{}
}

// callRate is what one window showed, or what kept it from being opened.
type callRate struct {
	rate    float64 // calls a second
	entropy float64
	err     error
}

// callCounts are calls by number, summed over CPUs.
type callCounts [callNumbers]uint64

// OpenSyscalls begins to count system calls in the first window of every period,
// beginning now. Errors are as those of [OpenNode].
func OpenSyscalls(window, period time.Duration) (*Syscalls, error) {
	s := &Syscalls{window: window, period: period}
	first, err := s.open()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.stop, s.done = make(chan struct{}), make(chan struct{})
	go s.run(first)
	return s, nil
}

// open loads the program and attaches it for the first time.
func (s *Syscalls) open() (link.Link, error) {
	if err := s.load(); err != nil {
		return nil, err
	}
	return s.attach()
}

func (s *Syscalls) load() error {
	_ = raiseLimit() // what fails for it says so
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("load the kernel's BTF: %w", classify(err))
	}
	spec, err := loadSysenter()
	if err != nil {
		return fmt.Errorf("read the system call program: %w", err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	spec.Maps["counts"].MaxEntries = uint32(cpus)
	if err := spec.LoadAndAssign(&s.objects, coreOptions(kernel)); err != nil {
		return fmt.Errorf("load the system call program: %w", classify(err))
	}
	s.memory, err = mapArray[sysenterSyscallCounts](s.objects.Counts)
	return err
}

func (s *Syscalls) attach() (link.Link, error) {
	l, err := link.AttachTracing(link.TracingOptions{Program: s.objects.CountSyscall})
	if err != nil {
		return nil, fmt.Errorf("attach count_syscall: %w", classify(err))
	}
	return l, nil
}

// run opens one window after the other; the first is open already.
func (s *Syscalls) run(l link.Link) {
	defer close(s.done)
	for {
		if !s.measure(l) || !s.wait(s.period-s.window) {
			return
		}
		var err error
		for l, err = s.attach(); err != nil; l, err = s.attach() {
			s.latest.Store(&callRate{err: err})
			if !s.wait(s.period) {
				return
			}
		}
	}
}

// measure keeps the window open, closes it and tells what it showed. False if it
// was told to stop.
func (s *Syscalls) measure(l link.Link) bool {
	var before, after callCounts
	began := time.Now()
	s.sum(&before)
	whole := s.wait(s.window)
	s.sum(&after)
	took := time.Since(began)
	if err := l.Close(); err != nil {
		s.latest.Store(&callRate{err: fmt.Errorf("detach count_syscall: %w", err)})
		return whole
	}
	if whole {
		s.latest.Store(rateBetween(&before, &after, took))
	}
	return whole
}

func rateBetween(before, after *callCounts, took time.Duration) *callRate {
	var calls uint64
	var changes callCounts
	for i := range changes {
		changes[i] = after[i] - before[i]
		calls += changes[i]
	}
	return &callRate{rate: float64(calls) / took.Seconds(), entropy: entropy.Normalised(changes[:])}
}

func (s *Syscalls) sum(into *callCounts) {
	for cpu := range s.memory.values {
		counts := &s.memory.values[cpu].Count
		for i := range counts {
			into[i] += atomic.LoadUint64(&counts[i])
		}
	}
}

// wait returns true after span, or false as soon as it is told to stop.
func (s *Syscalls) wait(span time.Duration) bool {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stop:
		return false
	}
}

// Read writes what the last whole window showed; before the end of the first it
// writes nothing. It does not allocate.
func (s *Syscalls) Read(into *arc.Node) error {
	last := s.latest.Load()
	switch {
	case last == nil:
		return nil
	case last.err != nil:
		return last.err
	}
	into[arc.NodeSyscallRate] = last.rate
	into[arc.NodeSyscallEntropy] = last.entropy
	return nil
}

// Close ends an open window, detaches and frees everything. It may be called
// more than once.
func (s *Syscalls) Close() error {
	if s.stop != nil {
		close(s.stop)
		<-s.done
		s.stop = nil
	}
	err := s.memory.close()
	if s.objects.CountSyscall != nil {
		err = errors.Join(err, s.objects.Close())
		s.objects = sysenterObjects{}
	}
	return err
}

// probeSyscalls says whether system calls could be counted, without doing so.
func probeSyscalls() Requirement {
	const name = "tp_btf/sys_enter"
	s := &Syscalls{}
	err := s.load()
	_ = s.Close()
	if err != nil {
		return failed(name, err)
	}
	return Requirement{Name: name, Present: true}
}
