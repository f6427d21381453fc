// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ceiling

import (
	"fmt"
	"slices"
	"time"
)

// Where a service leaks.
const (
	Thread  = "thread"  // in a thread of its own
	Request = "request" // in each request
)

// Leaks are both.
var Leaks = []string{Thread, Request}

// What holds a service beside memory.max.
const (
	Nothing = "nothing"
	Wall    = "wall"    // a memory.high that stays where the ceiling began
	Ceiling = "ceiling" // Reflex
)

// Arm is one part of the plan: services that begin to leak, one after the other.
type Arm struct {
	Name string
	// Buy is policy::buy_time; 0 is an arm without Reflex.
	Buy time.Duration
	// HandOver says that who makes no progress, or too little, is handed over, as by default.
	HandOver bool
	// Holds and Leaks multiply: each hold has a service with each leak.
	Holds, Leaks []string
	// For is how long a service is watched after its onset.
	For time.Duration
}

// Arms is the plan, in order. A service that is handed over tells nothing of its
// ceiling any more: the shorter arm keeps what it holds, the longer and the last are
// as users run them.
var Arms = []Arm{
	{Name: "alone", Holds: []string{Nothing}, Leaks: Leaks, For: 30 * time.Second},
	{Name: "2m", Buy: 2 * time.Minute, Holds: []string{Ceiling, Wall}, Leaks: Leaks, For: 2 * time.Minute},
	{Name: "10m", Buy: 10 * time.Minute, HandOver: true, Holds: []string{Ceiling, Wall}, Leaks: Leaks, For: 10 * time.Minute},
	{Name: "handover", Buy: 2 * time.Minute, HandOver: true, Holds: []string{Ceiling}, Leaks: []string{Request}, For: time.Minute},
}

// Select returns the arms with these names; all for none.
func Select(names []string) ([]Arm, error) {
	if len(names) == 0 {
		return Arms, nil
	}
	var arms []Arm
	for _, name := range names {
		i := slices.IndexFunc(Arms, func(a Arm) bool { return a.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no arm %q", name)
		}
		arms = append(arms, Arms[i])
	}
	return arms, nil
}

// ServiceName names the service of a hold and a leak.
func ServiceName(hold, leak string) string { return hold + "-" + leak }

// Load is what every service is and does.
type Load struct {
	// Limit is memory.max in bytes, Resident what is in use before the leak, LeakRate
	// the leak in bytes a second, wherever it is.
	Limit, Resident, LeakRate uint64
	// Rate is in requests a second. Each reads Work bytes of what is in use, takes and
	// gives back Churn bytes, and waits Wait, as for a database.
	Rate        float64
	Work, Churn int
	Wait        time.Duration
	// Connections is how many requests can be under way at once; who comes then is
	// turned away. Deadline is how long an answer is waited for: an answer is an
	// answer, however late.
	Connections int
	Deadline    time.Duration
}

// DefaultLoad leaves an unprotected service 16 s. Four services that are asked twelve
// times a second keep an emulated machine of two processors at half its time, so that
// answers are lost to the limit and not to the machine. As many threads answer as
// there are connections: a task that is held up holds up nobody else by itself.
func DefaultLoad() Load {
	return Load{
		Limit: 1 << 30, Resident: 256 << 20, LeakRate: 50_000_000,
		Rate: 12, Work: 16 << 10, Churn: 64 << 10, Wait: 50 * time.Millisecond,
		Connections: 4, Deadline: time.Minute,
	}
}

// LeakRequest is the leak in bytes a request.
func (l *Load) LeakRequest() int { return int(float64(l.LeakRate) / l.Rate) }
