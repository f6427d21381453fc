// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

// kept is how many judgements wait for the metrics of their tick: 51 s of them
// at 100 ms, 5 s at 10 ms.
const kept = 512

// ownStart is how long an engine that was restored waits before it judges: what it
// would see first is the start of the process it is in, a burst of CPU time and
// memory that is no part of what is usual. An engine without a past has its warm-up.
const ownStart = 3 * time.Second

// registration is one engine on the arc and the judgements it made lately. The
// instances that one configuration has in several pipelines share it.
type registration struct {
	source, owner string

	// mu is taken by the sampling goroutine; nobody else holds it for longer
	// than a copy takes.
	mu       sync.Mutex
	engine   arc.Engine
	ring     [kept]arc.Judgement
	accepted int  // plateaus that nobody has told of
	regime   int8 // of the last of them
	troubled bool // the last judgement was anomalous or not learned from
	restored bool
	begins   int64 // when a restored engine begins to judge, CLOCK_BOOTTIME, ns

	release func()
}

// start registers the engine with meeting.
func (r *registration) start(meeting arc.Meeting) error {
	release, err := meeting.Register(r.source, r.owner, r)
	if err != nil {
		return fmt.Errorf("register %s as the judge of source %q: %w", r.owner, r.source, err)
	}
	r.release = release
	return nil
}

// stop gives the registration up.
func (r *registration) stop() {
	if r.release != nil {
		r.release()
		r.release = nil
	}
}

// Judge judges one sample on the arc and keeps the judgement for annotation.
func (r *registration) Judge(s *arc.Sample, c arc.Control, j *arc.Judgement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.restored && r.begins == 0 {
		r.begins = s.Taken + int64(ownStart)
	}
	if s.Taken < r.begins {
		*j = arc.Judgement{Sequence: s.Sequence}
	} else {
		r.engine.Judge(s, c, j)
	}
	r.ring[s.Sequence%kept] = *j
	r.troubled = j.Anomalous || j.Frozen
	if j.Accepted && j.Fresh {
		r.accepted++
		r.regime = j.Regime
	}
}

// judgement returns the judgement of the tick with sequence, if it is still kept.
func (r *registration) judgement(sequence uint64, j *arc.Judgement) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := &r.ring[sequence%kept]
	if sequence == 0 || k.Sequence != sequence {
		return false
	}
	*j = *k
	return true
}

// plateaus returns how many plateaus were accepted since it was last asked, and
// the regime at the last.
func (r *registration) plateaus() (n int, regime int8) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, r.accepted = r.accepted, 0
	return n, r.regime
}

// checkpoint appends the state of the engine to b. In trouble, when the sampling
// goroutine should meet with no lock and the baseline learns nothing that would be
// worth it, it appends nothing, unless it must.
func (r *registration) checkpoint(b []byte, must bool) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.engine.(checkpointer); ok && (must || !r.troubled) {
		return c.AppendCheckpoint(b)
	}
	return b
}

// report copies what the engine says about itself, and what an audit of it needs,
// unless the engine is in trouble or cannot say.
func (r *registration) report(to *detect.Report, a *detect.Audit) (reported, audited bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.engine.(reporter)
	if !ok || r.troubled {
		return false, false
	}
	e.Report(to)
	return true, e.TakeAudit(a)
}

// findMeeting finds the reflex extension among extensions: the one named by id,
// or else the only one that is a meeting place of the arc. It returns nil when
// none is named and none is there.
func findMeeting(extensions map[component.ID]component.Component, id *component.ID) (arc.Meeting, error) {
	if id != nil {
		extension, ok := extensions[*id]
		if !ok {
			return nil, fmt.Errorf("reflex: no extension %q is in service::extensions", id)
		}
		meeting, ok := extension.(arc.Meeting)
		if !ok {
			return nil, fmt.Errorf("reflex: extension %q is not a reflex extension", id)
		}
		return meeting, nil
	}
	var found arc.Meeting
	for _, extension := range extensions {
		meeting, ok := extension.(arc.Meeting)
		if !ok {
			continue
		}
		if found != nil {
			return nil, errors.New("reflex: several reflex extensions are configured, name one")
		}
		found = meeting
	}
	return found, nil
}
