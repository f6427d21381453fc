// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package episode

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Kind says what a [Record] records. A new kind is a new constant here and its
// row in kindNames.
type Kind uint8

const (
	// Opened: the node left its normal behaviour and an episode began.
	Opened Kind = iota
	// LevelChanged: the policy moved to another level.
	LevelChanged
	// Action: the guard answered an order.
	Action
	// Closed: the episode is over.
	Closed
	// Operator: a human did something; Reason says who (by uid), what and why.
	// It belongs to the episode that was open, if one was.
	Operator

	numKinds
)

var kindNames = [numKinds]string{"opened", "level_changed", "action", "closed", "operator"}

// String returns the kind's name as it appears in JSON.
func (k Kind) String() string {
	if k < numKinds {
		return kindNames[k]
	}
	return "unknown"
}

// levelNames are the names of the policy's levels, 0 to 5.
var levelNames = [...]string{"normal", "watchfulness", "containment", "pressure", "isolation", "quarantine"}

// LevelName returns the name of a level as it appears in telemetry, or
// "unknown".
func LevelName(level int) string {
	if level >= 0 && level < len(levelNames) {
		return levelNames[level]
	}
	return "unknown"
}

// ID identifies an episode; it is the trace id of its telemetry. Zero is no
// episode.
type ID = [16]byte

// FormatID returns the episode's id as 32 lower-case hexadecimal digits, the
// way trace ids are written.
func FormatID(id ID) string { return hex.EncodeToString(id[:]) }

// Cgroup names the cgroup a record is about: the kernel's id, and the path
// relative to the cgroup root that it had at the time. The zero value is none.
type Cgroup struct {
	ID   uint64
	Path string
}

// Harm is the harm, measured or projected, behind a record. The zero value is
// none.
type Harm struct {
	// Kind names the harm, e.g. "cgroup_limit".
	Kind string
	// Unit is the unit (UCUM) of Available and Limit, and of what Growth is a
	// second of: "By", "{task}", "s" (of CPU time), "{packet}".
	Unit string
	// Available and Limit are the headroom left and the limit it is left of.
	// [arc.Unlimited] is no limit.
	Available, Limit uint64
	// Growth is how fast the headroom goes, or, where nothing runs out, by how much
	// the use of what is pressed is above what is usual.
	Growth float64
	// Exhaustion is the time left until it is gone at that rate; 0 when no
	// exhaustion is projected.
	Exhaustion time.Duration
	// Stall is the share of time in which tasks waited.
	Stall float64
}

// Record is one step of an episode.
type Record struct {
	// ID is the record's position in the journal, from 1, set by
	// [Journal.Append].
	ID   uint64
	Kind Kind
	// Time is the wall clock of what is recorded, or of the tick that recorded
	// it; Scheduled and Written say exactly when an action was.
	Time time.Time
	// Episode is the id of the episode.
	Episode ID
	// Source and Sequence name the sample that led to the record.
	Sequence uint64
	Source   string
	// Level is the level in force after what is recorded, Previous the one
	// before it; they are equal where the level did not change.
	Level, Previous int
	// Reason says in one sentence, to a human, why.
	Reason string
	// Judgement is the engine's view at that sample.
	Judgement arc.Judgement
	// Cgroup is the cgroup acted upon or suspected; zero when there is none.
	Cgroup Cgroup
	// Order and Outcome belong to an Action and are nil otherwise. Whoever
	// reads a journal shares them and must not change them.
	Order   *arc.Order
	Outcome *arc.Outcome
	Harm    Harm
	// Onset is when the deviation began, Scheduled the tick that led to the
	// record, Written when the last write of the action returned
	// (CLOCK_BOOTTIME, ns); 0 is unknown.
	Onset, Scheduled, Written int64
}

// Name is unique, and the same each time the record is told. The ID alone is not: what was
// not in the journal's file yet when the collector was killed is not remembered, and its
// IDs come again. No episode goes on then, but its end is told by the next collector, so an
// end is named for what it is; a record of no episode has its time instead.
func (r *Record) Name() string {
	switch {
	case r.Episode == (ID{}):
		return fmt.Sprintf("%032x-%d", uint64(r.Time.UnixNano()), r.ID) //nolint:gosec // not a number to count with
	case r.Kind == Closed:
		return FormatID(r.Episode) + "-closed"
	}
	return FormatID(r.Episode) + "-" + strconv.FormatUint(r.ID, 10)
}

// Routine says that the record is of less use than others, once there are many: a
// lease that goes on as it was, or an order that was refused.
func (r *Record) Routine() bool {
	return r.Kind == Action && r.Outcome != nil && (r.Outcome.Verdict == arc.VerdictHeld && r.Outcome.Cause == "" || r.Outcome.Verdict == arc.VerdictRefused)
}

// Shift moves all instants of CLOCK_BOOTTIME by so many ns: to those of another boot. It
// changes what Order and Outcome point to.
func (r *Record) Shift(by int64) {
	instants := []*int64{&r.Onset, &r.Scheduled, &r.Written, &r.Judgement.Decided}
	if r.Order != nil {
		instants = append(instants, &r.Order.Scheduled)
	}
	if r.Outcome != nil {
		instants = append(instants, &r.Outcome.Written, &r.Outcome.Deadline)
	}
	for _, at := range instants {
		if *at != 0 { // unknown stays unknown
			*at += by
		}
	}
}

// TickToKnob returns the time between the scheduled tick and the return of the
// last write, or 0 where one of them is unknown.
func (r *Record) TickToKnob() time.Duration {
	if r.Scheduled == 0 || r.Written == 0 || r.Written < r.Scheduled {
		return 0
	}
	return time.Duration(r.Written - r.Scheduled)
}
