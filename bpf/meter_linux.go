// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Usage is what a program has used of the machine.
type Usage struct {
	// Name is that of the program's function.
	Name string
	Runs uint64
	// Time is how long these runs took, all CPUs together, the statistics' own
	// part included.
	Time time.Duration
}

// Meter reads the kernel's statistics of the programs that this process holds.
// While it is open the kernel looks at the clock twice for every run of every
// BPF program of the machine, other people's included.
type Meter struct {
	statistics io.Closer
	programs   map[ebpf.ProgramID]*ebpf.Program
	before     map[ebpf.ProgramID]ebpf.ProgramStats
	own        time.Duration
}

// ownRuns is over how many runs of an empty program the statistics' own part is
// measured.
const ownRuns = 1000

// OpenMeter begins to measure the programs that this process holds now. The
// error wraps os.ErrPermission without CAP_SYS_ADMIN: the kernel has nothing
// narrower for statistics. Before Linux 5.8 it has none.
func OpenMeter() (*Meter, error) {
	m := &Meter{}
	if err := m.open(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Meter) open() (err error) {
	if m.statistics, err = ebpf.EnableStats(unix.BPF_STATS_RUN_TIME); err != nil {
		return fmt.Errorf("switch the statistics of BPF programs on: %w", err)
	}
	if m.programs, err = heldPrograms(); err != nil {
		return err
	}
	m.own, _ = emptyRun() // unknown where there is no program to run for nothing
	m.before = map[ebpf.ProgramID]ebpf.ProgramStats{}
	for id, p := range m.programs {
		s, err := p.Stats()
		if err != nil {
			return fmt.Errorf("read the statistics of %s: %w", p, err)
		}
		m.before[id] = *s
	}
	return nil
}

// Usage returns what each program has used since the meter was opened, in no
// order.
func (m *Meter) Usage() ([]Usage, error) {
	used := make([]Usage, 0, len(m.programs))
	for id, p := range m.programs {
		s, err := p.Stats()
		if err != nil {
			return nil, fmt.Errorf("read the statistics of %s: %w", p, err)
		}
		info, err := p.Info()
		if err != nil {
			return nil, fmt.Errorf("read the name of %s: %w", p, err)
		}
		before := m.before[id]
		used = append(used, Usage{wholeName(info.Name), s.RunCount - before.RunCount, s.Runtime - before.Runtime})
	}
	return used, nil
}

// Own is how much of a run the statistics themselves take: what they say of a
// program that does nothing. 0 if that is not known.
func (m *Meter) Own() time.Duration { return m.own }

// Close switches the statistics off, unless others want them, too.
func (m *Meter) Close() error {
	var errs []error
	for _, p := range m.programs {
		errs = append(errs, p.Close())
	}
	m.programs = nil
	if m.statistics != nil {
		errs = append(errs, m.statistics.Close())
		m.statistics = nil
	}
	return errors.Join(errs...)
}

// heldPrograms opens the programs behind the descriptors of this process: its
// programs and those of its links.
func heldPrograms() (map[ebpf.ProgramID]*ebpf.Program, error) {
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		return nil, err
	}
	held := map[ebpf.ProgramID]*ebpf.Program{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // closed meanwhile
		}
		id, ok := programOf(string(text))
		if !ok || held[id] != nil {
			continue
		}
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			return held, fmt.Errorf("open program %d: %w", id, err)
		}
		held[id] = program
	}
	return held, nil
}

// programOf is the program that a file in fdinfo names.
func programOf(fdinfo string) (ebpf.ProgramID, bool) {
	for line := range strings.Lines(fdinfo) {
		if value, ok := strings.CutPrefix(line, "prog_id:"); ok {
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			return ebpf.ProgramID(id), err == nil
		}
	}
	return 0, false
}

// wholeName undoes the kernel's cut at 15 characters.
func wholeName(name string) string {
	for _, p := range Programs {
		if len(name) == unix.BPF_OBJ_NAME_LEN-1 && strings.HasPrefix(p.Name, name) {
			return p.Name
		}
	}
	return name
}

// emptyRun is what the statistics say of one run of a program that does nothing.
func emptyRun() (time.Duration, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "empty", Type: ebpf.Syscall, Flags: unix.BPF_F_SLEEPABLE, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return 0, err
	}
	defer func() { _ = program.Close() }()
	for range ownRuns {
		if _, err := program.Run(&ebpf.RunOptions{}); err != nil {
			return 0, err
		}
	}
	s, err := program.Stats()
	if err != nil || s.RunCount == 0 {
		return 0, err
	}
	return s.Runtime / time.Duration(s.RunCount), nil
}
