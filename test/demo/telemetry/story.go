// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"bufio"
	"errors"
	"math"
	"path"
	"path/filepath"
	"slices"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// Counts are numbers of log records, metric data points and spans.
type Counts struct {
	Logs    int `json:"logs"`
	Metrics int `json:"metrics"`
	Spans   int `json:"spans"`
}

// Score is what the detector said about one decision period. Parts that the
// telemetry does not hold are NaN.
type Score struct {
	Time            int64
	Distance, Limit float64
}

// LevelChange is one log event of that name.
type LevelChange struct {
	Time            int64
	Level, Previous int
	Name, Reason    string
	Episode         string
}

// Action is one log event of an order that was answered.
type Action struct {
	Time int64
	// Name is the action's, "none" where there was nothing to do.
	Name, Verdict string
	// Cgroup is the path of the cgroup it was about.
	Cgroup  string
	Value   uint64
	Reason  string
	Episode string
	// TickToKnob is in seconds, 0 unknown.
	TickToKnob float64
}

// Story is what the telemetry tells.
type Story struct {
	// Scores, Levels and Actions are in order of time.
	Scores  []Score
	Levels  []LevelChange
	Actions []Action
	// Total counts everything the collector exported.
	Total Counts
	// Episodes counts the telemetry of each episode by its id: its log events,
	// the spans of its trace if the root is among them, and the data points of
	// the reflex receiver's metrics while it was open.
	Episodes map[string]Counts

	events []event
	spans  []span
	points []point
}

// event is one log event of the reflex receiver, span one span of its traces,
// point one data point of its metrics.
type (
	event struct {
		name, episode string
		time          int64
	}
	span struct {
		episode string
		root    bool
		end     int64
	}
	point struct{ time int64 }
)

// Read reads the OTLP files of the recording in dir.
func Read(dir string) (*Story, error) {
	s := &Story{}
	scores := scoreTable{}
	seen := map[string]bool{}
	err := errors.Join(
		opened(filepath.Join(dir, recording.MetricsFile), func(r *bufio.Reader) error {
			return eachMessage(r, (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics, func(m pmetric.Metrics) { s.takeMetrics(m, scores) })
		}),
		opened(filepath.Join(dir, recording.LogsFile), func(r *bufio.Reader) error {
			return eachLine(r, (&plog.JSONUnmarshaler{}).UnmarshalLogs, func(l plog.Logs) { s.takeLogs(l, seen) })
		}),
		opened(filepath.Join(dir, recording.TracesFile), func(r *bufio.Reader) error {
			return eachLine(r, (&ptrace.JSONUnmarshaler{}).UnmarshalTraces, func(t ptrace.Traces) { s.takeTraces(t, seen) })
		}),
	)
	s.Scores = scores.sorted()
	s.count()
	slices.SortStableFunc(s.Levels, func(a, b LevelChange) int { return compare(a.Time, b.Time) })
	slices.SortStableFunc(s.Actions, func(a, b Action) int { return compare(a.Time, b.Time) })
	return s, err
}

// Contained returns the first action at or after the instant from that granted
// a ceiling to the cgroup called name, wherever it is in the hierarchy.
func (s *Story) Contained(name string, from int64) (Action, bool) {
	for _, a := range s.Actions {
		if a.Verdict == "granted" && path.Base(a.Cgroup) == name && a.Time >= from {
			return a, true
		}
	}
	return Action{}, false
}

// count fills Episodes from what was read.
func (s *Story) count() {
	s.Episodes = map[string]Counts{}
	for _, e := range s.events {
		if _, counted := s.Episodes[e.episode]; !counted {
			s.Episodes[e.episode] = s.countEpisode(e.episode)
		}
	}
}

func (s *Story) countEpisode(id string) Counts {
	var c Counts
	first, last := int64(math.MaxInt64), int64(0)
	for _, e := range s.events {
		if e.episode == id {
			c.Logs++
			first, last = min(first, e.time), max(last, e.time)
		}
	}
	rooted := false
	for _, sp := range s.spans {
		if sp.episode == id {
			c.Spans++
			rooted = rooted || sp.root
			last = max(last, sp.end)
		}
	}
	if !rooted {
		c.Spans = 0 // pieces without their root are no trace
	}
	for _, p := range s.points {
		if p.time >= first && p.time <= last {
			c.Metrics++
		}
	}
	return c
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
