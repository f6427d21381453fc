// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	_ "embed"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/test/ceiling"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// Config is the collector's configuration in the comparison.
//
//go:embed collector.yaml
var Config string

// never is a wait for progress that outlasts an arm: the longest that can be
// configured.
const never = "1h"

// startReflex starts Reflex over what it is to see.
func startReflex(ctx context.Context, a *arm) (*stage.Reflex, error) {
	run, err := os.MkdirTemp("", "reflex-ceiling-")
	if err != nil {
		return nil, err
	}
	config, socket := filepath.Join(a.Out, "collector.yaml"), filepath.Join(run, "guard.sock")
	if err := os.WriteFile(config, []byte(Config), 0o644); err != nil {
		return nil, err
	}
	progress := "10s"
	if !a.plan.HandOver {
		progress = never
	}
	var groups [2]*stage.Cgroup
	for i, name := range []string{"reflex-guard.service", "reflex-collector.service"} {
		if groups[i], err = stage.NewCgroup(a.seen.Dir, name); err != nil {
			return nil, err
		}
	}
	return stage.StartReflex(ctx, stage.ReflexSettings{
		Base: a.seen.Dir, Logs: a.logs(a.plan.Name), Collector: a.Collector, Guard: a.Guard, Socket: socket, Config: config,
		Env: []string{
			"CEILING_GUARD=" + socket, "CEILING_CGROUP_ROOT=" + a.seen.Dir, "CEILING_BUY_TIME=" + a.plan.Buy.String(),
			"CEILING_NO_PROGRESS=" + progress, "CEILING_OTLP=" + filepath.Join(a.logs(a.plan.Name), "events.jsonl"),
		},
	}, groups[0], groups[1])
}

// hear takes from the journal what was announced of whom.
func (a *arm) hear(ctx context.Context) {
	var records []episode.Record
	if err := stage.ReadPage(ctx, "/journal?after=0&limit=10000", &records); err != nil {
		a.trouble("the journal cannot be read: %v", err)
		return
	}
	for i := range records {
		r := &records[i]
		if r.Kind != episode.Action || r.Outcome == nil || r.Outcome.Verdict != arc.VerdictHeld || !strings.Contains(r.Outcome.Cause, "ending:") {
			continue
		}
		for _, s := range a.services {
			if s.Hold == ceiling.Ceiling && path.Base(r.Cgroup.Path) == filepath.Base(s.group.Dir) {
				s.Announced = append(s.Announced, ceiling.Announcement{Time: r.Scheduled, Reason: r.Reason})
			}
		}
	}
}
