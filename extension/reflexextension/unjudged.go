// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// unjudgedSources bounds the sources noted for want of a judge.
const unjudgedSources = 16

// unjudged are the sources that sampled while no processor judged them. Readers
// see one unchanging list; the sampling goroutine never waits to add to it.
type unjudged struct {
	mu   sync.Mutex
	list atomic.Pointer[[]string]
}

func (u *unjudged) sources() []string {
	if list := u.list.Load(); list != nil {
		return *list
	}
	return nil
}

// note adds source; it allocates at a source's first sample only. A source that
// finds the list being changed is noted at its next sample.
func (u *unjudged) note(source string) {
	if list := u.sources(); len(list) >= unjudgedSources || slices.Contains(list, source) {
		return
	}
	if !u.mu.TryLock() {
		return
	}
	defer u.mu.Unlock()
	if list := u.sources(); len(list) < unjudgedSources && !slices.Contains(list, source) {
		list = append(slices.Clip(list), source)
		u.list.Store(&list)
	}
}

// forget removes source: it has a judge now.
func (u *unjudged) forget(source string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(u.sources()), func(s string) bool { return s == source })
	u.list.Store(&list)
}

// unjudgedNeeds returns what is missing for each source that samples and that nobody
// judges, by source. Mostly one was given another name than the other.
func (r *reflex) unjudgedNeeds() map[string]need {
	seats := *r.seats.Load()
	var judges, idle []string
	for _, source := range slices.Sorted(maps.Keys(seats)) {
		sat := seats[source]
		judges = append(judges, fmt.Sprintf("; %s judges %q", sat.owner, source))
		if !sat.sampled.Load() {
			idle = append(idle, sat.owner)
		}
	}
	out := map[string]need{}
	for _, source := range r.unjudged.sources() {
		if seats[source] != nil {
			continue
		}
		remedy := fmt.Sprintf("add a mahalanobis processor with source: %s to the pipeline of receiver %s", source, source)
		if len(idle) > 0 { // a judge nobody samples for is the one that was meant
			remedy = fmt.Sprintf("set source: %s on the %s processor", source, idle[0])
			idle = idle[1:]
		}
		out[source] = need{"engine", fmt.Sprintf("no processor judges source %q", source) + strings.Join(judges, ""), remedy}
	}
	return out
}
