// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// reportedSources bounds the sources whose reports are kept.
	reportedSources = 16
	// reportedNeeds bounds what is kept of one source's report.
	reportedNeeds = 64
)

// reports are what the sources said they lack.
type reports struct {
	mu       sync.Mutex
	bySource map[string][]arc.Requirement
}

// keep replaces the report of source. It returns how many requirements did not
// fit.
func (p *reports) keep(source string, missing []arc.Requirement) (left int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(missing) == 0 {
		delete(p.bySource, source)
		return 0
	}
	if _, known := p.bySource[source]; !known && len(p.bySource) >= reportedSources {
		return len(missing)
	}
	if p.bySource == nil {
		p.bySource = map[string][]arc.Requirement{}
	}
	kept := min(len(missing), reportedNeeds)
	p.bySource[source] = slices.Clone(missing[:kept])
	return len(missing) - kept
}

// needs lists what is missing in the order of the sources, and once what two of
// them lack for the same cause.
func (p *reports) needs() []need {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []need
	for _, source := range slices.Sorted(maps.Keys(p.bySource)) {
		for _, m := range p.bySource[source] {
			if n := (need{Name: m.Name, Cause: m.Cause, Remedy: m.Remedy}); !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// Missing implements [arc.Reporter].
func (r *reflex) Missing(source string, missing []arc.Requirement) {
	if left := r.reports.keep(source, missing); left > 0 {
		r.logger.Warn("status does not show all that is missing", zap.String("source", source), zap.Int("left_out", left))
	}
}
