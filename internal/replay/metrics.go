// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
)

const (
	// longestBatch is that of one line of OTLP JSON in bytes.
	longestBatch = 256 << 20
	// mostStreams bounds the baselines of a replay.
	mostStreams = 100_000
)

// metricsSource reads what the file exporter of the Collector writes in format
// json: one batch of metrics a line.
type metricsSource struct {
	unmarshal
	lines  lines
	peeked []pmetric.Metrics

	vocabulary *reading.Vocabulary
	reader     *reading.Reader
	interval   time.Duration
	streams    map[reading.Key]*reading.Stream
	begun      []*being

	// vectors of the batch, their values, and how many have been given out.
	vectors []vector
	values  []float64
	given   int
	time    []byte

	missing, late, refused int
	cut                    int // line that the recording ends in the middle of
	skipped                []Skipped
}

// being is a resource: the owner of its stream.
type being struct {
	resource string
	number   int // in the order of first vectors; -1: it has none yet
	first    int64
}

type vector struct {
	being *being
	at    int64
	from  int // index of the first value
}

// unmarshal turns a line into metrics.
type unmarshal struct{ decoder pmetric.JSONUnmarshaler }

func (u *unmarshal) metrics(line []byte) (md pmetric.Metrics, err error) {
	defer func() { // a decoder of strange input may give up that way
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return u.decoder.UnmarshalMetrics(line)
}

func newMetricsSource(name string, r io.Reader, o *Options) (*metricsSource, error) {
	s := &metricsSource{
		lines: newLines(name, r, longestBatch), interval: o.Interval,
		streams: map[reading.Key]*reading.Stream{},
	}
	for len(s.peeked) < head {
		md, err := s.batch()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		s.peeked = append(s.peeked, md)
	}
	found := newInventory(s.peeked)
	var err error
	if s.vocabulary, err = found.vocabulary(name, o.Dimensions); err != nil {
		return nil, err
	}
	for _, m := range found.others {
		s.skipped = append(s.skipped, Skipped{m, "neither a sum nor a gauge"})
	}
	if s.interval <= 0 {
		s.interval = s.pace()
	}
	s.reader = reading.NewReader(s.vocabulary, s.open, s.take)
	return s, nil
}

// batch reads the next line that holds something.
func (s *metricsSource) batch() (pmetric.Metrics, error) {
	for {
		line, err := s.lines.next()
		if err != nil {
			return pmetric.Metrics{}, err
		}
		line = bytes.TrimPrefix(bytes.TrimSpace(line), []byte("\xef\xbb\xbf"))
		if len(line) == 0 {
			continue
		}
		md, err := s.metrics(line)
		if err != nil {
			if s.lines.cut && s.lines.n > 1 { // whoever wrote it was stopped
				s.cut = s.lines.n
				return pmetric.Metrics{}, io.EOF
			}
			return pmetric.Metrics{}, fmt.Errorf("%s: line %d: is no OTLP JSON: %w", s.lines.name, s.lines.n, err)
		}
		return md, nil
	}
}

// pace is the median step between measurements of the same resource in the
// batches peeked at; a second without any.
func (s *metricsSource) pace() time.Duration {
	last := map[*reading.Stream]int64{}
	streams := map[reading.Key]*reading.Stream{}
	var steps []int64
	r := reading.NewReader(s.vocabulary, func(k reading.Key, _ pcommon.Resource) *reading.Stream {
		if streams[k] == nil {
			streams[k] = s.vocabulary.NewStream()
		}
		return streams[k]
	}, func(v reading.Vector) {
		if before, ok := last[v.Stream]; ok && v.At > before {
			steps = append(steps, v.At-before)
		}
		last[v.Stream] = v.At
	})
	for _, md := range s.peeked {
		r.ReadAll(md)
	}
	if len(steps) == 0 {
		return time.Second
	}
	slices.Sort(steps)
	return time.Duration(steps[(len(steps)-1)/2])
}

// open finds or makes the stream of a resource.
func (s *metricsSource) open(key reading.Key, resource pcommon.Resource) *reading.Stream {
	if stream := s.streams[key]; stream != nil {
		return stream
	}
	if len(s.streams) >= mostStreams {
		s.refused++
		return nil
	}
	stream := s.vocabulary.NewStream()
	stream.Owner = &being{resource: describe(resource), number: -1}
	s.streams[key] = stream
	return stream
}

// describe names a resource by its attributes in the order of their keys.
func describe(resource pcommon.Resource) string {
	var parts []string
	for k, v := range resource.Attributes().All() {
		parts = append(parts, k+"="+v.AsString())
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// take keeps a vector until next gives it out.
func (s *metricsSource) take(v reading.Vector) {
	s.vectors = append(s.vectors, vector{v.Stream.Owner.(*being), v.At, len(s.values)})
	s.values = append(s.values, v.Raw...)
}

func (s *metricsSource) next(to *Sample) error {
	for s.given == len(s.vectors) {
		s.vectors, s.values, s.given = s.vectors[:0], s.values[:0], 0
		md, err := s.nextBatch()
		if errors.Is(err, io.EOF) && len(s.begun) == 0 {
			return fmt.Errorf("%s: holds no measurement of any dimension", s.lines.name)
		}
		if err != nil {
			return err
		}
		s.late += s.reader.ReadAll(md)
	}
	v := s.vectors[s.given]
	s.given++
	if v.being.number < 0 {
		v.being.number, v.being.first = len(s.begun), v.at
		s.begun = append(s.begun, v.being)
	}
	to.Stream = v.being.number
	to.Raw = s.values[v.from : v.from+len(s.vocabulary.Dimensions())]
	for _, x := range to.Raw {
		if math.IsNaN(x) {
			s.missing++
		}
	}
	due := v.at - v.being.first + begin
	to.At = detect.Instant{Due: due, Taken: due, Interval: int64(s.interval), Wall: v.at}
	s.time = time.Unix(0, v.at).UTC().AppendFormat(s.time[:0], time.RFC3339Nano)
	to.Time, to.Label = s.time, nil
	return nil
}

func (s *metricsSource) nextBatch() (pmetric.Metrics, error) {
	if len(s.peeked) > 0 {
		md := s.peeked[0]
		s.peeked = s.peeked[1:]
		return md, nil
	}
	return s.batch()
}

func (s *metricsSource) stream(i int) Stream {
	return Stream{Resource: s.begun[i].resource, Dimensions: s.vocabulary.Dimensions()}
}

func (s *metricsSource) labelled() bool { return false }
func (s *metricsSource) many() bool     { return true }

func (s *metricsSource) account(to *Summary) {
	to.Missing, to.Skipped, to.Late, to.Interval = s.missing, s.skipped, s.late, s.interval
	if s.cut > 0 {
		to.Skipped = append(to.Skipped, Skipped{fmt.Sprintf("line %d", s.cut), "the recording ends in the middle of it"})
	}
	if s.refused > 0 {
		to.Skipped = append(to.Skipped, Skipped{fmt.Sprintf("%d pieces of resources", s.refused), fmt.Sprintf("beyond %d streams", mostStreams)})
	}
}
