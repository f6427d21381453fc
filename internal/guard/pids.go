// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import "github.com/otelcol-reflex/reflex/internal/arc"

const (
	// pidsMargin is the least number of tasks that may still be started: a shell
	// for a health check, a pool of threads.
	pidsMargin = 16
	// pidsMost is the largest number that the kernel takes (PID_MAX_LIMIT).
	pidsMost = 1 << 22
)

// pidsMax is a cap on the number of tasks.
type pidsMax struct{ setting }

// grant starts a tenth above the tasks there are, and pidsMargin at least: none
// of them is touched, and whoever only forks a little does not feel it.
func (pidsMax) grant(t target, _, want, _ uint64) (uint64, error) {
	tasks, err := t.dir.ReadUint("pids.current")
	if err != nil {
		return 0, err
	}
	return max(tasks+max(pidsMargin, tasks/10), min(want, pidsMost)), nil
}

// move only rises. Its floor is counted at grant: counted again it would follow
// whoever fills the cap, and without it a lower cap could be below the tasks.
func (pidsMax) move(_ target, value, want uint64) (uint64, error) {
	if want >= arc.Unlimited {
		return arc.Unlimited, nil
	}
	return max(value, min(want, pidsMost)), nil
}
