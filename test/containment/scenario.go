// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"fmt"
	"slices"
	"time"
)

// Scenario is one thing that happens on a node, and what must come of it.
type Scenario struct {
	// Name is one word for reports and --only.
	Name string
	// About is one line for people.
	About string
	// Units are the workloads, each in a cgroup of its own. Those that are not
	// Fresh run, and wait, since long before.
	Units []Unit
	// Knobs is what may contain the guilty: files of their cgroups, or names of
	// actions that have none. It is empty where all units are innocent.
	Knobs []string
	// Within is how long after the onset containment is waited for; of an innocent
	// scenario, how long it is watched.
	Within time.Duration
	// After is how long a contained scenario goes on, so that the others can be seen
	// to be left alone.
	After time.Duration
	// Required makes the suite fail when the guilty are not contained. That nobody
	// innocent is touched is always required, unless FalsePositives says that it is
	// only published.
	Required, FalsePositives bool
	// Respawn has the guilty contained once, killed, and started again at once under
	// the same name: the second life is measured.
	Respawn bool
	// Relieves has containment count only where the neighbour, who answers a client
	// elsewhere, is better off for it.
	Relieves bool
	// Budget is the longest p95 of onset to contained; 0 for none.
	Budget time.Duration
	// Swap is prepared for the scenario.
	Swap bool
	// Narrow is the bytes a second that reach whoever is far during the scenario, 0
	// for as many as are sent.
	Narrow int
	// Embedded has the scenario played with `guard: embedded`, too.
	Embedded bool
}

// Unit is a workload.
type Unit struct {
	// Name is the cgroup's, "<something>.service".
	Name string
	// Role is a role of package fault and its flags.
	Role []string
	// Limits are files of the cgroup and what is written to them.
	Limits [][2]string
	Guilty bool
	// Fresh has the cgroup made, and the process started, at the onset.
	Fresh bool
	// Serves has the role begin when it starts: it is there to be flooded.
	Serves bool
	// Elsewhere has it run in another network namespace and in no cgroup but the root:
	// it stands for another machine. Nobody here is guilty of what it does.
	Elsewhere bool
}

// Innocent says that nobody may be touched.
func (s *Scenario) Innocent() bool { return len(s.Knobs) == 0 }

// Guilty lists the names of the guilty units.
func (s *Scenario) Guilty() (names []string) {
	for _, u := range s.Units {
		if u.Guilty {
			names = append(names, u.Name)
		}
	}
	return names
}

// FromElsewhere says that who does it is on no cgroup: an interface is what can be
// contained.
func (s *Scenario) FromElsewhere() bool {
	return slices.ContainsFunc(s.Units, func(u Unit) bool { return u.Elsewhere })
}

// Check says what is wrong with the scenario, if anything.
func (s *Scenario) Check() error {
	switch guilty, elsewhere := len(s.Guilty()), s.FromElsewhere(); {
	case s.Name == "" || s.About == "" || len(s.Units) == 0 || s.Within <= 0:
		return fmt.Errorf("scenario %q: name, about, units and within must be given", s.Name)
	case s.Innocent() && (guilty > 0 || elsewhere || s.Required || s.Respawn || s.Relieves):
		return fmt.Errorf("scenario %q: nobody can be contained without knobs", s.Name)
	case !s.Innocent() && (guilty == 0 && !elsewhere || s.FalsePositives):
		return fmt.Errorf("scenario %q: knobs want somebody guilty", s.Name)
	case guilty > 0 && elsewhere:
		return fmt.Errorf("scenario %q: it is done here or elsewhere", s.Name)
	case s.Respawn && guilty != 1:
		return fmt.Errorf("scenario %q: one unit respawns", s.Name)
	}
	return nil
}

// Select returns the scenarios of the names, all for none.
func Select(all []Scenario, names []string) ([]Scenario, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []Scenario
	for _, name := range names {
		i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no scenario is called %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
