// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// rungs is the whole ladder, by level and pressed resource: what may be done at
// most. What of it a policy orders and a guard can do, they say themselves.
var rungs = []rung{
	{Level: 0, Does: "learns what is normal; touches nobody"},
	{Level: 1, Does: "samples every 10 ms, learns nothing; touches nobody"},
	{Level: 2, Resource: "memory", Action: arc.ActionMemoryHigh, Does: "a ceiling that rises: the growth is slowed down"},
	{Level: 2, Resource: "cpu", Action: arc.ActionCPUWeight, Does: "comes after its neighbours"},
	{Level: 2, Resource: "cpu", Action: arc.ActionCPUIdle, Does: "runs when nobody else wants to"},
	{Level: 2, Resource: "io", Action: arc.ActionIOWeight, Does: "comes after its neighbours (iocost or BFQ)"},
	{Level: 2, Resource: "pids", Action: arc.ActionPidsMax, Does: "forks no further than now and a margin"},
	{Level: 3, Resource: "cpu", Action: arc.ActionCPUMax, Does: "a share of CPU time at most"},
	{Level: 3, Resource: "io", Action: arc.ActionIOMaxRead, Does: "reads so many bytes a second at most"},
	{Level: 3, Resource: "io", Action: arc.ActionIOMaxWrite, Does: "writes so many bytes a second at most"},
	{Level: 4, Resource: "network", Action: arc.ActionShield, Does: "each source gets so many packets a second in"},
	{Level: 4, Resource: "network", Action: arc.ActionNetworkThrottle, Does: "its sockets get so many bytes a second"},
	{Level: 5, Resource: "network", Action: arc.ActionQuarantine, Does: "its sockets exchange only what is never cut"},
	{Level: 5, Resource: "any", Action: arc.ActionNodeQuarantine, Does: "no socket of the node exchanges anything but what a node must not be without"},
	{Level: 5, Resource: "any", Action: arc.ActionFreeze, Does: "every task of it stops: an ending only"},
}

// rung is one action of one level on this node.
type rung struct {
	Level    int        `json:"level"`
	Name     string     `json:"name"`
	Resource string     `json:"resource,omitempty"`
	Action   arc.Action `json:"-"`
	Word     string     `json:"action,omitempty"`
	Does     string     `json:"does"`
	// Ordered says that the policy orders it, Able that the guard can do it; they
	// are absent where nobody could be asked.
	Ordered *bool `json:"ordered,omitempty"`
	Able    *bool `json:"able,omitempty"`
	// Effect is what would happen at this level now: enforced, observed, nothing.
	Effect string `json:"effect"`
	Cause  string `json:"cause,omitempty"`

	observed bool // policy::enforce leaves it out
}

// ladder is what each level does on this node.
type ladder struct {
	Mode  string `json:"mode,omitempty"` // in effect; absent where no collector answers
	Level *int   `json:"level,omitempty"`
	Rungs []rung `json:"levels"`
	// Lacking is what the guard lacks, and how to get it.
	Lacking []guard.Requirement `json:"lacking"`
	// Unasked says who could not be asked, and why.
	Unasked []string `json:"unasked"`
}

func levelsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "levels",
		Short: "Show the ladder: what each level does on this node, and whether it would",
		Long: `Show every level, what it does by the resource that is pressed, whether the policy
of the running collector orders it (ORDERED), whether the guard of this node can do it
(ABLE), and what would therefore happen (NOW): enforced, observed, or nothing.

The collector is asked on its status API, the guard on its socket, which answers root
and the collector's user; where one cannot be asked, its column says "?".

Exit status: 0 success, 1 failure.`,
		Example: `  sudo reflexctl levels
  sudo reflexctl levels --output json | jq '.levels[] | select(.effect == "enforced") | .action'`,
		Args: cobra.NoArgs,
	}
	var socket string
	output, extension := outputFlag(c), endpointFlag(c)
	guardFlag(c, &socket)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var (
			s       status
			ofGuard *guard.Status
			of      *status
			unasked = []string{}
		)
		if err := extension.get(c.Context(), "status", nil, &s); err == nil {
			of = &s
		} else {
			unasked = append(unasked, "collector: "+err.Error())
		}
		if g, err := guardStatus(c.Context(), socket); err == nil {
			ofGuard = &g
		} else {
			unasked = append(unasked, "guard: "+err.Error())
		}
		l := climb(of, ofGuard)
		l.Unasked = append(l.Unasked, unasked...)
		if *output == asJSON {
			return writeJSON(c, l)
		}
		return l.table(c)
	}
	return c
}

