// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/otelcol-reflex/reflex/internal/faultpoint"
)

// A phase is what a lease is in when its process is stopped.
type phase string

const (
	apply   phase = "apply"   // it is granted
	renew   phase = "renew"   // it is renewed, its ceiling rises
	expire  phase = "expire"  // nobody renews it any more
	release phase = "release" // its release is ordered
	restore phase = "restore" // its guard was killed and the next one gives it back
	lost    phase = "lost"    // its owner has rewritten the knob
)

// scene is one case of the matrix.
type scene struct {
	family string
	phase  phase
	// signal is what the process named by whom gets: at the nth passing of step,
	// or at a moment by chance where step is "".
	signal, whom, step string
	nth                int
	// with is killed as well, at that moment: "supervisor", "collector".
	with string
	// recreate replaces the cgroup while the guard is stopped, and lets it go on.
	recreate bool
	// rewrite has the owner write the knob all the time, forge a tenant what only
	// the guard may write.
	rewrite, forge bool
}

func (s scene) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s %s", s.family, s.signal, s.whom)
	if s.step != "" {
		fmt.Fprintf(&b, " at %q (%s)", s.step, s.phase)
	}
	if s.with != "" {
		fmt.Fprintf(&b, " and %s", s.with)
	}
	return b.String()
}

// steps are those that a guard passes in a phase.
var steps = map[phase][]string{
	apply:   {"record", "record written", "look", "knob", "knob written"},
	renew:   {"record", "record written", "look", "knob", "knob written"},
	expire:  {"knob", "knob written", "remove", "removed"},
	release: {"knob", "knob written", "remove", "removed"},
	restore: {"started", "knob", "knob written", "remove", "removed", "restored"},
	lost:    {"loss", "remove", "removed"},
}

var phases = []phase{apply, renew, expire, release, restore, lost}

// matrix is every case that is not left to chance.
func matrix() []scene {
	var all []scene
	for _, p := range phases {
		for _, step := range steps[p] {
			guard := scene{phase: p, whom: "guard", step: step, nth: 1}
			for _, signal := range []string{"KILL", "STOP"} {
				s := guard
				s.family, s.signal = "SIG"+signal+" guard, "+string(p), signal
				all = append(all, s)
			}
			for _, with := range []string{"collector", "supervisor"} {
				s := guard
				s.family, s.signal, s.with = "SIGKILL guard and "+with, "KILL", with
				all = append(all, s)
			}
			if p != restore && p != lost {
				s := guard
				s.family, s.signal, s.recreate = "cgroup recreated", "STOP", true
				all = append(all, s)
			}
		}
	}
	for _, step := range faultpoint.Collector {
		for _, p := range []phase{apply, renew, release} {
			for _, signal := range []string{"KILL", "STOP"} {
				all = append(all, scene{family: "SIG" + signal + " collector", phase: p, signal: signal, whom: "collector", step: step, nth: 1})
			}
		}
	}
	return all
}

// perChance is how many moments each of those gets for every case of the matrix.
const perChance = 5

// chances are the cases that chance gives their moment.
func chances() []scene {
	return []scene{
		{family: "SIGKILL guard, any moment", phase: renew, signal: "KILL", whom: "guard"},
		{family: "SIGSTOP guard, any moment", phase: renew, signal: "STOP", whom: "guard"},
		{family: "SIGKILL collector, any moment", phase: renew, signal: "KILL", whom: "collector"},
		{family: "SIGSTOP collector, any moment", phase: renew, signal: "STOP", whom: "collector"},
		{family: "SIGKILL supervisor, any moment", phase: renew, signal: "KILL", whom: "supervisor"},
		{family: "SIGKILL all, any moment", phase: renew, signal: "KILL", whom: "supervisor", with: "collector"},
		{family: "owner rewrites, SIGKILL guard", phase: renew, signal: "KILL", whom: "guard", rewrite: true},
		{family: "owner rewrites, SIGSTOP guard", phase: renew, signal: "STOP", whom: "guard", rewrite: true},
		{family: "record forged, SIGKILL guard", phase: renew, signal: "KILL", whom: "guard", forge: true},
	}
}

// schedule returns an endless order of cases: the whole matrix and chance's,
// shuffled so that any part of it is a fair sample of the families. Again says
// that every case has been there.
func schedule(seed uint64) func() (s scene, again bool) {
	random := rand.New(rand.NewPCG(seed, 0))
	byFamily := map[string][]scene{}
	var families []string
	fill := func() {
		all := matrix()
		for range perChance {
			all = append(all, chances()...)
		}
		for _, s := range all {
			if !slices.Contains(families, s.family) {
				families = append(families, s.family)
			}
			byFamily[s.family] = append(byFamily[s.family], s)
		}
		random.Shuffle(len(families), func(i, j int) { families[i], families[j] = families[j], families[i] })
		for _, name := range families {
			of := byFamily[name]
			random.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
		}
	}
	fill()
	at, again := -1, false
	return func() (scene, bool) {
		for range 2 {
			for range families {
				at = (at + 1) % len(families)
				name := families[at]
				if of := byFamily[name]; len(of) > 0 {
					byFamily[name] = of[1:]
					return of[0], again
				}
			}
			fill()
			again = true
		}
		panic("the matrix is empty")
	}
}
