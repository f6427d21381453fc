// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"
	"time"

	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// Config is the collector's configuration in the suite.
//
//go:embed collector.yaml
var Config string

// startReflex starts Reflex, and the backend it tells.
func (p *play) startReflex(ctx context.Context) error {
	var err error
	if p.backend, err = startBackend(); err != nil {
		return err
	}
	run, err := os.MkdirTemp("", "reflex-containment-")
	if err != nil {
		return err
	}
	p.storage, p.learned = filepath.Join(run, "storage"), filepath.Join(run, "learned")
	if err := os.Mkdir(p.storage, 0o700); err != nil {
		return err
	}
	config := filepath.Join(p.Out, "collector.yaml")
	if err := os.WriteFile(config, []byte(Config), 0o644); err != nil {
		return err
	}
	s := stage.ReflexSettings{
		Base: p.Base, Logs: p.logs(), Collector: p.Collector, Socket: filepath.Join(run, "guard.sock"), Config: config,
		Env: []string{"SUITE_CGROUP_ROOT=" + p.Base, "SUITE_BACKEND=http://" + p.backend.address, "SUITE_STORAGE=" + p.storage, "SUITE_RENEW=5s", "SUITE_SHARE=0.1", "SUITE_BUY_TIME=10m"},
	}
	var guards *stage.Cgroup
	if p.Guard == containment.Separate {
		if guards, err = stage.NewCgroup(p.Base, "reflex-guard.service"); err != nil {
			return err
		}
		p.groups = append(p.groups, guards)
		s.Guard = p.Reflexguard
		// The default of 20,000 packets a second is more than an emulated machine can take
		// at all.
		s.GuardFlags = []string{"--shield-aggregate", "2000"}
		s.Env = append(s.Env, "SUITE_GUARD="+s.Socket)
	} else {
		s.Env = append(s.Env, "SUITE_GUARD=embedded")
	}
	collectors, err := stage.NewCgroup(p.Base, "reflex-collector.service")
	if err != nil {
		return err
	}
	p.groups = append(p.groups, collectors)
	p.reflex, err = stage.StartReflex(ctx, s, guards, collectors)
	return err
}

// collectorLog is the path of the collector's log.
func (p *play) collectorLog() string { return filepath.Join(p.logs(), p.reflex.Collector.Name+".log") }

// restartedFor is how long a collector that was started again looks on before the
// next scenario.
const restartedFor = 5 * time.Second

// keepLearned keeps what Reflex has learned of the calm.
func (p *play) keepLearned(ctx context.Context) error {
	return p.restart(ctx, func() error { return os.CopyFS(p.learned, os.DirFS(p.storage)) })
}

// afresh starts the collector again with what it had learned of the calm, and with
// no memory of what happened since: every scenario begins alike, and none in the
// episode of the last.
func (p *play) afresh(ctx context.Context) error {
	return p.restart(ctx, func() error {
		if err := os.RemoveAll(p.storage); err != nil {
			return err
		}
		return os.CopyFS(p.storage, os.DirFS(p.learned))
	})
}

func (p *play) restart(ctx context.Context, meanwhile func() error) error {
	if err := p.reflex.Restart(ctx, meanwhile); err != nil {
		return err
	}
	p.journal = journal{}
	return stage.Pause(ctx, restartedFor)
}
