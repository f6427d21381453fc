// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receiverhelper"

	"github.com/otelcol-reflex/reflex/internal/episode"
)

// maxOpenEpisodes bounds the episodes followed at once. Their ends can be
// missed when the journal overflows; the one open longest is then told as it is.
const maxOpenEpisodes = 16

// openEpisode is an episode whose end has not been read yet.
type openEpisode struct {
	opening   episode.Record // the first record seen of it
	period    episode.Record // the record that began the level in force
	highest   int
	truncated bool // opening is not the true one
	links     []link
}

const (
	// maxCulprits bounds the cgroups whose last episode is remembered, maxLinks those of
	// one episode that are linked.
	maxCulprits = 512
	maxLinks    = 16
)

// link leads to the episode before of the same culprit.
type link struct {
	culprit string // path of its cgroup
	episode episode.ID
}

// lastOf remembers the last episode of each culprit: by the path of its cgroup, which
// a service keeps when it is started again.
type lastOf struct {
	episodes map[string]episode.ID
	order    []string // oldest first
}

// see notes that an episode is about a culprit, and returns the one before.
func (l *lastOf) see(culprit string, id episode.ID) (before episode.ID) {
	if l.episodes == nil {
		l.episodes = map[string]episode.ID{}
	}
	before = l.episodes[culprit]
	if before == id {
		return episode.ID{}
	}
	if at := slices.Index(l.order, culprit); at >= 0 {
		l.order = slices.Delete(l.order, at, at+1)
	}
	l.order = append(l.order, culprit)
	l.episodes[culprit] = id
	if len(l.order) > maxCulprits {
		delete(l.episodes, l.order[0])
		l.order = slices.Delete(l.order, 0, 1)
	}
	return before
}

// traceTeller tells each episode as one trace. Spans are finished as the
// records that end them are read, and told once they are.
type traceTeller struct {
	scope  scope
	next   consumer.Traces
	report *receiverhelper.ObsReport
	now    func() time.Time
	boot   func() time.Time

	open     []*openEpisode // in the order they opened
	finished []span
	culprits lastOf
}

// remember takes in who the culprits were of what was told already.
func (t *traceTeller) remember(journal *episode.Journal, told uint64) {
	for _, r := range journal.Read(0, nil) {
		if r.ID > told {
			return
		}
		t.blame(nil, &r)
	}
}

// blame notes the culprit that a record is about, and links its episode to the one
// before.
func (t *traceTeller) blame(e *openEpisode, r *episode.Record) {
	if r.Cgroup.Path == "" || r.Kind == episode.Operator || r.Episode == (episode.ID{}) {
		return
	}
	before := t.culprits.see(r.Cgroup.Path, r.Episode)
	if e != nil && before != (episode.ID{}) && len(e.links) < maxLinks {
		e.links = append(e.links, link{r.Cgroup.Path, before})
	}
}

func (t *traceTeller) take(records []episode.Record) {
	boot := t.boot()
	for i := range records {
		t.follow(&records[i], boot)
	}
}

func (t *traceTeller) follow(r *episode.Record, boot time.Time) {
	if r.Episode == (episode.ID{}) {
		return // not part of a trace
	}
	i := slices.IndexFunc(t.open, func(e *openEpisode) bool { return e.opening.Episode == r.Episode })
	if r.Kind == episode.Action {
		t.finished = append(t.finished, newActionSpan(r, boot))
		if i >= 0 { // an action may be answered after its episode closed
			t.blame(t.open[i], r)
		}
		return
	}
	if i < 0 && r.Kind == episode.Operator {
		return // told after the end, or of an episode that is not known
	}
	if i < 0 {
		if len(t.open) == maxOpenEpisodes {
			t.tellOpen(t.open[0], r.Time)
			t.open = slices.Delete(t.open, 0, 1)
		}
		i = len(t.open)
		t.open = append(t.open, &openEpisode{
			opening: *r, period: *r, highest: r.Level, truncated: r.Kind != episode.Opened,
		})
	}
	e := t.open[i]
	t.blame(e, r)
	e.highest = max(e.highest, r.Level, r.Previous)
	switch r.Kind {
	case episode.LevelChanged:
		t.endPeriod(e, r.Time, false)
		e.period = *r
	case episode.Closed:
		t.endPeriod(e, r.Time, false)
		t.finished = append(t.finished, e.root(r.Time))
		t.open = slices.Delete(t.open, i, i+1)
	}
}

// endPeriod finishes the span of the level in force. The opening of an episode
// and its first change of level may be the same moment: nothing lies between.
func (t *traceTeller) endPeriod(e *openEpisode, end time.Time, open bool) {
	if e.period.Kind != episode.LevelChanged && !end.After(e.period.Time) {
		return
	}
	t.finished = append(t.finished, span{kind: levelSpan, about: e.period, start: e.period.Time, end: end, open: open})
}

func (e *openEpisode) root(end time.Time) span {
	return span{
		kind: rootSpan, about: e.opening, start: e.opening.Time, end: end,
		highest: e.highest, truncated: e.truncated, links: e.links,
	}
}

// tellOpen finishes an episode whose end is not known.
func (t *traceTeller) tellOpen(e *openEpisode, until time.Time) {
	if until.Before(e.period.Time) {
		until = e.period.Time // the clock was set back
	}
	t.endPeriod(e, until, true)
	root := e.root(until)
	root.open = true
	t.finished = append(t.finished, root)
}

// newActionSpan reaches from the tick that led to the action to the return of
// its last write, or has no length where nothing was written.
func newActionSpan(r *episode.Record, boot time.Time) span {
	start, end := interval(r, boot)
	return span{kind: actionSpan, about: *r, start: start, end: end}
}

func (t *traceTeller) finish() {
	now := t.now()
	for _, e := range t.open {
		t.tellOpen(e, now)
	}
	t.open = nil
}

// need keeps what an episode that is open began with: whoever follows it from there
// tells some of its spans again, with the same ids.
func (t *traceTeller) need(done uint64) uint64 {
	for _, e := range t.open {
		done = min(done, e.opening.ID-1)
	}
	return done
}

func (t *traceTeller) forget() {
	clear(t.finished)
	t.finished = t.finished[:0]
}

func (t *traceTeller) tell(ctx context.Context) error {
	if len(t.finished) == 0 {
		return nil
	}
	traces := t.build()
	n := traces.SpanCount()
	ctx = t.report.StartTracesOp(ctx)
	err := t.next.ConsumeTraces(ctx, traces)
	t.report.EndTracesOp(ctx, "reflex", n, err)
	return err
}

func (t *traceTeller) build() ptrace.Traces {
	traces := ptrace.NewTraces()
	spans := traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
	t.scope.put(spans.Scope())
	spans.Spans().EnsureCapacity(len(t.finished))
	for i := range t.finished {
		t.finished[i].put(spans.Spans().AppendEmpty())
	}
	return traces
}
