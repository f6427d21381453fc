// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"

	"github.com/otelcol-reflex/reflex/test/stage"
)

// Config is the collector's configuration in the demonstration.
//
//go:embed collector.yaml
var Config string

// startReflex starts Reflex as the demonstration configures it.
func startReflex(ctx context.Context, s *Settings, guards, collectors *stage.Cgroup) (*stage.Reflex, error) {
	run, err := os.MkdirTemp("", "reflex-demo-")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(run, "guard.sock")
	config := filepath.Join(s.Out, "collector.yaml")
	if err := os.WriteFile(config, []byte(Config), 0o644); err != nil {
		return nil, err
	}
	return stage.StartReflex(ctx, stage.ReflexSettings{
		Base: s.Base, Logs: s.logs(), Collector: s.Collector, Guard: s.Guard, Socket: socket, Config: config,
		Env: []string{"DEMO_OUT=" + s.Out, "DEMO_GUARD=" + socket, "DEMO_CGROUP_ROOT=" + s.Base},
	}, guards, collectors)
}