// climb joins the ladder with what collector and guard say; either may be nil.
func climb(s *status, g *guard.Status) ladder {
	l := ladder{Rungs: slices.Clone(rungs), Lacking: []guard.Requirement{}, Unasked: []string{}}
	if s != nil {
		l.Mode, l.Level = s.Mode.Effective, &s.Level
	}
	if g != nil {
		l.Lacking = append(l.Lacking, guard.Missing(g.Requirements)...)
	}
	for i := range l.Rungs {
		r := &l.Rungs[i]
		r.Name = episode.LevelName(r.Level)
		if r.Action == arc.ActionNone {
			r.Effect = "nothing"
			continue
		}
		r.Word = r.Action.String()
		if s != nil {
			at := slices.IndexFunc(s.Ladder, func(o rungStatus) bool { return o.Action == r.Word })
			ordered := at >= 0
			r.Ordered, r.observed = &ordered, ordered && s.Ladder[at].Observed
		}
		if g != nil {
			able := slices.Contains(g.Actions, r.Word) && len(l.Lacking) == 0
			r.Able = &able
			if slices.Contains(g.Actions, r.Word) && !able {
				r.Cause = "the guard lacks " + l.Lacking[0].Name
			}
		}
		r.judge(s, g)
	}
	return l
}

// judge says what would happen and why not more.
func (r *rung) judge(s *status, g *guard.Status) {
	r.Effect = "nothing"
	switch {
	case r.Action == arc.ActionNodeQuarantine:
		r.Cause = "an operator's alone: reflexctl quarantine --node"
	case r.Ordered == nil:
		r.Cause = "no collector answers"
	case !*r.Ordered:
		r.Cause = "the policy does not order it, as configured or in this version"
	case g != nil && g.KillSwitch.On:
		r.Cause = "the kill switch is on"
	case s.Mode.Effective == "enforce" && r.observed:
		r.Effect, r.Cause = "observed", "policy::enforce does not name "+r.Resource
	case s.Mode.Effective != "enforce":
		r.Effect = "observed"
		if s.Mode.Requested == "enforce" {
			r.Cause = s.Problem
		}
	case r.Able == nil || *r.Able:
		r.Effect = "enforced"
	default:
		if r.Cause == "" {
			r.Cause = "the guard cannot do it"
		}
	}
}

func yesNo(b *bool) string {
	switch {
	case b == nil:
		return "?"
	case *b:
		return "yes"
	}
	return "no"
}

func (l *ladder) table(c *cobra.Command) error {
	w := newWriter(c.OutOrStdout())
	if l.Level != nil {
		w.line("in force\t%d %s", *l.Level, episode.LevelName(*l.Level))
		w.line("mode\t%s", l.Mode)
		if err := w.flush(); err != nil {
			return err
		}
		w.line("")
	}
	w.line("LEVEL\tPRESSED\tACTION\tWHAT IT DOES\tORDERED\tABLE\tNOW")
	for i := range l.Rungs {
		r := &l.Rungs[i]
		if r.Action == arc.ActionNone {
			w.line("%d %s\t\t\t%s\t\t\t", r.Level, r.Name, r.Does)
			continue
		}
		now := r.Effect
		if r.Cause != "" {
			now += ": " + r.Cause
		}
		w.line("%d %s\t%s\t%s\t%s\t%s\t%s\t%s", r.Level, r.Name, r.Resource, r.Word, r.Does, yesNo(r.Ordered), yesNo(r.Able), now)
	}
	for _, q := range l.Lacking {
		w.line("")
		w.line("the guard lacks %s: %s", q.Name, q.Cause)
		w.line("  → %s", q.Remedy)
	}
	for _, u := range l.Unasked {
		w.line("")
		w.line("not asked: %s", strings.ReplaceAll(u, "\n", "; "))
	}
	return w.flush()
}
