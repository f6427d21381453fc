// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package arc

import "context"

// Action is what the guard can do about one cgroup, or, for [ActionShield], about
// one network interface; [ActionNodeQuarantine] is about all there is. A new actuator is a new constant here, its row in
// actionNames, and an implementation in internal/guard.
type Action uint8

// The actions, and what Order.Parameter means to each. All of them only tighten.
const (
	// ActionNone is no action. An order that carries it is refused.
	ActionNone Action = iota
	// ActionMemoryHigh holds a moving memory.high ceiling: bytes.
	ActionMemoryHigh
	// ActionCPUWeight lowers cpu.weight: 1 to 10000, 100 is the kernel's default.
	ActionCPUWeight
	// ActionCPUIdle sets cpu.idle: 1. The kernel resets cpu.weight with it.
	ActionCPUIdle
	// ActionCPUMax caps CPU time by cpu.max: microseconds of CPU time in a second,
	// one million for one CPU.
	ActionCPUMax
	// ActionIOWeight lowers io.weight (its default): 1 to 10000, 100 is the
	// kernel's default. It does something only where iocost or BFQ is active.
	ActionIOWeight
	// ActionIOMaxRead caps what is read from Order.Device: bytes a second.
	ActionIOMaxRead
	// ActionIOMaxWrite caps what is written to Order.Device: bytes a second.
	ActionIOMaxWrite
	// ActionPidsMax caps the number of tasks by pids.max: tasks.
	ActionPidsMax
	// ActionFreeze stops every task of the cgroup: 1. It is an ending, never a
	// level's first answer.
	ActionFreeze
	// ActionNetworkThrottle puts a token bucket on what the cgroup's sockets send
	// and receive: bytes a second, each way.
	ActionNetworkThrottle
	// ActionQuarantine lets the cgroup's sockets exchange nothing but what is
	// never cut. It has no parameter.
	ActionQuarantine
	// ActionShield puts a token bucket on every source that sends to
	// Order.Interface, by XDP: packets a second and source. It has no cgroup.
	ActionShield
	// ActionNodeQuarantine lets no socket of the node exchange anything but what a
	// node must not be without: for how long at most, in ns. It has no cgroup, no
	// policy orders it, and the guard takes it from operators only.
	ActionNodeQuarantine

	// NumActions is the number of actions, ActionNone included.
	NumActions
)

var actionNames = [NumActions]string{
	"none", "memory.high", "cpu.weight", "cpu.idle", "cpu.max", "io.weight", "io.max.read", "io.max.write",
	"pids.max", "cgroup.freeze", "network.throttle", "network.quarantine", "network.shield",
	"network.quarantine.node",
}

// ParseAction is the inverse of [Action.String]; it does not know "none".
func ParseAction(name string) (Action, bool) {
	for a := ActionNone + 1; a < NumActions; a++ {
		if actionNames[a] == name {
			return a, true
		}
	}
	return ActionNone, false
}

// String returns the action's name as it appears in telemetry.
func (a Action) String() string {
	if a < NumActions {
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
	// Cgroup is the kernel's cgroup id. Zero is an error, not "everything"; only
	// [ActionShield], which is about Interface, has none, and [ActionNodeQuarantine],
	// for which anything else is an error.
	Cgroup uint64
	// Device is the block device of ActionIOMaxRead and ActionIOMaxWrite: its major
	// number above the lower 32 bits, its minor number in them.
	Device uint64
	// Interface is the index of the network interface of ActionShield.
	Interface uint32
	Action    Action
	Verb      Verb
	// Observe asks for everything but the last write.
	Observe bool
	// NoWayIn asks for ActionNodeQuarantine though nobody could get in any more.
	NoWayIn bool
	// Parameter is the action's argument, see [Action]. The guard raises it to its
	// own floor where it is lower.
	Parameter uint64
	// TTL is the life of the lease in ns, from the moment it is written.
	TTL int64
	// Generation is the instant at which the lease was decided (CLOCK_BOOTTIME, ns),
	// a later one with every grant. The guard refuses an order older than the lease
	// it is about, a hold whose lease has been, and one decided before the guard
	// started.
	Generation uint64
	// Scheduled is the tick that led to the order (CLOCK_BOOTTIME, ns).
	Scheduled int64
	// Reason is for the audit record, at most 256 bytes.
	Reason string
}

// These begin the causes of refusals that the policy acts on; the others it takes for
// the guard's last word about a target.
const (
	// RefusedAction: the guard has no such action.
	RefusedAction = "the guard has no action"
	// RefusedKnob: its kernel lacks the knob that the action turns.
	RefusedKnob = "this kernel does not know"
	// RefusedSpent: a lease that the guard does not hold any more, as after it was
	// started again, is not taken up; what is decided anew may be.
	RefusedSpent = "the order is of a generation that is over"
)

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
