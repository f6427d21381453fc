// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package arc

import "context"

// Action is a knob the guard can turn. A new actuator is a new constant here, its row
// in actionNames, and an implementation in internal/guard.
type Action uint8

const (
	// ActionNone is no action. An order that carries it is refused.
	ActionNone Action = iota
	// ActionMemoryHigh holds a moving memory.high ceiling on a cgroup. Its
	// parameter is the ceiling in bytes.
	ActionMemoryHigh

	numActions
)

var actionNames = [numActions]string{"none", "memory.high"}

// String returns the action's name as it appears in telemetry.
func (a Action) String() string {
	if a < numActions {
		return actionNames[a]
	}
	return "unknown"
}

// Verb says what to do with an action's lease.
type Verb uint8

const (
	// Hold grants the lease, renews it, or moves its parameter.
	Hold Verb = iota
	// Release gives the original back and ends the lease.
	Release
)

// String returns "hold" or "release".
func (v Verb) String() string {
	if v == Release {
		return "release"
	}
	return "hold"
}

// Order is one instruction to the guard about one cgroup. The guard enforces
// the safelist, caps, floors, rate limits and expiry itself; an order can ask
// for less than the guard allows, never for more.
type Order struct {
	// Cgroup is the kernel's cgroup id. Zero is an error, not "everything".
	Cgroup uint64
	Action Action
	Verb   Verb
	// Observe asks for everything but the last write.
	Observe bool
	// Parameter is the action's argument; for ActionMemoryHigh the ceiling in
	// bytes. The guard raises it to its own floor where it is lower.
	Parameter uint64
	// TTL is the life of the lease in ns, from the moment it is written.
	TTL int64
	// Generation grows with every new grant of a policy. The guard refuses an
	// order older than the lease it is about.
	Generation uint64
	// Scheduled is the tick that led to the order (CLOCK_BOOTTIME, ns).
	Scheduled int64
	// Reason is for the audit record, at most 256 bytes.
	Reason string
}

// Verdict is what became of an order.
type Verdict uint8

const (
	// VerdictNone means that the order has not been answered.
	VerdictNone Verdict = iota
	// VerdictGranted: a new lease was written and the knob turned.
	VerdictGranted
	// VerdictHeld: an existing lease was renewed or its parameter moved.
	VerdictHeld
	// VerdictObserved: everything was checked and nothing written.
	VerdictObserved
	// VerdictReleased: the original is back and the lease is gone.
	VerdictReleased
	// VerdictRefused: the guard does not do this; Cause says why.
	VerdictRefused
	// VerdictLost: somebody else rewrote the knob; the lease is over and the
	// value left alone.
	VerdictLost
	// VerdictFailed: the kernel or the connection failed; Cause says how.
	VerdictFailed

	numVerdicts
)

var verdictNames = [numVerdicts]string{"none", "granted", "held", "observed", "released", "refused", "lost", "failed"}

// String returns the verdict's name as it appears in telemetry.
func (v Verdict) String() string {
	if v < numVerdicts {
		return verdictNames[v]
	}
	return "unknown"
}

// Outcome is the guard's answer to an [Order].
type Outcome struct {
	Verdict Verdict
	// Original is the knob's value before the lease, Value the value now in
	// force (or, observing, the value that would be). [Unlimited] is "max".
	Original uint64
	Value    uint64
	// Written is when the last write returned (CLOCK_BOOTTIME, ns); 0 if
	// nothing was written.
	Written int64
	// Deadline is when the lease ends by itself (CLOCK_BOOTTIME, ns).
	Deadline int64
	// Cause explains a refusal, a loss or a failure in one line.
	Cause string
}

// Actuator carries out orders: a connection to reflexguard or the guard
// embedded in the collector. Act returns an error only when it cannot say what
// became of the order; everything the guard decided is in out. Act is never
// called from the sampling goroutine.
type Actuator interface {
	Act(ctx context.Context, o Order, out *Outcome) error
}
