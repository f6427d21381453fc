// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"
	"os"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// memoryHigh is the moving ceiling on a cgroup's memory.
type memoryHigh struct{ setting }

// grant starts no lower than the usage, so that the write itself reclaims
// nothing and the ceiling bites on growth only; than unreclaimable memory plus
// margin, below which no amount of reclaim gets a task back to work; and than
// what the cgroup was promised (memory.min, memory.low).
func (memoryHigh) grant(t target, _, want, margin uint64) (uint64, error) {
	d := t.dir
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

// move only rises: coming down would reclaim from a task that stays within what
// it was given.
func (k memoryHigh) move(_ target, value, want uint64) (uint64, error) {
	return max(value, k.canonical(want)), nil
}

// back comes down no further than the usage, so that nothing is reclaimed.
func (memoryHigh) back(t target, value, current uint64) uint64 {
	usage, err := t.dir.ReadUint("memory.current")
	if err != nil {
		return current
	}
	return min(max(value, cgroupfs.PageUp(usage)), current)
}

func (memoryHigh) canonical(v uint64) uint64 { return cgroupfs.PageDown(v) }

func (memoryHigh) span(uint64) uint64 { return 64 << 20 }

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
