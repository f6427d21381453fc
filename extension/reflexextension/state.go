// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"cmp"
	"slices"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

// State returns how things stand, for the receiver's metrics.
func (r *reflex) State() episode.State {
	out := episode.State{
		Displaced:     r.journal.Dropped(),
		OrdersDropped: uint64(r.mailbox.dropped.Load()), //nolint:gosec // a count
	}
	if f := r.keeper.stats(); f != nil {
		out.FileDropped, out.FileMissed, out.Unreadable = f.Dropped, f.Missed, f.Unreadable
	}
	for _, l := range r.snap.read().Leases {
		action, _ := arc.ParseAction(l.Action)
		answer, known := r.ledger.find(l.Cgroup, action)
		observed := known && answer.Verdict == arc.VerdictObserved
		at := slices.IndexFunc(out.Leases, func(have episode.Leases) bool { return have.Action == l.Action && have.Observed == observed })
		if at < 0 {
			at = len(out.Leases)
			out.Leases = append(out.Leases, episode.Leases{Action: l.Action, Observed: observed})
		}
		out.Leases[at].Count++
	}
	slices.SortFunc(out.Leases, func(a, b episode.Leases) int { return cmp.Compare(a.Action, b.Action) })
	return out
}
