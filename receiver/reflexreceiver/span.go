// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

// span is a finished span of an episode. It is kept as a value, so that it can
// be built again for every attempt to deliver it.
type span struct {
	kind       spanKind
	about      episode.Record // the record it belongs to: the opening, the level change, the action
	start, end time.Time
	highest    int  // root only: the highest level of the episode
	open       bool // not at its end yet
	truncated  bool // its beginning was not seen
	links      []link
}

func (s *span) put(into ptrace.Span) {
	r := &s.about
	into.SetTraceID(r.Episode)
	into.SetSpanID(s.id())
	if s.kind != rootSpan {
		into.SetParentSpanID(spanID(r.Episode, rootSpan, 0))
	}
	into.SetName(s.name())
	into.SetKind(ptrace.SpanKindInternal)
	into.SetStartTimestamp(pcommon.NewTimestampFromTime(s.start))
	into.SetEndTimestamp(pcommon.NewTimestampFromTime(s.end))
	for _, l := range s.links {
		to := into.Links().AppendEmpty()
		to.SetTraceID(l.episode)
		to.SetSpanID(spanID(l.episode, rootSpan, 0))
		to.Attributes().PutStr(attrCgroupPath, l.culprit)
	}
	m := into.Attributes()
	putRecord(m, r)
	if s.kind == rootSpan {
		m.PutInt(attrLevelHighest, int64(s.highest))
	}
	if s.open {
		m.PutBool(attrEpisodeOpen, true)
	}
	if s.truncated {
		m.PutBool(attrEpisodeCut, true)
	}
	if r.Kind == episode.Action && verdict(r) == arc.VerdictFailed {
		into.Status().SetCode(ptrace.StatusCodeError)
		into.Status().SetMessage(r.Outcome.Cause)
	}
}

func (s *span) id() pcommon.SpanID {
	if s.kind == rootSpan {
		return spanID(s.about.Episode, rootSpan, 0)
	}
	return spanID(s.about.Episode, s.kind, s.about.ID)
}

func (s *span) name() string {
	switch s.kind {
	case levelSpan:
		return "reflex.level." + episode.LevelName(s.about.Level)
	case actionSpan:
		return "reflex.action." + actionName(&s.about)
	default:
		return "reflex.episode"
	}
}
