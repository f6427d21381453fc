// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// journal reads what the collector recorded, from where it was read last.
type journal struct{ newest uint64 }

// next returns the records since the last call.
func (j *journal) next(ctx context.Context) ([]episode.Record, error) {
	var records []episode.Record
	if err := stage.ReadPage(ctx, fmt.Sprintf("/journal?after=%d&limit=10000", j.newest), &records); err != nil {
		return nil, err
	}
	if n := len(records); n > 0 {
		j.newest = records[n-1].ID
	}
	return records, nil
}

// hasFile says that an action turns a file of the cgroup, where it is seen from
// outside.
func hasFile(a arc.Action) bool {
	switch a {
	case arc.ActionIOMaxRead, arc.ActionIOMaxWrite:
		return true
	}
	return slices.Contains(containment.Knobs, a.String())
}

// hear reads the journal into a trial: granted actions that have no file, on the
// guilty or on somebody else; and the causes for which nothing was done. at holds
// when each of the guilty was contained, by the cgroup's name.
func (p *play) hear(ctx context.Context, t *containment.Trial, guilty culprits, at map[string]int64) {
	records, err := p.journal.next(ctx)
	if err != nil {
		t.Trouble = append(t.Trouble, "the journal cannot be read: "+err.Error())
		return
	}
	for i := range records {
		r := &records[i]
		if r.Kind != episode.Action || r.Order == nil || r.Outcome == nil {
			continue
		}
		action := r.Order.Action
		name, isGuilty := guilty.names[r.Order.Cgroup]
		if guilty.elsewhere && action == arc.ActionShield && p.network.has(r.Order.Interface) {
			name, isGuilty = theInterface, true
		}
		switch {
		case r.Outcome.Verdict == arc.VerdictRefused || r.Outcome.Verdict == arc.VerdictFailed || r.Outcome.Verdict == arc.VerdictLost:
			// What the policy declines for want of a culprit has no cgroup.
			add(&t.Declined, fmt.Sprintf("%s %s: %s", action, cmp.Or(r.Cgroup.Path, "nobody"), r.Outcome.Cause))
		case r.Outcome.Verdict != arc.VerdictGranted:
		case isGuilty:
			if hasFile(action) {
				continue // seen from outside, or it does not count
			}
			add(&t.By, name+" "+action.String())
			if at[name] == 0 {
				at[name] = cmp.Or(r.Written, now())
			}
		default:
			add(&t.Touched, fmt.Sprintf("%s %s, by the journal", r.Cgroup.Path, action))
		}
	}
}

// add adds what is new.
func add(to *[]string, text string) {
	if !slices.Contains(*to, text) {
		*to = append(*to, text)
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
