// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"sync"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// ledgerSize bounds the answers kept; a guard holds fewer leases.
const ledgerSize = 64

// ledger keeps the guard's last answer about each lease, for whoever asks what
// was there before it.
type ledger struct {
	mu      sync.Mutex
	answers map[leaseKey]arc.Outcome
}

type leaseKey struct {
	cgroup uint64
	action arc.Action
}

func (l *ledger) note(o *arc.Order, out *arc.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := leaseKey{o.Cgroup, o.Action}
	switch out.Verdict {
	case arc.VerdictReleased, arc.VerdictRefused, arc.VerdictLost:
		delete(l.answers, key)
		return
	case arc.VerdictGranted, arc.VerdictHeld, arc.VerdictObserved:
	default:
		return // nothing is known
	}
	if o.Verb == arc.Release {
		delete(l.answers, key)
		return
	}
	if l.answers == nil {
		l.answers = map[leaseKey]arc.Outcome{}
	}
	if _, known := l.answers[key]; !known && len(l.answers) >= ledgerSize {
		for any := range l.answers {
			delete(l.answers, any)
			break
		}
	}
	l.answers[key] = *out
}

func (l *ledger) find(cgroup uint64, action arc.Action) (arc.Outcome, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out, known := l.answers[leaseKey{cgroup, action}]
	return out, known
}
