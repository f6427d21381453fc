// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// The names that the reflex receiver and the mahalanobis processor give.
const (
	eventPrefix    = "reflex."
	eventLevel     = "reflex.level.changed"
	actionPrefix   = "reflex.action."
	rootSpanName   = "reflex.episode"
	receiverScope  = "reflexreceiver"
	distanceMetric = "reflex.score.distance"
	limitMetric    = "reflex.score.limit"
)

// opened calls read with the file at name. A file that is not there is a signal
// that was never exported.
func opened(name string, read func(*bufio.Reader) error) error {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := read(bufio.NewReaderSize(f, 1<<20)); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// eachLine decodes every line of r. A last line that was cut off is left out: a
// collector killed while writing leaves one.
func eachLine[T any](r *bufio.Reader, decode func([]byte) (T, error), take func(T)) error {
	for n := 1; ; n++ {
		line, readErr := r.ReadBytes('\n')
		complete := readErr == nil
		if line = bytes.TrimSpace(line); len(line) > 0 {
			v, err := decode(line)
			switch {
			case err == nil:
				take(v)
			case complete:
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		if errors.Is(readErr, io.EOF) {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}

// mostBytes bounds a message: a length beyond it is damage.
const mostBytes = 64 << 20

// eachMessage is eachLine for messages that come after their length, four bytes of
// it, big end first.
func eachMessage[T any](r *bufio.Reader, decode func([]byte) (T, error), take func(T)) error {
	var length [4]byte
	for n := 1; ; n++ {
		if _, err := io.ReadFull(r, length[:]); err != nil {
			return unlessCutOff(err)
		}
		size := binary.BigEndian.Uint32(length[:])
		if size > mostBytes {
			return fmt.Errorf("message %d: %d bytes", n, size)
		}
		message := make([]byte, size)
		if _, err := io.ReadFull(r, message); err != nil {
			return unlessCutOff(err)
		}
		v, err := decode(message)
		if err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		take(v)
	}
}

// unlessCutOff is err, or nil where the file just ends.
func unlessCutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func (s *Story) takeMetrics(m pmetric.Metrics, scores scoreTable) {
	s.Total.Metrics += m.DataPointCount()
	for _, rm := range m.ResourceMetrics().All() {
		// A cgroup has a baseline of its own; the node's score is the one told.
		if _, cgroup := rm.Resource().Attributes().Get("reflex.cgroup.id"); cgroup {
			continue
		}
		for _, sm := range rm.ScopeMetrics().All() {
			story := path.Base(sm.Scope().Name()) == receiverScope
			for _, metric := range sm.Metrics().All() {
				if story {
					s.points = append(s.points, pointsOf(metric)...)
				}
				switch metric.Name() {
				case distanceMetric, limitMetric:
					scores.take(metric)
				}
			}
		}
	}
}

// pointsOf lists the instants of a metric's data points.
func pointsOf(m pmetric.Metric) (points []point) {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		for _, p := range m.Gauge().DataPoints().All() {
			points = append(points, point{int64(p.Timestamp())})
		}
	case pmetric.MetricTypeSum:
		for _, p := range m.Sum().DataPoints().All() {
			points = append(points, point{int64(p.Timestamp())})
		}
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			points = append(points, point{int64(p.Timestamp())})
		}
	}
	return points
}

// scoreTable joins distance and limit by their instant.
type scoreTable map[int64]*Score

func (t scoreTable) take(m pmetric.Metric) {
	if m.Type() != pmetric.MetricTypeGauge {
		return
	}
	for _, p := range m.Gauge().DataPoints().All() {
		at := int64(p.Timestamp())
		if t[at] == nil {
			t[at] = &Score{Time: at, Distance: math.NaN(), Limit: math.NaN()}
		}
		if m.Name() == distanceMetric {
			t[at].Distance = p.DoubleValue()
		} else {
			t[at].Limit = p.DoubleValue()
		}
	}
}

func (t scoreTable) sorted() []Score {
	scores := make([]Score, 0, len(t))
	for _, s := range t {
		scores = append(scores, *s)
	}
	slices.SortFunc(scores, func(a, b Score) int { return compare(a.Time, b.Time) })
	return scores
}

func (s *Story) takeLogs(l plog.Logs, seen map[string]bool) {
	s.Total.Logs += l.LogRecordCount()
	for _, rl := range l.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				if id := text(r.Attributes(), "reflex.record.id"); id != "" {
					if seen[id] {
						continue
					}
					seen[id] = true
				}
				s.takeEvent(r)
			}
		}
	}
}

func (s *Story) takeEvent(r plog.LogRecord) {
	if !strings.HasPrefix(r.EventName(), eventPrefix) {
		return
	}
	a, at, episode := r.Attributes(), int64(r.Timestamp()), r.TraceID().String()
	s.events = append(s.events, event{r.EventName(), episode, at})
	if strings.HasPrefix(r.EventName(), actionPrefix) {
		s.Actions = append(s.Actions, Action{
			Time: at, Name: text(a, "reflex.action"), Verdict: text(a, "reflex.verdict"), Episode: episode,
			Cgroup: text(a, "reflex.cgroup.path"), Reason: text(a, "reflex.reason"),
			Value: uint64(number(a, "reflex.action.value")), TickToKnob: decimal(a, "reflex.tick_to_knob"),
		})
		return
	}
	if r.EventName() == eventLevel {
		level := LevelChange{
			Time: at, Episode: episode, Level: int(number(a, "reflex.level")),
			Name: text(a, "reflex.level.name"), Reason: text(a, "reflex.reason"),
		}
		level.Previous = level.Level // left out where it did not change
		if v, ok := a.Get("reflex.level.previous"); ok {
			level.Previous = int(v.Int())
		}
		s.Levels = append(s.Levels, level)
	}
}

func (s *Story) takeTraces(t ptrace.Traces, seen map[string]bool) {
	s.Total.Spans += t.SpanCount()
	for _, rs := range t.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, sp := range ss.Spans().All() {
				episode := sp.TraceID().String()
				id := episode + "/" + sp.SpanID().String()
				if seen[id] {
					continue
				}
				seen[id] = true
				s.spans = append(s.spans, span{
					episode: episode, root: sp.Name() == rootSpanName && sp.ParentSpanID().IsEmpty(),
					end: int64(sp.EndTimestamp()),
				})
			}
		}
	}
}

func text(m pcommon.Map, key string) string {
	if v, ok := m.Get(key); ok {
		return v.Str()
	}
	return ""
}

func number(m pcommon.Map, key string) int64 {
	if v, ok := m.Get(key); ok {
		return v.Int()
	}
	return 0
}

func decimal(m pcommon.Map, key string) float64 {
	if v, ok := m.Get(key); ok {
		return v.Double()
	}
	return 0
}
