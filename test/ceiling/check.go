// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ceiling

import (
	"fmt"
	"strconv"
)

// The demands. Lost answers are counted against the same service unprotected: its
// answers a second while it lived, or all that it gave.
const (
	enoughAnswers  = 0.9  // of the unprotected service's a second, leak in a thread
	moreThanWall   = 2    // times the wall's answers, leak per request
	shorterGap     = 3    // times shorter than the wall's
	longEnough     = 0.98 // of the time that was to be bought
	notFewer       = 0.95 // of the unprotected service's answers, when handed over
	handedOverSoon = 30.0 // seconds from the onset
)

// check judges.
func (r *Report) check() {
	r.answers()
	for _, leak := range Leaks {
		r.gap(leak)
	}
	for _, arm := range []string{"2m", "10m"} {
		r.survival(arm)
	}
	for _, arm := range []string{"10m", "handover"} {
		r.handOver(arm)
	}
	r.Passed = true
	for _, c := range r.Checks {
		r.Passed = r.Passed && c.OK
	}
}

// need returns outcomes, and false, with a broken check, where one was not played.
func (r *Report) need(name string, outcomes ...*Outcome) bool {
	for _, o := range outcomes {
		if o == nil {
			r.Checks = append(r.Checks, Check{name, "to be measured", "not played", false})
			return false
		}
	}
	return true
}

func (r *Report) answers() {
	alone, held := r.Outcome("alone", Nothing, Thread), r.Outcome("2m", Ceiling, Thread)
	if name := "answers a second, leak in a thread, 2 min"; r.need(name, alone, held) {
		r.Checks = append(r.Checks, Check{
			name, fmt.Sprintf("≥ %.0f %% of the %.1f of the service that nothing holds", 100*enoughAnswers, alone.Rate),
			fmt.Sprintf("%.1f", held.Rate), held.Rate >= enoughAnswers*alone.Rate,
		})
	}
	wall, held := r.Outcome("2m", Wall, Request), r.Outcome("2m", Ceiling, Request)
	if name := "answers, leak per request, 2 min"; r.need(name, wall, held) {
		r.Checks = append(r.Checks, Check{
			name, fmt.Sprintf("≥ %d × the wall's %d", moreThanWall, wall.Answers),
			strconv.Itoa(held.Answers), held.Answers >= moreThanWall*wall.Answers,
		})
	}
}

func (r *Report) gap(leak string) {
	wall, held := r.Outcome("2m", Wall, leak), r.Outcome("2m", Ceiling, leak)
	if name := "longest gap, leak per " + leak + ", 2 min"; r.need(name, wall, held) {
		r.Checks = append(r.Checks, Check{
			name, fmt.Sprintf("≤ 1/%d of the wall's %.2f s", shorterGap, wall.Gap),
			fmt.Sprintf("%.2f s", held.Gap), held.Gap*shorterGap <= wall.Gap,
		})
	}
}

func (r *Report) survival(arm string) {
	o := r.Outcome(arm, Ceiling, Thread)
	if name := "survival, leak in a thread, " + arm; r.need(name, o) {
		r.Checks = append(r.Checks, Check{
			name, fmt.Sprintf("%.0f s", o.BuyTime), fmt.Sprintf("%.0f s", o.Survival), o.Survival >= longEnough*o.BuyTime,
		})
	}
}

// handOver wants a service that leaks in its requests handed over, soon, announced,
// and with the answers that it had given unprotected.
func (r *Report) handOver(arm string) {
	alone, o := r.Outcome("alone", Nothing, Request), r.Outcome(arm, Ceiling, Request)
	name := "handed over early, leak per request, " + arm
	if !r.need(name, alone, o) {
		return
	}
	c := Check{Name: name, Want: fmt.Sprintf("announced within %.0f s, and ≥ %.0f %% of the %d answers of the service that nothing holds", handedOverSoon, 100*notFewer, alone.Answers)}
	if c.Got = fmt.Sprintf("not announced, %d answers", o.Answers); o.Ended != nil {
		c.Got = fmt.Sprintf("announced after %.1f s, %d answers", *o.Ended, o.Answers)
		c.OK = *o.Ended <= handedOverSoon && float64(o.Answers) >= notFewer*float64(alone.Answers)
	}
	r.Checks = append(r.Checks, c)
}
