// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// held is one lease, whoever told of it.
type held struct {
	Cgroup uint64 `json:"cgroup"`
	Path   string `json:"path,omitempty"`
	Action string `json:"action"`
	// Original and Value are in the knob's unit; absent where they are not known:
	// before the guard's answer, or while it writes.
	Original *words.Amount `json:"original,omitempty"`
	Value    *words.Amount `json:"value,omitempty"`
	// EndsIn is in seconds, unless it is renewed.
	EndsIn float64 `json:"ends_in"`
	// Observed says that nothing was written.
	Observed bool   `json:"observed"`
	Reason   string `json:"reason,omitempty"`
}

// holdings are the leases of a machine and who told of them.
type holdings struct {
	Source string `json:"source"` // guard or collector
	Leases []held `json:"leases"`
}

func leasesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "leases",
		Short: "List what is held away from its original, until when and why",
		Long: `List every lease: the cgroup, what is held, its original and its present value,
how long until it ends unless it is renewed, whether it is real or only observed,
and why.

The guard is asked first, for it alone knows what was written; it answers root and
the collector's user. Who is neither asks the status API of the collector, which
knows what it ordered.

Exit status: 0 success, no leases included; 1 nobody could be asked.`,
		Example: `  sudo reflexctl leases
  sudo reflexctl leases --output json | jq '.leases[] | select(.observed | not)'`,
		Args: cobra.NoArgs,
	}
	var socket string
	output, extension := outputFlag(c), endpointFlag(c)
	guardFlag(c, &socket)
	c.RunE = func(c *cobra.Command, _ []string) error {
		h, err := leasesOf(c.Context(), socket, extension)
		if err != nil {
			return err
		}
		if *output == asJSON {
			return writeJSON(c, h)
		}
		return h.table(c)
	}
	return c
}

// leasesOf asks the guard and, where it does not answer, the collector.
func leasesOf(ctx context.Context, socket string, extension *client) (holdings, error) {
	h, err := settled(ctx, func() (guard.Status, error) { return guardStatus(ctx, socket) })
	if err == nil && !h.incomplete() {
		return h, nil
	}
	var answer status
	other := extension.get(ctx, "status", nil, &answer)
	switch {
	case err == nil && other == nil:
		h.complete(&answer)
		return h, nil
	case err == nil:
		return h, nil
	case other == nil:
		return ofCollector(&answer), nil
	}
	return holdings{}, fmt.Errorf("neither guard nor collector can be asked: run as root, or see that one of them runs: %w; %w", err, other)
}

const (
	// A write of a knob can take the kernel a while, in which the guard knows
	// neither what is there nor whose it is.
	looks     = 5
	lookAgain = 50 * time.Millisecond
)

// settled asks the guard, a few times while it is in the middle of a write.
func settled(ctx context.Context, ask func() (guard.Status, error)) (holdings, error) {
	for n := 1; ; n++ {
		s, err := ask()
		if err != nil {
			return holdings{}, err
		}
		h := ofGuard(&s)
		if !h.incomplete() || n == looks {
			return h, nil
		}
		select {
		case <-ctx.Done():
			return h, nil
		case <-time.After(lookAgain):
		}
	}
}

// incomplete says that a lease was being written when the guard was asked.
func (h *holdings) incomplete() bool {
	return slices.ContainsFunc(h.Leases, func(l held) bool { return l.Value == nil })
}

// complete takes from the collector what the guard could not tell.
func (h *holdings) complete(s *status) {
	known := ofCollector(s)
	for i := range h.Leases {
		l := &h.Leases[i]
		for k := range known.Leases {
			if same := &known.Leases[k]; l.Value == nil && same.Cgroup == l.Cgroup && same.Action == l.Action {
				l.Path, l.Original, l.Value, l.Reason = same.Path, same.Original, same.Value, same.Reason
			}
		}
	}
}

func ofGuard(s *guard.Status) holdings {
	h := holdings{Source: "guard", Leases: []held{}}
	for i := range s.Leases {
		l := &s.Leases[i]
		one := held{
			Cgroup: l.Cgroup, Path: l.Path, Action: l.Knob, Observed: l.Observed, Reason: l.Reason,
			EndsIn: time.Duration(l.Deadline - s.BootTime).Seconds(),
		}
		if l.Busy {
			one.Reason = "it is being written at this moment"
		} else {
			original, value := words.Amount(l.Original), words.Amount(l.Value)
			one.Original, one.Value = &original, &value
		}
		h.Leases = append(h.Leases, one)
	}
	return h
}

func ofCollector(s *status) holdings {
	h := holdings{Source: "collector", Leases: []held{}}
	for i := range s.Leases {
		l := &s.Leases[i]
		value := words.Amount(l.Ceiling)
		one := held{
			Cgroup: l.Cgroup, Path: l.Path, Action: l.Action, Observed: l.Observed, Reason: l.Reason,
			EndsIn: l.ExpireIn, Value: &value,
		}
		if l.Original != nil {
			original := words.Amount(*l.Original)
			one.Original = &original
		}
		h.Leases = append(h.Leases, one)
	}
	return h
}

func (h *holdings) table(c *cobra.Command) error {
	w := newWriter(c.OutOrStdout())
	if len(h.Leases) == 0 {
		w.line("nothing is held, says the %s", h.Source)
		return w.flush()
	}
	w.line("CGROUP\tID\tWHAT\tORIGINAL\tNOW\tENDS IN\tKIND\tREASON")
	for i := range h.Leases {
		l := &h.Leases[i]
		kind := "real"
		if l.Observed {
			kind = "observed"
		}
		w.line("%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s", l.Path, l.Cgroup, l.Action,
			l.amount(l.Original), l.amount(l.Value), words.Seconds(l.EndsIn), kind, l.Reason)
	}
	w.line("")
	w.line("says the %s; a lease that is renewed goes on. To end one: reflexctl release", h.Source)
	return w.flush()
}

func (l *held) amount(a *words.Amount) string {
	if a == nil {
		return "–"
	}
	return words.Value(l.Action, uint64(*a))
}
