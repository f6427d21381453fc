// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/otelcol-reflex/reflex/test/containment"
)

// Settings describe what one machine plays.
type Settings struct {
	// Base is the root of the cgroup v2 hierarchy, Out the directory for what is to
	// come back.
	Base, Out string
	// Self is this program, for its other roles.
	Self string
	// Collector and Reflexguard are the programs to test. Guard says where the guard
	// is: [containment.Separate] or [containment.Embedded].
	Collector, Reflexguard, Guard string
	// Scenarios are played in this order.
	Scenarios []containment.Scenario
	// Learn is how long Reflex sees nothing but calm.
	Learn time.Duration
	// Ticks has tick to knob measured, for TicksFor under each condition.
	Ticks    bool
	TicksFor time.Duration
	Seed     uint64
}

// AnswersFile is the file in Settings.Out with the neighbour's answers.
const AnswersFile = "answers.csv"

// Check says what is wrong with the settings, if anything.
func (s *Settings) Check() error {
	var errs []error
	for _, path := range []string{s.Base, s.Out, s.Self, s.Collector} {
		if path == "" {
			errs = append(errs, errors.New("base, out, self and collector must be given"))
			break
		}
	}
	if s.Guard != containment.Embedded && (s.Guard != containment.Separate || s.Reflexguard == "") {
		errs = append(errs, errors.New("guard must be embedded, or separate with reflexguard given"))
	}
	for i := range s.Scenarios {
		errs = append(errs, s.Scenarios[i].Check())
	}
	return errors.Join(errs...)
}

func (s *Settings) logs() string { return filepath.Join(s.Out, "log") }
