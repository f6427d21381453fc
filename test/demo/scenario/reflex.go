// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Config is the collector's configuration in the demonstration.
//
//go:embed collector.yaml
var Config string

const statusURL = "http://127.0.0.1:13134/status"

// reflex is Reflex at work: the guard under its supervisor, and the collector.
type reflex struct {
	guard, collector *process
}

// startReflex starts guard and collector in cgroups of their own and waits until
// the collector says that it is ready to act.
func startReflex(ctx context.Context, s *Settings, guards, collectors *cgroup) (*reflex, error) {
	run, err := os.MkdirTemp("", "reflex-demo-")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(run, "guard.sock")
	config := filepath.Join(s.Out, "collector.yaml")
	if err := os.WriteFile(config, []byte(Config), 0o644); err != nil {
		return nil, err
	}
	r := &reflex{}
	r.guard, err = start("reflexguard", guards, s.logs(), nil, s.Guard, "supervise",
		"--socket", socket, "--cgroup-root", s.Base, "--kill-switch", filepath.Join(run, "off"))
	if err != nil {
		return nil, err
	}
	env := []string{"DEMO_OUT=" + s.Out, "DEMO_GUARD=" + socket, "DEMO_CGROUP_ROOT=" + s.Base}
	r.collector, err = start("otelcol-reflex", collectors, s.logs(), env, s.Collector, "--config", config)
	if err != nil {
		r.guard.stop(time.Second)
		return nil, err
	}
	if err := r.await(ctx, 60*time.Second); err != nil {
		return r, err
	}
	return r, nil
}

// await polls the status page until Reflex can act.
func (r *reflex) await(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	last := errors.New("no answer yet")
	for {
		for _, p := range []*process{r.guard, r.collector} {
			if !p.alive() {
				return fmt.Errorf("%s ended before it was ready; see log/%s.log", p.name, p.name)
			}
		}
		st, err := readStatus(ctx)
		if err == nil {
			if err = st.ready(); err == nil {
				return nil
			}
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("reflex was not ready to act within %v: %w", patience, last)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// stop ends the collector, which closes the story it tells, and then the guard,
// which gives back what is still held. It lists what did not end when asked.
func (r *reflex) stop() (trouble []string) {
	if r.collector != nil && !r.collector.stop(15*time.Second) {
		trouble = append(trouble, "otelcol-reflex did not end within 15 s of being asked")
	}
	if r.guard != nil && !r.guard.stop(15*time.Second) {
		trouble = append(trouble, "reflexguard did not end within 15 s of being asked")
	}
	return trouble
}

// readStatus asks the collector's status page.
func readStatus(ctx context.Context) (*status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, statusURL, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status page: %s", response.Status)
	}
	var s status
	if err := json.NewDecoder(response.Body).Decode(&s); err != nil {
		return nil, fmt.Errorf("status page: %w", err)
	}
	return &s, nil
}
