// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/containment/crash"
)

// crash returns what the crash matrix comes to: what `make crash` has found of this
// revision, or else a sample of its kills, and its simulated steps.
func (s *suite) crash(ctx context.Context) (*containment.Crash, error) {
	r, err := crash.Load(s.Output)
	if err != nil || r.Revision != s.Revision || !named(s.Revision) || r.Kills < s.Kills || r.Simulated == nil {
		s.say("crash matrix: %d kills", s.Kills)
		console, err := os.Create(filepath.Join(s.Output, "crash.log"))
		if err != nil {
			return nil, err
		}
		defer console.Close()
		r, err = crash.VM{Kernel: s.KernelName, Kills: s.Kills, Seed: 1, Output: console}.Run(ctx, filepath.Join(s.Output, "crash"))
		if err != nil {
			return nil, fmt.Errorf("crash matrix (see %s): %w", console.Name(), err)
		}
		if err := r.AddSimulated(s.Simulated); err != nil {
			return nil, fmt.Errorf("crash matrix: the simulated steps (make simulated): %w", err)
		}
	}
	return &containment.Crash{
		Steps: r.Simulated.Steps, Kills: r.Kills, Violations: r.Total(), Missed: len(r.Missed),
	}, nil
}

// named says that there is one tree only of a revision's name.
func named(revision string) bool {
	return revision != "unknown" && !strings.HasSuffix(revision, "dirty")
}
