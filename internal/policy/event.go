// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// EventKind says what an [Event] records.
type EventKind uint8

const (
	// Opened: an episode began.
	Opened EventKind = iota
	// LevelChanged: the level went up or down by one.
	LevelChanged
	// Answered: the guard answered an order in a way that changed something.
	// Renewals and moves that went through are not events.
	Answered
	// Declined: the policy did not order what it might have; Cause says why.
	Declined
	// Announced: headroom is spent, or no progress is made, or less than it would be
	// unprotected, and the configured ending follows; or a ceiling or a cap was
	// tightened. Outcome.Cause says which.
	Announced
	// Closed: the episode ended.
	Closed

	numEventKinds
)

var eventKindNames = [numEventKinds]string{"opened", "level_changed", "answered", "declined", "announced", "closed"}

// String returns the kind's name.
func (k EventKind) String() string {
	if k < numEventKinds {
		return eventKindNames[k]
	}
	return "unknown"
}

// Cause is why the policy declined to act.
type Cause uint8

// The causes, in the order in which they are looked for.
const (
	CauseNone Cause = iota
	// CauseNoHarm: nothing runs out within the horizon and nobody stalls.
	CauseNoHarm
	// CauseNoCulprit: harm, but no cgroup that may be aimed at grows.
	CauseNoCulprit
	// CauseUninspectable: the leading cgroup could not be looked at.
	CauseUninspectable
	// CauseProtected: the fastest grower is on the safelist.
	CauseProtected
	// CausePageCache: what grows is page cache, which the kernel takes back.
	CausePageCache
	// CauseGrace: the fastest grower has just started.
	CauseGrace
	// CauseMargin: the runner-up grows nearly as fast.
	CauseMargin
	// CauseLimited: its own memory.high is already as low.
	CauseLimited
	// CauseGivenUp: somebody else rewrote the knob, or its ending was reached.
	CauseGivenUp
	// CauseFull: as many leases as may be held at once are held.
	CauseFull
	// CauseShare: as large a share of the node's cgroups as allowed is contained.
	CauseShare
	// CausePace: as many actions a minute as allowed were begun.
	CausePace
	// CauseCapped: what could be done next is above the highest level allowed.
	CauseCapped
	// CauseStale: the input had a gap and is not trusted yet.
	CauseStale
	// CauseOperator: an operator wants it left alone.
	CauseOperator
	// CauseExpected: it has grown like that before and came back, and there is room
	// for it; or has used as much CPU for as long.
	CauseExpected
	// CauseAlone: its tasks stall on memory, and nobody else's.
	CauseAlone
	// CauseFlooded: it works off a flood from outside, against which a shield comes
	// first.
	CauseFlooded

	numCauses
)

var causeNames = [numCauses]string{
	"none", "no_harm", "no_culprit", "uninspectable", "protected", "page_cache",
	"startup_grace", "margin", "already_limited", "given_up", "lease_budget", "share_budget",
	"action_budget", "level_cap", "stale_input", "operator", "expected", "alone", "flooded",
}

// String returns the cause's name.
func (c Cause) String() string {
	if c < numCauses {
		return causeNames[c]
	}
	return "unknown"
}

// HarmKind says what runs out or stalls.
type HarmKind uint8

const (
	// HarmNone is no harm.
	HarmNone HarmKind = iota
	// HarmLimit: a memory.max of the cgroup or of an ancestor runs out.
	HarmLimit
	// HarmNode: the node's available memory runs out.
	HarmNode
	// HarmStall: tasks of the node stall on memory beyond the budget.
	HarmStall
	// HarmTasksLimit: a pids.max of the cgroup or of an ancestor runs out.
	HarmTasksLimit
	// HarmTasksNode: the tasks that the node can hold run out.
	HarmTasksNode
	// HarmCPU: others wait for a CPU beyond the budget.
	HarmCPU
	// HarmIO: others wait for I/O beyond the budget.
	HarmIO
	// HarmIngress: packets arrive faster than the node can take them.
	HarmIngress
	// HarmEgress: packets are sent faster than the node can send them.
	HarmEgress

	numHarmKinds
)

var harmKindNames = [numHarmKinds]string{
	"none", "cgroup_limit", "node_memory", "memory_stall", "pids_limit", "node_pids",
	"cpu_stall", "io_stall", "ingress_flood", "egress_flood",
}

var harmUnits = [numHarmKinds]string{"", "By", "By", "By", "{task}", "{task}", "s", "By", "{packet}", "{packet}"}

// Unit is the unit (UCUM) of Available and Limit, and of what Growth is a second
// of.
func (k HarmKind) Unit() string {
	if k < numHarmKinds {
		return harmUnits[k]
	}
	return ""
}

// String returns the kind's name.
func (k HarmKind) String() string {
	if k < numHarmKinds {
		return harmKindNames[k]
	}
	return "unknown"
}

// Harm is the harm measured or projected for one cgroup.
type Harm struct {
	Kind HarmKind
	// Available is the headroom that runs out first and Limit what bounds it (a
	// memory.max or pids.max, or the node's memory or tasks), in the unit of Kind.
	// [arc.Unlimited] where nothing runs out.
	Available, Limit uint64
	// Growth is what more is used a second: the growth of memory or tasks; for a
	// rate (CPU time, bytes of I/O, packets) by how much it is above what is usual.
	Growth float64
	// Exhaustion is when Available is used up at Growth; [Never] when not.
	Exhaustion time.Duration
	// Stall is the share of the last second in which tasks waited: tasks of the
	// node on memory; tasks of others on CPU or I/O, above what is usual for them.
	Stall float64
}

// Never is the time to exhaustion of what does not run out.
const Never time.Duration = 1<<63 - 1

// Event is one thing worth recording. Order and Outcome are set for Answered and
// Announced, Cgroup and Path where the event is about one cgroup (Path names the
// interface where it is about one), Resource and Action for what was done or
// declined.
type Event struct {
	Kind            EventKind
	Level, Previous int
	Cause           Cause
	Resource        Resource
	Action          arc.Action
	// Reason is one sentence for a human.
	Reason string
	Cgroup uint64
	Path   string
	// RunnerUp is the growth of the runner-up, as in Harm.
	RunnerUp float64
	Harm     Harm
	Order    arc.Order
	Outcome  arc.Outcome
	// Onset is the end of the first anomalous decision period of the episode
	// (CLOCK_BOOTTIME, ns).
	Onset int64
}

// Decision is what one Step came to. It belongs to the policy and is valid
// until the next Step.
type Decision struct {
	Level, Previous int
	Changed         bool
	Orders          []arc.Order
	Events          []Event
	Control         arc.Control
	// Stale says that a gap in the input holds escalation back.
	Stale bool
	// Harm is that of the leading cgroup at the last evaluation.
	Harm Harm
}
