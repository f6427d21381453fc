// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// count is what the kernel has counted of a program.
type count struct {
	runs  uint64
	spent time.Duration
}

func (c count) since(before count) count { return count{c.runs - before.runs, c.spent - before.spent} }

// ns is the mean of a run.
func (c count) ns() float64 { return float64(c.spent) / float64(c.runs) }

// programsOf are the BPF programs that a process holds, by descriptors of
// programs or of links.
func programsOf(pid int) ([]ebpf.ProgramID, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return nil, err
	}
	var ids []ebpf.ProgramID
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // closed meanwhile
		}
		if id, ok := heldProgram(string(text)); ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// heldProgram is the program named by a file in fdinfo.
func heldProgram(fdinfo string) (ebpf.ProgramID, bool) {
	for line := range strings.Lines(fdinfo) {
		if value, ok := strings.CutPrefix(line, "prog_id:"); ok {
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			return ebpf.ProgramID(id), err == nil
		}
	}
	return 0, false
}

// counts looks at the statistics of programs, by name.
func counts(ids []ebpf.ProgramID) (map[string]count, error) {
	out := map[string]count{}
	for _, id := range ids {
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			return nil, fmt.Errorf("open program %d: %w", id, err)
		}
		name, c, err := look(program)
		_ = program.Close()
		if err != nil {
			return nil, fmt.Errorf("statistics of program %d: %w", id, err)
		}
		sum := out[name]
		out[name] = count{sum.runs + c.runs, sum.spent + c.spent}
	}
	return out, nil
}

func look(program *ebpf.Program) (string, count, error) {
	info, err := program.Info()
	if err != nil {
		return "", count{}, err
	}
	stats, err := program.Stats()
	if err != nil {
		return "", count{}, err
	}
	return whole(info.Name), count{stats.RunCount, stats.Runtime}, nil
}

// whole undoes the kernel's cut at 15 characters.
func whole(name string) string {
	for known := range events {
		if len(name) == unix.BPF_OBJ_NAME_LEN-1 && strings.HasPrefix(known, name) {
			return known
		}
	}
	return name
}

// differences is what each program did between two looks; those that did not run
// are left out.
func differences(before, after map[string]count) map[string]count {
	out := map[string]count{}
	for name, now := range after {
		if d := now.since(before[name]); d.runs > 0 {
			out[name] = d
		}
	}
	return out
}
