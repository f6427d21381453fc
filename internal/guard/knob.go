// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"
	"os"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// knob is one file of a cgroup that an action turns. A new actuator is an
// implementation of it and a row in knobs; leases, safelist, budgets, expiry
// and recovery come with it.
type knob interface {
	// file is the cgroup's file, and the last part of its record's name.
	file() string
	// read returns the value in force.
	read(d *cgroupfs.Dir) (uint64, error)
	// grant returns the first value of a lease that asks for want: at least the
	// knob's own floor for this cgroup. The guard refuses what does not tighten.
	grant(d *cgroupfs.Dir, want, margin uint64) (uint64, error)
	// move returns the next value of a lease that holds value and asks for want.
	move(value, want uint64) uint64
	// span returns how far above value a lease's interval is declared ahead.
	span(value uint64) uint64
	// coupled returns what else turning the knob changes, by file.
	coupled(d *cgroupfs.Dir) (map[string]limit, error)
}

var knobs = map[arc.Action]knob{
	arc.ActionMemoryHigh: memoryHigh{},
}

// memoryHigh is the moving ceiling on a cgroup's memory.
type memoryHigh struct{}

func (memoryHigh) file() string { return "memory.high" }

func (k memoryHigh) read(d *cgroupfs.Dir) (uint64, error) {
	v, err := d.ReadUint(k.file())
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("the memory controller is not enabled for this cgroup: %w", err)
	}
	return v, err
}

// grant starts no lower than the usage, so that the write itself reclaims
// nothing and the ceiling bites on growth only; than unreclaimable memory plus
// margin, below which no amount of reclaim gets a task back to work; and than
// what the cgroup was promised (memory.min, memory.low).
func (memoryHigh) grant(d *cgroupfs.Dir, want, margin uint64) (uint64, error) {
	usage, err := d.ReadUint("memory.current")
	if err != nil {
		return 0, err
	}
	firm := usage
	if stat, err := d.ReadFile("memory.stat", make([]byte, 0, 4096)); err == nil {
		firm = min(unreclaimable(stat), usage)
	} else if !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	floor := max(usage, firm+margin)
	for _, promise := range []string{"memory.min", "memory.low"} {
		v, err := d.ReadUint(promise)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		floor = max(floor, v)
	}
	hard, err := d.ReadUint("memory.max")
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return 0, err
	case floor >= hard:
		return 0, refusal(fmt.Sprintf("the floor of %d bytes leaves no room below memory.max (%d)", floor, hard))
	}
	return cgroupfs.PageUp(max(floor, want)), nil
}

func (memoryHigh) move(value, want uint64) uint64 { return max(value, cgroupfs.PageDown(want)) }

func (memoryHigh) span(uint64) uint64 { return 64 << 20 }

func (memoryHigh) coupled(*cgroupfs.Dir) (map[string]limit, error) { return nil, nil }

// unreclaimable is the part of a cgroup's usage that reclaim cannot be counted
// on to free: anonymous and shared memory (swap would only make its owner
// slower), kernel memory but for reclaimable slab, and locked pages. Pages that
// are locked and anonymous count twice; erring upwards is the mild side.
func unreclaimable(stat []byte) uint64 {
	value := func(key string) uint64 {
		v, _ := cgroupfs.Keyed(stat, key)
		return v
	}
	kernel, known := cgroupfs.Keyed(stat, "kernel")
	if known {
		kernel -= min(kernel, value("slab_reclaimable"))
	} else { // before 5.18
		kernel = value("slab_unreclaimable") + value("kernel_stack") + value("pagetables") + value("percpu") + value("vmalloc")
	}
	return value("anon") + value("shmem") + value("unevictable") + value("sock") + kernel
}

// refusal is an error that is the guard's decision, not the kernel's failure.
type refusal string

func (r refusal) Error() string { return string(r) }
