// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package wake

// Cause is what wakes a sampler. A new cause is a new constant here, its row in
// causeNames, and its row in signals.
type Cause uint8

// The causes.
const (
	// CPUStall: some task waits for a CPU most of the time.
	CPUStall Cause = iota
	// MemoryStall: some task waits for memory.
	MemoryStall
	// IOStall: every task that is not idle waits for I/O.
	IOStall
	// OOMKill: the kernel's OOM killer chose a victim.
	OOMKill
	// DirectReclaim: a task had to free memory before it got any.
	DirectReclaim
	// ForkSurge: tasks are created by the hundred.
	ForkSurge

	// NumCauses is how many there are.
	NumCauses
)

var causeNames = [NumCauses]string{"cpu_stall", "memory_stall", "io_stall", "oom_kill", "direct_reclaim", "fork_surge"}

// String returns the cause's name as it appears in telemetry.
func (c Cause) String() string {
	if c < NumCauses {
		return causeNames[c]
	}
	return "unknown"
}

// Causes is a set of causes.
type Causes uint8

// Has says whether c is among them.
func (s Causes) Has(c Cause) bool { return s&(1<<c) != 0 }

// With returns the set with c.
func (s Causes) With(c Cause) Causes { return s | 1<<c }
